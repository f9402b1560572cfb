//! The real agent on a socket pair, with the interpreters of this machine.
//!
//! Python, Node, Bash and Go must be installed: a test whose interpreter is missing fails.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod guest;

mod archives;
mod files;
mod node;
mod processes;
mod python;
mod reuse_node;
mod reuse_python;
mod scripts;
mod typescript;
