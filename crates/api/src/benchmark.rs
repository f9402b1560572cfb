//! Benchmarks: what is asked, and the record of what was measured.
//!
//! Every duration is in milliseconds. Percentiles are the nearest rank: the smallest value that at least so many percent of
//! the samples do not exceed; of few samples the 99th is the largest.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{BenchmarkId, IsolationClass, NodeName, Reuse, Runtime, StartKind, Timestamp};

macro_rules! names {
    ($name:ident, $what:literal, $($(#[$doc:meta])* $variant:ident = $text:literal;)+) => {
        impl $name {
            /// All values, in the order of reports.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)+ } }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(value: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|one| one.as_str() == value).ok_or_else(|| {
                    let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    format!(concat!("unknown ", $what, " '{}': use one of {}"), value, names.join(", "))
                })
            }
        }
    };
}

/// A piece of work that every class is given.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BenchmarkWork {
    /// Returns at once.
    Noop,
    /// Returns its input, a small JSON object.
    Echo,
    /// Computes for one second by the clock.
    Cpu,
    /// Takes 64 MiB of memory, and writes to all of it.
    Memory,
    /// Prints 10 MB, in lines of 100 bytes.
    Output,
}

names! { BenchmarkWork, "work", Noop = "noop"; Echo = "echo"; Cpu = "cpu"; Memory = "memory"; Output = "output"; }

impl BenchmarkWork {
    /// Returns what it is, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Noop => "no-op",
            Self::Echo => "JSON echo",
            Self::Cpu => "1 s of CPU",
            Self::Memory => "64 MB of memory",
            Self::Output => "10 MB of output",
        }
    }
}

/// A fixed command that a node runs bare, as the floor of what its classes can reach.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BareCommand {
    /// Python's interpreter on an empty program.
    Python,
    /// Node on an empty program.
    Node,
    /// Bubblewrap with all namespaces, on a program that does nothing.
    Bubblewrap,
    /// Deno on an empty program, without permissions.
    Deno,
    /// First code of a Deno process that was started ahead: from writing JavaScript to it until its answer.
    DenoBlank,
    /// The same with TypeScript.
    DenoBlankTypescript,
    /// runc on a bundle with nothing but busybox, whose `true` it runs.
    Runc,
    /// gVisor's runsc on the same, without a network.
    Runsc,
    /// The operator's Docker, which runs `true` in an image that it has.
    Docker,
}

names! {
    BareCommand, "bare command",
    Python = "python"; Node = "node"; Bubblewrap = "bubblewrap"; Deno = "deno"; DenoBlank = "deno_blank";
    DenoBlankTypescript = "deno_blank_typescript"; Runc = "runc"; Runsc = "runsc"; Docker = "docker";
}

/// A request to measure; whatever is left out is measured in full.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkSpec {
    /// Only these classes; all that are available when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<IsolationClass>,
    /// Only this work; all of it when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub works: Vec<BenchmarkWork>,
    /// How often the no-op is started in each way; work that takes long is repeated less, in proportion. 100 when left out, 5
    /// for a quick one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub samples: Option<u32>,
    /// Says whether it works, within seconds: few samples, short loads. Its numbers are not to be relied on.
    #[serde(default)]
    pub quick: bool,
}

impl BenchmarkSpec {
    /// The most samples.
    pub const SAMPLES_MAX: u32 = 1_000;
    /// The samples where nothing is said.
    pub const SAMPLES: u32 = 100;
    /// The samples of a quick one.
    pub const SAMPLES_QUICK: u32 = 5;

    /// Returns how often the no-op is started in each way.
    #[must_use]
    pub fn samples(&self) -> u32 {
        let default = if self.quick {
            Self::SAMPLES_QUICK
        } else {
            Self::SAMPLES
        };
        self.samples.unwrap_or(default).clamp(1, Self::SAMPLES_MAX)
    }
}

