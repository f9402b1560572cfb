//! What each measured workload is compared with.

use vulcan_api::{Runtime, WorkloadSpec};

use crate::{
    bare::Bare,
    programs::{Programs, source_spec},
};

/// One workload, the bare command beside it, and how slow it may be at most.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// What it is, for the table.
    pub(crate) name: &'static str,
    /// What the platform runs.
    pub(crate) spec: WorkloadSpec,
    /// What is run bare.
    pub(crate) bare: Bare,
    /// The most that the median may be, as a multiple of the bare median; `None` is only told.
    pub(crate) ratio_max: Option<f64>,
}

/// Returns all pairs.
pub(crate) fn pairs(programs: &Programs) -> Vec<Pair> {
    vec![
        Pair {
            name: "no-op binary",
            spec: programs.noop_spec(),
            bare: Bare::bubblewrap(&programs.noop),
            ratio_max: Some(1.0),
        },
        Pair {
            name: "no-op binary, like view",
            spec: programs.noop_spec(),
            bare: Bare::bubblewrap_with_view(&programs.noop),
            ratio_max: None,
        },
        Pair {
            name: "python handler",
            spec: source_spec(Runtime::Python, "def handler(input, context):\n    return None\n"),
            bare: Bare::new(["/usr/bin/python3", "-c", "pass"]),
            ratio_max: Some(1.4),
        },
        Pair {
            name: "node handler",
            spec: source_spec(Runtime::Node, "export default () => null;\n"),
            bare: Bare::new(["node", "-e", "0"]),
            ratio_max: None,
        },
        Pair {
            name: "bash script",
            spec: source_spec(Runtime::Bash, "true\n"),
            bare: Bare::new(["bash", "-c", "true"]),
            ratio_max: None,
        },
    ]
}
