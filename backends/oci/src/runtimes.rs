//! What the agent can run where the image brings the interpreter, and what it can have ready.

use vulcan_api::{Runtime, RuntimeInfo};
use vulcan_backend::Readying;

use crate::launcher::Lacking;

/// Returns whether an interpreter is started ahead for a runtime. For every other one that can be blank, a blank instance is
/// the agent in its instance alone.
pub(crate) const fn has_interpreter(runtime: Runtime) -> bool {
    matches!(runtime, Runtime::Python | Runtime::Node | Runtime::Typescript)
}

/// Returns what can be done ahead for which runtime.
pub(crate) fn readying() -> Vec<Readying> {
    Runtime::ALL.into_iter().filter_map(of_runtime).collect()
}

fn of_runtime(runtime: Runtime) -> Option<Readying> {
    let (blank, warm, forked) = match runtime {
        Runtime::Python => (runtime, true, true),
        Runtime::Node | Runtime::Typescript => (Runtime::Node, true, false),
        // Nothing is started in it but the agent.
        Runtime::Bash | Runtime::Binary => (Runtime::Bash, false, false),
        Runtime::Image | Runtime::Go => (runtime, false, false),
        Runtime::Wasm => return None,
    };
    Some(Readying {
        runtime,
        blank: Some(blank),
        warm,
        forked,
    })
}

/// Returns what the agent can run; nothing, where the machine lacks what starts it. Whether an image has the interpreter is the
/// node's to know.
pub(crate) fn all(lacking: Option<&Lacking>) -> Vec<RuntimeInfo> {
    let of_images = Runtime::ALL
        .into_iter()
        .filter(|runtime| *runtime != Runtime::Wasm);
    of_images
        .map(|runtime| RuntimeInfo {
            runtime,
            available: lacking.is_none(),
            detail: match (lacking, runtime) {
                (Some(lacking), _) => format!("{} is not there", lacking.name),
                (None, Runtime::Image) => "the programs of an image".to_owned(),
                (None, Runtime::Binary) => "any static executable for this machine".to_owned(),
                (None, _) => "with the interpreter of the image".to_owned(),
            },
            packages: lacking.iter().map(|lacking| lacking.package.clone()).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_of_processes_can_be_run_and_started_ahead() {
        let run: Vec<Runtime> = all(None).iter().map(|info| info.runtime).collect();
        let ahead: Vec<Runtime> = readying().iter().map(|readying| readying.runtime).collect();
        assert_eq!(run, ahead);
        assert!(!run.contains(&Runtime::Wasm));
    }
}
