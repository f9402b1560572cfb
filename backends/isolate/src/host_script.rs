//! The host script, in TypeScript as it is written, and what makes JavaScript of it.

/// One module of the host script.
pub(crate) struct Module {
    /// Its name, without an ending.
    pub(crate) name: &'static str,
    /// Its source.
    pub(crate) source: &'static str,
}

macro_rules! modules {
    ($($name:literal)+) => {
        /// All modules.
        pub(crate) const MODULES: &[Module] = &[$(Module {
            name: $name,
            source: include_str!(concat!("../host/", $name, ".ts")),
        },)+];
    };
}

modules! {
    "archive" "call" "failure" "frames" "main" "primordials" "program" "result" "silence" "surroundings"
}

/// A script that prints Deno's version and the modules, their types stripped, as JSON; `MODULES` stands before it.
pub(crate) const STRIP: &str = r#"
import { stripTypeScriptTypes } from "node:module";
const stripped = {};
for (const [name, source] of Object.entries(MODULES)) {
  stripped[name] = stripTypeScriptTypes(source).replace(/(from '\.\/\w+)\.ts'/g, "$1.js'");
}
console.log(JSON.stringify({ version: Deno.version.deno, modules: stripped }));
"#;
