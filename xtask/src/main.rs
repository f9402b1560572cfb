//! Chores of this repository, run by `make`: `tidy` looks for broken house rules, `openapi` keeps the checked-in description
//! of the API current.
//!
//! Owns the rules that no compiler checks. Refuses to change sources.

mod openapi;
mod tidy;

use std::{path::Path, process::ExitCode};

const USAGE: &str = "usage: xtask tidy | xtask openapi [--check]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else {
        return fail("the repository's root is not above this crate");
    };
    match args.as_slice() {
        ["tidy"] => tidy::run(root),
        ["openapi"] => openapi(root, openapi::Mode::Write),
        ["openapi", "--check"] => openapi(root, openapi::Mode::Check),
        _ => fail(USAGE),
    }
}

fn openapi(root: &Path, mode: openapi::Mode) -> ExitCode {
    match openapi::run(root, &vulcan_control::openapi_json(), mode) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&format!("could not read or write openapi.json: {error}")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(2)
}
