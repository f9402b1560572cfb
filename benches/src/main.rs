//! `make bench`: measures a server of this repository against bare commands in the same minute.
//!
//! Owns the targets of the platform's speed, its memory, and what it leaves behind. Refuses to know the server's inside: it
//! starts the binary, speaks the API, and looks at the host from outside.

mod bare;
mod classes;
mod context;
mod floor;
mod latency;
mod leftovers;
mod load;
mod machine;
mod options;
mod programs;
mod report;
mod rounds;
mod run;
mod sample;
mod server;
mod soak;
mod tree;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = options::Options::parse();
    match run::run(&options).await {
        Ok(report) if report.has_passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vulcan-benches: {error:#}");
            ExitCode::from(2)
        }
    }
}