/// What became of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BenchmarkStatus {
    /// It measures.
    Running,
    /// It measured everything that it could.
    Completed,
    /// It could not go on; `error` says why, and what was measured before is kept.
    Failed,
    /// Somebody ended it; what was measured before is kept.
    Cancelled,
}

names! {
    BenchmarkStatus, "status",
    Running = "running"; Completed = "completed"; Failed = "failed"; Cancelled = "cancelled";
}

impl BenchmarkStatus {
    /// Returns whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// How far a benchmark is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkProgress {
    /// What is done, in units of about a twentieth of a second.
    pub done: u32,
    /// What there is to do in all.
    pub total: u32,
    /// What is being measured, in words.
    pub step: String,
}

/// What everything was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkEnvironment {
    /// The node.
    pub node: NodeName,
    /// The processor's model.
    pub cpu: String,
    /// Its processors.
    pub cpus: u32,
    /// Its memory in MiB.
    pub memory_mb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The versions of what takes part, `vulcan` among them. What a node lacks is left out.
    pub versions: BTreeMap<String, String>,
}

/// Many values of one thing, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Spread {
    /// How many values there were.
    pub samples: u32,
    /// The smallest.
    pub min_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
}

/// Where the time of a workload went: medians in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkShares {
    /// On the way to the instance and back.
    pub queued_ms: f64,
    /// Until the instance answered.
    pub start_ms: f64,
    /// From handing over the code until its end.
    pub run_ms: f64,
    /// The rest: taking the request in, and committing its record.
    pub rest_ms: f64,
}

/// One piece of work under one class, started in one way, one at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkStart {
    /// The class.
    pub isolation: IsolationClass,
    /// What ran it.
    pub runtime: Runtime,
    /// The work.
    pub work: BenchmarkWork,
    /// The way to start that was wanted; only samples that had it count.
    pub start: StartKind,
    /// From submission to the answer, the record's commit included, without HTTP; `None` without a sample.
    pub total_ms: Option<Spread>,
    /// Until the instance answered.
    pub start_ms: Option<Spread>,
    /// From handing over the code until its end.
    pub run_ms: Option<Spread>,
    /// Where the time went.
    pub shares: Option<BenchmarkShares>,
    /// Processor time, median; `None` where the host cannot measure it.
    pub cpu_ms: Option<f64>,
    /// The most memory at once in MiB, median; `None` where the host cannot measure it.
    pub mem_peak_mb: Option<f64>,
    /// Workloads that completed and were started in another way; they do not count.
    pub started_otherwise: u32,
    /// Workloads that did not complete.
    pub failed: u32,
    /// Why there are no samples, or why the first failed one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// No-ops under one class, many at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkRate {
    /// The class.
    pub isolation: IsolationClass,
    /// What ran them.
    pub runtime: Runtime,
    /// The way to start that was asked for; where it could not be had in time, workloads were started cold.
    pub start: StartKind,
    /// How many at once.
    pub concurrency: u32,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Workloads that completed in these.
    pub completed: u32,
    /// Of these, the ones that were started as was asked.
    pub started_so: u32,
    /// Completed workloads per second.
    pub per_second: f64,
    /// What each took.
    pub total_ms: Option<Spread>,
    /// Workloads that did not complete.
    pub failed: u32,
    /// Why the first failed one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Memory of all processes of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Footprint {
    /// Bytes, with what is shared counted in equal parts for each who shares it.
    pub pss_bytes: u64,
    /// Bytes that are its own alone.
    pub private_bytes: u64,
    /// How many processes that is; 0 where instances are inside of the node's own.
    pub processes: u32,
}

/// Memory of one instance that waits inside its handler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkMemory {
    /// The class.
    pub isolation: IsolationClass,
    /// What runs in it.
    pub runtime: Runtime,
    /// What it takes; `None` where that cannot be measured.
    pub footprint: Option<Footprint>,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A bare command, run in turns with the no-ops of the class whose floor it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkFloor {
    /// Which one.
    pub command: BareCommand,
    /// The class whose floor it is.
    pub isolation: IsolationClass,
    /// As one would type it, or what is done where one cannot.
    pub text: String,
    /// How long it took; `None` without a sample.
    pub total_ms: Option<Spread>,
    /// Why there are no samples, and how to get them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A class that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkAbsence {
    /// Which one.
    pub isolation: IsolationClass,
    /// Why.
    pub reason: String,
}

