//! What is measured, and what is wanted: a class joins with a row.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use vulcan_api::{IsolationClass, Reuse, Runtime, StartKind};

use super::{bundle, floor::Floor};
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
    /// The program; for runtime `image` the name of an image whose own program runs.
    pub(crate) code: &'static str,
    /// What is asked for.
    pub(crate) reuse: Reuse,
    /// The start that it is to lead to.
    pub(crate) start: StartKind,
    /// What runs bare beside it.
    pub(crate) floor: Floor,
    /// The most that the median may be.
    pub(crate) limit: Limit,
    /// The least that there must be per second, where that is measured.
    pub(crate) rate_min: Option<f64>,
}

/// The most that a median may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// Milliseconds.
    Ms(f64),
    /// Milliseconds beyond the median of the bare floor.
    MsOverBare(f64),
}

/// The image with nothing but busybox, made for the benchmark.
pub(super) const BUSYBOX_IMAGE: &str = "bench/busybox";

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
        limit: Limit::Ms(5.0),
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
        limit: Limit::Ms(1.0),
        rate_min: None,
    };
    let mut targets = vec![
        Target {
            name: "isolate, TypeScript, pooled",
            runtime: Runtime::Typescript,
            code: TYPESCRIPT,
            floor: Floor::DenoBlank("typescript", TYPESCRIPT),
            limit: Limit::Ms(7.0),
            ..isolate.clone()
        },
        Target {
            name: "isolate, JavaScript, warm",
            reuse: Reuse::Warm,
            start: StartKind::Warm,
            floor: Floor::None,
            limit: Limit::Ms(0.6),
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
            limit: Limit::Ms(0.6),
            rate_min: Some(5_000.0),
        },
        Target {
            name: "sandbox, Python, forked",
            reuse: Reuse::Forked,
            start: StartKind::Forked,
            limit: Limit::Ms(6.0),
            ..python.clone()
        },
        python.clone(),
    ];
    targets.extend(on_images(&python));
    targets
}

/// Containers and gVisor: the same programs at two strengths.
fn on_images(python: &Target) -> Vec<Target> {
    struct Class {
        isolation: IsolationClass,
        part: Part,
        names: [&'static str; 3],
        bare: bundle::Runtime,
        over_bare: f64,
    }
    let classes = [
        Class {
            isolation: IsolationClass::Container,
            part: Part::Container,
            names: [
                "container, busybox, cold",
                "container, Python, pooled",
                "container, Python, warm",
            ],
            bare: bundle::Runtime::Runc,
            over_bare: 6.0,
        },
        Class {
            isolation: IsolationClass::Gvisor,
            part: Part::Gvisor,
            names: [
                "gvisor, busybox, cold",
                "gvisor, Python, pooled",
                "gvisor, Python, warm",
            ],
            bare: bundle::Runtime::Runsc,
            over_bare: 15.0,
        },
    ];
    let of_class = |class: Class| {
        let [cold, pooled, warm] = class.names;
        let base = Target {
            part: class.part,
            isolation: class.isolation,
            ..python.clone()
        };
        [
            Target {
                name: cold,
                runtime: Runtime::Image,
                code: BUSYBOX_IMAGE,
                reuse: Reuse::Cold,
                start: StartKind::Cold,
                floor: Floor::Bundle(class.bare),
                limit: Limit::MsOverBare(class.over_bare),
                ..base.clone()
            },
            Target {
                name: pooled,
                reuse: Reuse::None,
                start: StartKind::Pooled,
                limit: Limit::Ms(4.0),
                ..base.clone()
            },
            Target {
                name: warm,
                limit: Limit::Ms(1.5),
                ..base
            },
        ]
    };
    classes.into_iter().flat_map(of_class).collect()
}

impl Target {
    /// Returns the request's body.
    pub(crate) fn body(&self) -> String {
        let mut fields = BTreeMap::from([
            ("runtime", json!(self.runtime.as_str())),
            ("isolation", json!(self.isolation.as_str())),
        ]);
        if self.runtime == Runtime::Image {
            fields.insert("image", json!(self.code));
        } else {
            fields.insert("code", json!(self.code));
        }
        if self.reuse != Reuse::None {
            fields.insert("reuse", Value::from(self.reuse.as_str()));
        }
        json!(fields).to_string()
    }
}
