//! The rules of a request that names an image, or a command in one: what goes together, and what does not.

use serde_json::Value;
use vulcan_api::{IsolationClass, Problem, ProblemKind, Reuse, Runtime, WorkloadSpec};

use super::Refused;

/// What a workload with an image may be run under, in words.
const CLASSES_WITH_IMAGES: &str = "container, gvisor, microvm";

/// Whether instances of a class stand on an image.
pub(super) const fn stands_on_image(class: IsolationClass) -> bool {
    match class {
        IsolationClass::Container | IsolationClass::Gvisor | IsolationClass::Microvm => true,
        IsolationClass::Isolate | IsolationClass::Wasm | IsolationClass::Sandbox => false,
    }
}

/// Checks that image, command, runtime, code, class and reuse go together. `has_runtime` says whether the request named
/// a runtime: one that names none runs the image's program.
///
/// # Errors
///
/// `invalid-field`, for the first field that does not fit.
pub(super) fn check(spec: &WorkloadSpec, has_runtime: bool) -> Result<(), Refused> {
    if spec.runtime == Runtime::Image {
        image_program(spec, has_runtime)?;
    } else if !spec.command.is_empty() {
        let allowed = format!(
            "no command with runtime {0}, which runs code: leave runtime out to run a command of an image, or command to run \
             code",
            spec.runtime
        );
        return Err(invalid(
            "command",
            Some(Value::from(spec.command.clone())),
            allowed,
        ));
    }
    match &spec.image {
        Some(image) => with_image(spec, &image.to_string()),
        None => Ok(()),
    }
}

/// What runs the image's own program, or a command in it.
fn image_program(spec: &WorkloadSpec, has_runtime: bool) -> Result<(), Refused> {
    let code = [
        ("code", spec.code.is_some()),
        ("code_archive", spec.code_archive.is_some()),
        ("entrypoint", spec.entrypoint.is_some()),
    ];
    let code = code.into_iter().find(|(_, is_given)| *is_given);
    match (code, has_runtime) {
        (Some((field, _)), false) => {
            let allowed = format!("needed with {field}: what runs the code, one of {}", runtimes());
            return Err(invalid("runtime", None, allowed));
        }
        (Some((field, _)), true) => {
            let allowed = format!(
                "no {field} with runtime image, which runs what is in the image: name the runtime of the code, one of {}",
                runtimes()
            );
            return Err(invalid(field, None, allowed));
        }
        (None, _) => {}
    }
    if spec.image.is_none() {
        return Err(if has_runtime {
            let allowed = "needed with runtime image: a name, for example alpine:3.20";
            invalid("image", None, allowed)
        } else {
            let allowed = format!(
                "one of {}; it may be left out where image names what to run",
                runtimes()
            );
            invalid("runtime", None, allowed)
        });
    }
    if spec.command.first().is_some_and(String::is_empty) {
        return Err(invalid(
            "command[0]",
            Some(Value::from("")),
            "the program: a path, or a name that is on the PATH of the image",
        ));
    }
    match spec.reuse {
        Reuse::None | Reuse::Cold => Ok(()),
        Reuse::Warm | Reuse::Forked => {
            let allowed = "none or cold with runtime image: each run is a process of its own, and nothing of it is loaded to be \
                           called again";
            Err(invalid("reuse", Some(Value::from(spec.reuse.as_str())), allowed))
        }
    }
}

fn with_image(spec: &WorkloadSpec, image: &str) -> Result<(), Refused> {
    if spec.runtime == Runtime::Wasm {
        let allowed = "no image with runtime wasm: a module brings everything that it needs; leave image out";
        return Err(invalid("image", Some(Value::from(image)), allowed));
    }
    match spec.isolation.class() {
        Some(class) if !stands_on_image(class) => {
            let allowed = format!(
                "no image with isolation {class}, which has none: ask for one of auto, {CLASSES_WITH_IMAGES}, or leave image \
                 out"
            );
            Err(invalid("image", Some(Value::from(image)), allowed))
        }
        Some(_) | None => Ok(()),
    }
}

fn runtimes() -> String {
    let names: Vec<&str> = Runtime::ALL.into_iter().map(Runtime::as_str).collect();
    names.join(", ")
}

fn invalid(field: &str, value: Option<Value>, allowed: impl Into<String>) -> Refused {
    let allowed = allowed.into();
    Problem::new(ProblemKind::InvalidField, format!("{field}: {allowed}"))
        .with_field(field, value, allowed)
        .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: &Value) -> String {
        let spec: WorkloadSpec = serde_json::from_value(body.clone()).unwrap();
        match check(&spec, body.get("runtime").is_some()) {
            Ok(()) => format!("{} runs", spec.runtime),
            Err(refused) => {
                let problem = refused.into_problem();
                let error = &problem.errors[0];
                let value = error.value.as_ref().map_or("-".to_owned(), Value::to_string);
                format!("{} = {value}: {}", error.field, error.allowed)
            }
        }
    }

    #[test]
    fn what_goes_with_an_image_and_what_does_not() {
        let table: Vec<String> = [
            json!({"image": "localhost/alpine"}),
            json!({"image": "localhost/alpine", "command": ["ls", "-l"], "args": ["/"]}),
            json!({"runtime": "image", "image": "localhost/alpine"}),
            json!({"runtime": "python", "image": "localhost/alpine", "code": ""}),
            json!({"runtime": "python", "image": "localhost/alpine", "code": "", "isolation": "gvisor"}),
            json!({"runtime": "python", "code": "", "reuse": "warm"}),
            json!({"runtime": "image"}),
            json!({"command": ["ls"]}),
            json!({}),
            json!({"code": "x"}),
            json!({"image": "localhost/alpine", "code": "x"}),
            json!({"runtime": "image", "image": "localhost/alpine", "code": "x"}),
            json!({"runtime": "image", "image": "localhost/alpine", "entrypoint": "x"}),
            json!({"runtime": "bash", "image": "localhost/alpine", "code": "x", "command": ["ls"]}),
            json!({"image": "localhost/alpine", "command": [""]}),
            json!({"image": "localhost/alpine", "reuse": "warm"}),
            json!({"image": "localhost/alpine", "isolation": "sandbox"}),
            json!({"runtime": "node", "image": "localhost/alpine", "code": "x", "isolation": "isolate"}),
            json!({"runtime": "wasm", "image": "localhost/alpine", "code": "x"}),
        ]
        .iter()
        .map(|body| format!("{body}\n    {}", answer(body)))
        .collect();
        insta::assert_snapshot!(table.join("\n"));
    }
}
