//! The command line of `vulcan benchmark`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vulcan_api::{BenchmarkSpec, BenchmarkWork, IsolationClass};

use super::source::Source;
use crate::cli::class;

/// Arguments of `benchmark`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchmarkArgs {
    /// What to do instead of measuring.
    #[command(subcommand)]
    pub(crate) command: Option<BenchmarkCommand>,
    /// What to measure.
    #[command(flatten)]
    pub(crate) begin: BeginArgs,
}

/// What to do instead of measuring.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchmarkCommand {
    /// List the benchmarks that are kept, newest first
    Ls,
    /// Show a benchmark
    Show(ShowArgs),
    /// Show how the second benchmark differs from the first, as ratios
    Compare(CompareArgs),
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct BeginArgs {
    /// See within seconds whether it works; the numbers are not to be relied on
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this class; may be repeated: isolate, wasm, sandbox, container, gvisor, microvm
    #[arg(long = "class", value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    pub(crate) classes: Vec<IsolationClass>,
    /// Only this work; may be repeated: noop, echo, cpu, memory, output
    #[arg(long = "work", value_name = "WORK", value_delimiter = ',')]
    pub(crate) works: Vec<BenchmarkWork>,
    /// How often the no-op is started in each way [default: 100, or 5 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(BenchmarkSpec::SAMPLES_MAX)))]
    pub(crate) samples: Option<u32>,
    /// Write a report with charts to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Measure in this process even if a server is there
    #[arg(long)]
    pub(crate) embedded: bool,
}

/// Arguments of `benchmark show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The benchmark: its id, or a file that `--json` wrote
    #[arg(value_name = "ID|FILE")]
    pub(crate) source: Source,
    /// Write a report with charts to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Arguments of `benchmark compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The first: its id, or a file that `--json` wrote
    #[arg(value_name = "ID|FILE")]
    pub(crate) a: Source,
    /// The second
    #[arg(value_name = "ID|FILE")]
    pub(crate) b: Source,
}

impl BeginArgs {
    /// Returns the request.
    pub(crate) fn spec(&self) -> BenchmarkSpec {
        BenchmarkSpec {
            classes: self.classes.clone(),
            works: self.works.clone(),
            samples: self.samples,
            quick: self.quick,
        }
    }
}
