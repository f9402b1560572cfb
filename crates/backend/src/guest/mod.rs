//! The host side of the guest protocol: one client for every backend whose instances have a guest agent.
//!
//! ```text
//! invoke ──┐                         ┌── writer task ──▶ stream ──▶ agent
//! exec   ──┼── channel n (bounded) ──┤
//! files  ──┘                         └── reader task ◀── stream ◀── agent
//! ```
//!
//! Owns channels, limits and the judgement of what a hostile guest may say and when. Refuses to know how the guest was
//! started and what ends it: whoever made the stream does.

mod agent;
mod channels;
mod client;
mod connection;
mod files;
mod loading;
mod outcome;
mod outgoing;
mod run;
mod upload;

pub use agent::AGENT;
pub use client::GuestClient;
