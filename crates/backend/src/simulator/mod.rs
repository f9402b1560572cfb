//! A backend without a host: instances are tasks of this process, and programs are a few lines of a tiny language.
//!
//! It keeps every rule of the traits, so that whatever is built on them can be tested without namespaces or root, and it
//! fails on demand. It isolates nothing, for there is nothing to isolate: no instruction reaches the host.
//!
//! # The language
//!
//! The program's code is text, one instruction per line; blank lines and lines that begin with `#` do nothing. Falling off
//! the end is exit code 0.
//!
//! | instruction | what it does |
//! |---|---|
//! | `exit N`, `signal N` | ends with that code, by that signal |
//! | `stdout TEXT`, `stderr TEXT` | writes a line |
//! | `bytes STREAM HEX` | writes raw bytes to `stdout`, `stderr` or `system` |
//! | `flood STREAM N` | writes N bytes, in lines of 100 |
//! | `output JSON`, `echo-input` | gives a result; without one, standard output is it if it is a single JSON value |
//! | `args`, `env NAME` | writes the arguments, one a line; the value of a variable |
//! | `sleep MS` | waits |
//! | `hang`, `spin` | waits for ever; `spin` uses the processor and ignores SIGTERM |
//! | `allocate MIB` | takes memory; beyond the limit the program dies as out of memory |
//! | `fork N` | has N processes more; beyond the limit it fails with exit code 1 |
//! | `throw MESSAGE` | fails as a handler that throws |
//! | `write PATH TEXT`, `fill PATH MIB` | writes a file; beyond the disk's limit it fails with exit code 1 |
//! | `read PATH` | writes a file to standard output; exit code 1 where there is none |
//! | `connect ADDRESS` | is refused, exit code 1 |
//! | `crash` | the guest is lost |
//! | `protocol-error` | the guest breaks the protocol |
//! | `handler`, `handler N` | the lines below are the handler, which takes one call, or N calls, at once |
//! | `count` | counts up a number, and gives it as the result |
//! | `say-input` | writes the input, a JSON text, as a line |
//! | `when WORD INSTRUCTION` | does that only where the input is the word as a JSON text |
//! | `die-afterwards` | the guest ends by itself as soon as the call is answered |
//!
//! # Reuse
//!
//! A program with a `handler` line stays loaded in the modes `Warm` and `Forked`: the lines above run once, those below with
//! every call. The number that `count` counts up stays from call to call in mode `Warm`; each call of mode `Forked` has a copy
//! of what the lines above left. `throw` leaves the handler loaded; whatever else ends a program ends a warm one for good, and
//! of a forked one only the call. An instance that has something loaded refuses another program, another mode, and more calls
//! at once than the handler takes. [`Simulator::crash_all`] ends instances between calls.
//!
//! Runtime `go` checks the text and puts it at `/work/out/program`; a line that is no instruction is a compile error.

mod backend;
mod faults;
mod instance;
mod loaded;
mod machine;
mod program;

pub use backend::Simulator;
pub use faults::{Hold, Step};
