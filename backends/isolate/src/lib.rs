//! The `isolate` class: one Deno process per instance, without any permission, in the same box as the sandbox's.
//!
//! ```text
//! Isolate ── finds Deno, once: has it strip the host script's types, and puts both into the view of all slots
//!    │
//!    └─ start: lease a slot ─▶ deno run host/main.js ─▶ handshake ─▶ prepare: the first import is paid ahead
//! ```
//!
//! A worker thread of Deno is no boundary: it cannot be stopped, and its memory is not limited. A process is one, and is cheap:
//! some 9 MB of its own. Deno's permissions are the first wall and the box of `vulcan-host` is the second; neither relies on
//! the other. What runs inside is the host script in `host/`, which speaks the guest protocol over standard input and output
//! and runs the user's modules in its own process: a program can lie about itself, and about nobody else.
//!
//! Owns finding Deno, its command line, and how much memory its heap gets. Slots and instances are in `vulcan-slots`. Refuses
//! to know workloads, nodes, and how code reaches it.

mod backend;
mod command;
mod deno;
mod host_script;
mod options;

pub use backend::Isolate;
pub use options::Options;