/// The record of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Benchmark {
    /// Its name.
    pub id: BenchmarkId,
    /// What became of it.
    pub status: BenchmarkStatus,
    /// Why it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked.
    pub spec: BenchmarkSpec,
    /// How far it is.
    pub progress: BenchmarkProgress,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What everything was measured on; `None` until the node has said so.
    pub environment: Option<BenchmarkEnvironment>,
    /// Classes that were asked for and not measured.
    pub absent: Vec<BenchmarkAbsence>,
    /// One at a time.
    pub starts: Vec<BenchmarkStart>,
    /// Many at once.
    pub rates: Vec<BenchmarkRate>,
    /// Memory per instance.
    pub memory: Vec<BenchmarkMemory>,
    /// Bare commands.
    pub floors: Vec<BenchmarkFloor>,
}

impl Benchmark {
    /// Returns the record of one that is about to begin.
    #[must_use]
    pub fn new(id: BenchmarkId, spec: BenchmarkSpec, created_at: Timestamp) -> Self {
        Self {
            id,
            status: BenchmarkStatus::Running,
            error: None,
            spec,
            progress: BenchmarkProgress::default(),
            created_at,
            finished_at: None,
            environment: None,
            absent: Vec::new(),
            starts: Vec::new(),
            rates: Vec::new(),
            memory: Vec::new(),
            floors: Vec::new(),
        }
    }

    /// Returns what a list tells of it.
    #[must_use]
    pub fn summary(&self) -> BenchmarkSummary {
        let mut classes: Vec<IsolationClass> = self.starts.iter().map(|row| row.isolation).collect();
        classes.dedup();
        BenchmarkSummary {
            id: self.id,
            status: self.status,
            spec: self.spec.clone(),
            created_at: self.created_at,
            finished_at: self.finished_at,
            classes,
            version: self
                .environment
                .as_ref()
                .and_then(|environment| environment.versions.get("vulcan").cloned()),
        }
    }
}

/// What a list tells of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkSummary {
    /// Its name.
    pub id: BenchmarkId,
    /// What became of it.
    pub status: BenchmarkStatus,
    /// What was asked.
    pub spec: BenchmarkSpec,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The classes that were measured.
    pub classes: Vec<IsolationClass>,
    /// The platform's version then.
    pub version: Option<String>,
}

/// All benchmarks that are kept, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BenchmarkList {
    /// One entry each; the oldest beyond a hundred are deleted.
    pub benchmarks: Vec<BenchmarkSummary>,
}

/// Returns what a workload asks for to be started in a way; `None` where no workload can ask for it.
#[must_use]
pub const fn reuse_for(start: StartKind) -> Option<Reuse> {
    match start {
        StartKind::Cold => Some(Reuse::Cold),
        StartKind::Pooled => Some(Reuse::None),
        StartKind::Forked => Some(Reuse::Forked),
        StartKind::Warm => Some(Reuse::Warm),
        StartKind::Restored => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_says_nothing_measures_everything() {
        let spec: BenchmarkSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec, BenchmarkSpec::default());
        assert_eq!(spec.samples(), BenchmarkSpec::SAMPLES);
    }

    #[test]
    fn names_on_the_wire_are_those_of_the_texts() {
        for work in BenchmarkWork::ALL {
            assert_eq!(serde_json::to_value(work).unwrap(), work.as_str());
            assert_eq!(work.as_str().parse(), Ok(*work));
        }
        for command in BareCommand::ALL {
            assert_eq!(serde_json::to_value(command).unwrap(), command.as_str());
        }
        for status in BenchmarkStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(
            "x".parse::<BenchmarkWork>(),
            Err("unknown work 'x': use one of noop, echo, cpu, memory, output".to_owned())
        );
    }
}
