//! What each class is given: a class joins the benchmark with a row.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vulcan_api::{
    BareCommand, BenchmarkId, BenchmarkWork, Isolation, IsolationClass, Network, ResourcesRequest, Reuse,
    Runtime, WorkloadSpec,
};

/// The label of every workload of a benchmark.
pub(super) const LABEL: &str = "vulcan.benchmark";
/// Memory of a workload that takes 64 MiB itself, in MiB: its interpreter and what it copies need room, too.
const MEMORY_WORK_MB: u32 = 256;
/// No workload of a benchmark takes this long, in seconds.
const TIMEOUT_S: f64 = 30.0;
/// How long the program waits whose memory is measured, in seconds; it is killed before.
const SLEEP_TIMEOUT_S: f64 = 20.0;

/// One class of the benchmark.
#[derive(Debug)]
pub(super) struct Row {
    /// The class.
    pub(super) isolation: IsolationClass,
    /// What runs its programs.
    pub(super) runtime: Runtime,
    /// What runs bare beside its no-ops.
    pub(super) floors: &'static [BareCommand],
    /// The program of a work.
    program: fn(BenchmarkWork) -> &'static str,
    /// The program that waits inside of its handler.
    sleeper: &'static str,
}

/// Waits inside of a Python handler.
const PYTHON_SLEEPER: &str = "import time\n\ndef handler(input, context):\n    time.sleep(60)\n";

/// All classes that there are programs for, in the order of the report.
pub(super) const ROWS: &[Row] = &[
    Row {
        isolation: IsolationClass::Isolate,
        runtime: Runtime::Node,
        floors: &[
            BareCommand::DenoBlank,
            BareCommand::DenoBlankTypescript,
            BareCommand::Deno,
        ],
        program: javascript,
        sleeper: "export default () => new Promise((wake) => setTimeout(wake, 60_000));\n",
    },
    Row {
        isolation: IsolationClass::Wasm,
        runtime: Runtime::Wasm,
        floors: &[],
        program: wasm,
        sleeper: include_str!("wat/sleep.wat"),
    },
    Row {
        isolation: IsolationClass::Sandbox,
        runtime: Runtime::Python,
        floors: &[BareCommand::Python, BareCommand::Node, BareCommand::Bubblewrap],
        program: python,
        sleeper: PYTHON_SLEEPER,
    },
    Row {
        isolation: IsolationClass::Container,
        runtime: Runtime::Python,
        floors: &[BareCommand::Runc, BareCommand::Docker],
        program: python,
        sleeper: PYTHON_SLEEPER,
    },
    Row {
        isolation: IsolationClass::Gvisor,
        runtime: Runtime::Python,
        floors: &[BareCommand::Runsc],
        program: python,
        sleeper: PYTHON_SLEEPER,
    },
];

impl Row {
    /// Returns a workload that does a work.
    pub(super) fn spec(&self, work: BenchmarkWork, reuse: Reuse, id: BenchmarkId) -> WorkloadSpec {
        let input = match work {
            BenchmarkWork::Echo => json!({"name": "Ada", "tags": ["a", "b", "c"], "nested": {"n": 42}}),
            BenchmarkWork::Noop | BenchmarkWork::Cpu | BenchmarkWork::Memory | BenchmarkWork::Output => {
                Value::Null
            }
        };
        // The default size where that is enough: it is what is kept ready.
        let mem_mb = (work == BenchmarkWork::Memory).then_some(MEMORY_WORK_MB);
        WorkloadSpec {
            input,
            resources: ResourcesRequest {
                mem_mb,
                timeout_s: Some(TIMEOUT_S),
                ..ResourcesRequest::default()
            },
            ..self.of((self.program)(work), reuse, id)
        }
    }

    /// Returns a workload that waits until it is killed.
    pub(super) fn sleeping(&self, id: BenchmarkId) -> WorkloadSpec {
        WorkloadSpec {
            resources: ResourcesRequest {
                timeout_s: Some(SLEEP_TIMEOUT_S),
                ..ResourcesRequest::default()
            },
            ..self.of(self.sleeper, Reuse::None, id)
        }
    }

    fn of(&self, code: &str, reuse: Reuse, id: BenchmarkId) -> WorkloadSpec {
        let isolation = Isolation::ALL
            .into_iter()
            .find(|isolation| isolation.class() == Some(self.isolation));
        WorkloadSpec {
            runtime: self.runtime,
            image: None,
            command: Vec::new(),
            isolation: isolation.unwrap_or_default(),
            code: Some(code.to_owned()),
            code_archive: None,
            entrypoint: None,
            args: Vec::new(),
            input: Value::Null,
            env: BTreeMap::new(),
            resources: ResourcesRequest::default(),
            network: Network::None,
            reuse,
            labels: BTreeMap::from([(LABEL.to_owned(), id.to_string())]),
            idempotent: false,
        }
    }
}

fn python(work: BenchmarkWork) -> &'static str {
    match work {
        BenchmarkWork::Noop => "def handler(input, context):\n    return None\n",
        BenchmarkWork::Echo => "def handler(input, context):\n    return input\n",
        BenchmarkWork::Cpu => {
            "import time\n\ndef handler(input, context):\n    until = time.monotonic() + 1.0\n    rounds = 0\n    \
             while time.monotonic() < until:\n        rounds += 1\n    return rounds\n"
        }
        BenchmarkWork::Memory => {
            "def handler(input, context):\n    block = bytearray(64 << 20)\n    \
             block[::4096] = b\"\\x01\" * (len(block) // 4096)\n    return len(block)\n"
        }
        BenchmarkWork::Output => {
            "import sys\n\ndef handler(input, context):\n    line = \"x\" * 99 + \"\\n\"\n    \
             for _ in range(100_000):\n        sys.stdout.write(line)\n"
        }
    }
}

fn javascript(work: BenchmarkWork) -> &'static str {
    match work {
        BenchmarkWork::Noop => "export default () => null;\n",
        BenchmarkWork::Echo => "export default (input) => input;\n",
        BenchmarkWork::Cpu => {
            "export default () => {\n  const until = performance.now() + 1000;\n  let rounds = 0;\n  \
             while (performance.now() < until) rounds += 1;\n  return rounds;\n};\n"
        }
        BenchmarkWork::Memory => {
            "export default () => {\n  const block = new Uint8Array(64 << 20);\n  block.fill(1);\n  \
             return block.length;\n};\n"
        }
        BenchmarkWork::Output => {
            "export default () => {\n  const line = \"x\".repeat(99);\n  \
             for (let n = 0; n < 100_000; n += 1) console.log(line);\n  return null;\n};\n"
        }
    }
}

fn wasm(work: BenchmarkWork) -> &'static str {
    match work {
        BenchmarkWork::Noop => include_str!("wat/noop.wat"),
        BenchmarkWork::Echo => include_str!("wat/echo.wat"),
        BenchmarkWork::Cpu => include_str!("wat/cpu.wat"),
        BenchmarkWork::Memory => include_str!("wat/memory.wat"),
        BenchmarkWork::Output => include_str!("wat/output.wat"),
    }
}
