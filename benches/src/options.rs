//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A part of the benchmark that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Cold workloads beside bare commands.
    Cold,
    /// Many cold workloads at once, and the server's memory.
    Load,
    /// Many workloads that end badly, and what is left behind.
    Soak,
    /// Starts, calls and memory of isolates.
    Isolate,
    /// Fresh instances of a WebAssembly module.
    Wasm,
    /// Python's warm and forked calls.
    Python,
    /// Starts and calls of containers, beside bare runc.
    Container,
    /// The same under gVisor, beside bare runsc.
    Gvisor,
    /// A large image out of a registry, beside skopeo and umoci.
    Images,
}

/// Measures a vulcan server against bare commands in the same minute.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// The server's binary
    #[arg(long, value_name = "FILE")]
    pub(crate) vulcan: PathBuf,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Check that the benchmark works: few runs, times are not judged
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these parts, with commas between them
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// The date that the report carries
    #[arg(long, default_value = "unknown")]
    pub(crate) date: String,
    /// The commit that the report carries
    #[arg(long, default_value = "unknown")]
    pub(crate) commit: String,
}

/// How often each thing is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Amounts {
    /// Runs of each command and workload, one after the other.
    pub(crate) latency_runs: usize,
    /// Seconds of load.
    pub(crate) load_s: u64,
    /// Clients under load and in the soak.
    pub(crate) clients: usize,
    /// When memory is read first.
    pub(crate) memory_first: usize,
    /// When memory is read again; the load goes on until then.
    pub(crate) memory_last: usize,
    /// Workloads in the soak.
    pub(crate) soak: usize,
    /// Seconds of load on one class.
    pub(crate) rate_s: u64,
    /// Containers at once.
    pub(crate) containers: usize,
    /// gVisor sandboxes at once.
    pub(crate) gvisors: usize,
    /// Pulls of a large image.
    pub(crate) pulls: usize,
}

impl Options {
    /// Returns whether a part is to be run.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Returns how often each thing is done.
    pub(crate) const fn amounts(&self) -> Amounts {
        if self.quick {
            Amounts {
                latency_runs: 3,
                load_s: 1,
                clients: 4,
                memory_first: 5,
                memory_last: 20,
                soak: 24,
                rate_s: 1,
                containers: 4,
                gvisors: 2,
                pulls: 1,
            }
        } else {
            Amounts {
                latency_runs: 200,
                load_s: 60,
                clients: 16,
                memory_first: 1_000,
                memory_last: 10_000,
                soak: 10_000,
                rate_s: 10,
                containers: 100,
                gvisors: 20,
                pulls: 3,
            }
        }
    }
}
