//! The client against a scripted server: what it sends, what it makes of every kind of answer, and how it resumes.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod errors;
mod images;
mod logs;
mod requests;
mod server;
