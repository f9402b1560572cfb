//! The guest agent: first process of every instance, and the guest side of the protocol.
//!
//! ```text
//! host ◀── frames on fd 3 ──▶ agent ──▶ program: stdin, stdout, stderr, result (its fd 3)
//! ```
//!
//! A handler may stay for further calls, and an interpreter may be started before there is any code: see `resident`.
//!
//! One thread, one poll loop, no runtime. Started with an empty environment inside finished walls: it reaps, runs programs,
//! moves files, and kills everything when the host goes away. Every buffer has a limit: a program that floods is held up by
//! its own pipes. Refuses to know what isolates it.
//!
//! `--as UID:GID` runs code with these ids, and lets commands name others: for agents that are user 0 of their namespace.
//! `--root DIR` makes `DIR/work` and `DIR/tmp` stand in for `/work` and `/tmp`, for tests.

mod agent;
mod archive;
mod connection;
mod devices;
mod family;
mod feed;
mod files;
mod identity;
mod job;
mod limits;
mod paths;
mod places;
mod process;
mod program;
mod refusal;
mod requests;
mod resident;
mod result;
mod runtime;
mod sys;
mod upload;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(places) = places() else {
        eprintln!(
            "usage: vulcan-guest-agent [--as UID:GID] [--root DIR], with the protocol's stream as file descriptor 3"
        );
        return ExitCode::from(2);
    };
    match agent::run(places) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads this inside an instance; it is for people who run the agent by hand.
            eprintln!("vulcan-guest-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn places() -> Option<places::Places> {
    let mut places = places::Places::default();
    let mut code = None;
    let mut args = std::env::args_os().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next()?;
        if flag == "--root" {
            places = places::Places::below(value.as_ref());
        } else if flag == "--as" {
            code = Some(identity::Identity::of_numbers(value.to_str()?)?);
        } else {
            return None;
        }
    }
    places.code = code;
    Some(places)
}
