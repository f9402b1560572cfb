//! What is measured, and what is wanted: a class joins with a row.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vulcan_api::{IsolationClass, Reuse, Runtime, StartKind};

use super::floor::Floor;
use crate::options::Part;

/// One way to start one program.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Which part of the benchmark it is of.
    pub(crate) part: Part,
    /// What it is, for the table.
    pub(crate) name: &'static str,
    /// The class.
    pub(crate) isolation: IsolationClass,
    /// What runs it.
    pub(crate) runtime: Runtime,
    /// The program.
    pub(crate) code: &'static str,
    /// What is asked for.
    pub(crate) reuse: Reuse,
    /// The start that it is to lead to.
    pub(crate) start: StartKind,
    /// What runs bare beside it.
    pub(crate) floor: Floor,
    /// The most that the median may be, in milliseconds.
    pub(crate) p50_ms_max: f64,
    /// The least that there must be per second, where that is measured.
    pub(crate) rate_min: Option<f64>,
}

const JAVASCRIPT: &str = "export default () => null;\n";
const TYPESCRIPT: &str = "export default (input: unknown): null => null;\n";
const PYTHON: &str = "def handler(input, context):\n    return None\n";
/// Returns null: four bytes at address 0.
const WAT: &str = r#"(module (memory (export "memory") 1) (data (i32.const 0) "null")
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "handler") (param i32 i32) (result i64) (i64.const 4)))
"#;

/// Returns all targets.
pub(crate) fn targets() -> Vec<Target> {
    let isolate = Target {
        part: Part::Isolate,
        name: "isolate, JavaScript, pooled",
        isolation: IsolationClass::Isolate,
        runtime: Runtime::Node,
        code: JAVASCRIPT,
        reuse: Reuse::None,
        start: StartKind::Pooled,
        floor: Floor::DenoBlank("javascript", JAVASCRIPT),
        p50_ms_max: 5.0,
        rate_min: None,
    };
    let python = Target {
        part: Part::Python,
        name: "sandbox, Python, warm",
        isolation: IsolationClass::Sandbox,
        runtime: Runtime::Python,
        code: PYTHON,
        reuse: Reuse::Warm,
        start: StartKind::Warm,
        floor: Floor::Python,
        p50_ms_max: 1.0,
        rate_min: None,
    };
    vec![
        Target {
            name: "isolate, TypeScript, pooled",
            runtime: Runtime::Typescript,
            code: TYPESCRIPT,
            floor: Floor::DenoBlank("typescript", TYPESCRIPT),
            p50_ms_max: 7.0,
            ..isolate.clone()
        },
        Target {
            name: "isolate, JavaScript, warm",
            reuse: Reuse::Warm,
            start: StartKind::Warm,
            floor: Floor::None,
            p50_ms_max: 0.6,
            rate_min: Some(4_000.0),
            ..isolate.clone()
        },
        isolate,
        Target {
            part: Part::Wasm,
            name: "wasm, cached module, fresh instance",
            isolation: IsolationClass::Wasm,
            runtime: Runtime::Wasm,
            code: WAT,
            reuse: Reuse::None,
            start: StartKind::Cold,
            floor: Floor::None,
            p50_ms_max: 0.6,
            rate_min: Some(5_000.0),
        },
        Target {
            name: "sandbox, Python, forked",
            reuse: Reuse::Forked,
            start: StartKind::Forked,
            p50_ms_max: 6.0,
            ..python.clone()
        },
        python,
    ]
}

impl Target {
    /// Returns the request's body.
    pub(crate) fn body(&self) -> String {
        let mut fields = BTreeMap::from([
            ("runtime", json!(self.runtime.as_str())),
            ("isolation", json!(self.isolation.as_str())),
            ("code", json!(self.code)),
        ]);
        if self.reuse != Reuse::None {
            fields.insert("reuse", Value::from(self.reuse.as_str()));
        }
        json!(fields).to_string()
    }
}
