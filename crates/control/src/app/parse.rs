//! From the bytes of a body to a [`WorkloadSpec`], and from a bad body to the field that is bad.

use serde::de::IgnoredAny;
use serde_json::Value;
use vulcan_api::{Isolation, Problem, ProblemKind, ResourceLimits, Reuse, Runtime, WorkloadSpec};

use super::{Refused, image_rules};

/// The longest part of serde's message or of a path that is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 300;
/// A bad body up to this size is read a third time, for the value that is bad.
const DIAGNOSE_BYTES_MAX: usize = 1024 * 1024;

/// Reads a spec.
///
/// # Errors
///
/// `malformed-body` when the bytes are no JSON, `invalid-field` when the JSON is no spec, or its image does not go with the
/// rest.
pub(super) fn spec(body: &[u8], limits: &ResourceLimits) -> Result<WorkloadSpec, Refused> {
    let spec: WorkloadSpec = serde_json::from_slice(body).map_err(|error| {
        // The error's own category takes a number where a name belongs for bad syntax: asked is whether it is JSON at all.
        if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            return invalid_field(body, limits, &error);
        }
        let message = shortened(&error.to_string());
        Refused::new(
            ProblemKind::MalformedBody,
            format!("the body is not JSON that can be read: {message}"),
        )
    })?;
    // A list would be read as the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(no_object(body, limits));
    }
    // Only what runs an image may leave its runtime out: nobody else pays for the second look.
    let has_runtime = spec.runtime != Runtime::Image || names_runtime(body);
    image_rules::check(&spec, has_runtime)?;
    Ok(spec)
}

fn no_object(body: &[u8], limits: &ResourceLimits) -> Refused {
    let given = (body.len() <= DIAGNOSE_BYTES_MAX)
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten();
    Problem::new(ProblemKind::InvalidField, "body: it is no object")
        .with_field("body", given, allowed("body", limits))
        .into()
}

fn names_runtime(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Named {
        runtime: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|named: Named| named.runtime.is_some())
}

/// Reads the body again to find the field; a good body never comes here.
fn invalid_field(body: &[u8], limits: &ResourceLimits, error: &serde_json::Error) -> Refused {
    let mut json = serde_json::Deserializer::from_slice(body);
    let tracked: Result<WorkloadSpec, _> = serde_path_to_error::deserialize(&mut json);
    let path = tracked
        .err()
        .map(|error| error.path().to_string())
        .unwrap_or_default();
    let value = (body.len() <= DIAGNOSE_BYTES_MAX)
        .then(|| serde_json::from_slice::<Value>(body).ok())
        .flatten();
    let is_root = path.is_empty() || path == ".";
    let (field, given) = match is_root {
        true => ("body".to_owned(), value.filter(|value| !value.is_object())),
        // It may be a secret.
        false if path.starts_with("env") => (path, None),
        false => {
            let given = value
                .as_ref()
                .and_then(|value| value.pointer(&pointer(&path)))
                .cloned();
            (path, given)
        }
    };
    let detail = format!("{field}: {}", shortened(&error.to_string()));
    Problem::new(ProblemKind::InvalidField, detail)
        .with_field(field.clone(), given, allowed(&field, limits))
        .into()
}

/// Turns `resources.mem_mb` and `args[3]` into the JSON pointers `/resources/mem_mb` and `/args/3` (RFC 6901).
fn pointer(path: &str) -> String {
    let mut pointer = String::with_capacity(path.len() + 1);
    pointer.push('/');
    for character in path.chars() {
        match character {
            '.' | '[' => pointer.push('/'),
            ']' => {}
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

/// Says what a field may be.
pub(super) fn allowed(field: &str, limits: &ResourceLimits) -> String {
    let (min, max) = (ResourceLimits::MIN, limits.max);
    match field.split(['.', '[']).next().unwrap_or(field) {
        "runtime" => format!("one of {}", names(Runtime::ALL.into_iter().map(Runtime::as_str))),
        "isolation" => format!("one of {}", names(Isolation::ALL.into_iter().map(Isolation::as_str))),
        "code" => "a string: the source text; exactly one of code and code_archive".to_owned(),
        "code_archive" => "a string: a tar.gz archive in base64; exactly one of code and code_archive".to_owned(),
        "entrypoint" => "a string: a relative path".to_owned(),
        "args" | "command" => "an array of strings".to_owned(),
        "image" => "the name of an image, [host[:port]/]repository[:tag][@sha256:digest]".to_owned(),
        "reuse" => format!("one of {}", names(Reuse::ALL.into_iter().map(Reuse::as_str))),
        "input" => "any JSON value".to_owned(),
        "env" | "labels" => "an object whose values are strings".to_owned(),
        "network" => "none; egress is not available yet".to_owned(),
        "idempotent" => "true or false".to_owned(),
        "resources" => match field {
            "resources.cpus" => format!("a number from {} to {}", min.cpus, max.cpus),
            "resources.mem_mb" => format!("a whole number from {} to {}", min.mem_mb, max.mem_mb),
            "resources.disk_mb" => format!("a whole number from {} to {}", min.disk_mb, max.disk_mb),
            "resources.pids" => format!("a whole number from {} to {}", min.pids, max.pids),
            "resources.timeout_s" => format!("a number from {} to {}", min.timeout_s, max.timeout_s),
            _ => "an object with cpus, mem_mb, disk_mb, pids, timeout_s; each at most once".to_owned(),
        },
        _ => "an object with runtime, image, command, isolation, code, code_archive, entrypoint, args, input, env, \
              resources, network, reuse, labels, idempotent; each at most once"
            .to_owned(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn shortened(message: &str) -> String {
    if message.chars().count() <= MESSAGE_CHARS_MAX {
        return message.to_owned();
    }
    message.chars().take(MESSAGE_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        let problem = spec(body.as_bytes(), &ResourceLimits::default())
            .unwrap_err()
            .into_problem();
        let fields: Vec<String> = problem
            .errors
            .iter()
            .map(|error| {
                format!(
                    "{} = {}",
                    error.field,
                    error.value.as_ref().map_or("-".into(), Value::to_string)
                )
            })
            .collect();
        format!("{} {} [{}]", problem.status, problem.slug(), fields.join(", "))
    }

    #[test]
    fn each_bad_body_names_its_field_and_value() {
        let deep = format!(
            r#"{{"runtime":"python","input":{}1{}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        let bodies = [
            "",
            "{",
            "[]",
            r#" ["python"]"#,
            "nil",
            "7",
            r#"{}"#,
            r#"{"code":"x"}"#,
            r#"{"image":"alpine","code":"x"}"#,
            r#"{"image":"Alpine"}"#,
            r#"{"image":7}"#,
            r#"{"runtime":"image"}"#,
            r#"{"runtime":"ruby"}"#,
            r#"{"runtime":7}"#,
            r#"{"runtime":"python","cod":"x"}"#,
            r#"{"runtime":"python","runtime":"node"}"#,
            r#"{"runtime":"python","args":["a",7]}"#,
            r#"{"runtime":"python","env":{"A":1}}"#,
            r#"{"runtime":"python","resources":{"mem_mb":-1}}"#,
            r#"{"runtime":"python","resources":{"mem_mb":1.5}}"#,
            r#"{"runtime":"python","resources":{"ram":1}}"#,
            r#"{"runtime":"python","resources":{"cpus":1e999}}"#,
            r#"{"runtime":"python","resources":{"cpus":NaN}}"#,
            r#"{"runtime":"python","network":"all"}"#,
            r#"{"runtime":"python","code":"\ud800"}"#,
            r#"{"runtime":"python"} trailing"#,
            &deep,
        ];
        let table: Vec<String> = bodies
            .iter()
            .map(|body| format!("{:<50.50} {}", body, refusal(body)))
            .collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
                                                           400 malformed-body []
        {                                                  400 malformed-body []
        []                                                 422 invalid-field [body = []]
         ["python"]                                        422 invalid-field [body = ["python"]]
        nil                                                400 malformed-body []
        7                                                  422 invalid-field [body = 7]
        {}                                                 422 invalid-field [runtime = -]
        {"code":"x"}                                       422 invalid-field [runtime = -]
        {"image":"alpine","code":"x"}                      422 invalid-field [runtime = -]
        {"image":"Alpine"}                                 422 invalid-field [image = "Alpine"]
        {"image":7}                                        422 invalid-field [image = 7]
        {"runtime":"image"}                                422 invalid-field [image = -]
        {"runtime":"ruby"}                                 422 invalid-field [runtime = "ruby"]
        {"runtime":7}                                      422 invalid-field [runtime = 7]
        {"runtime":"python","cod":"x"}                     422 invalid-field [cod = "x"]
        {"runtime":"python","runtime":"node"}              422 invalid-field [body = -]
        {"runtime":"python","args":["a",7]}                422 invalid-field [args[1] = 7]
        {"runtime":"python","env":{"A":1}}                 422 invalid-field [env.A = -]
        {"runtime":"python","resources":{"mem_mb":-1}}     422 invalid-field [resources.mem_mb = -1]
        {"runtime":"python","resources":{"mem_mb":1.5}}    422 invalid-field [resources.mem_mb = 1.5]
        {"runtime":"python","resources":{"ram":1}}         422 invalid-field [resources.ram = 1]
        {"runtime":"python","resources":{"cpus":1e999}}    422 invalid-field [resources.cpus = -]
        {"runtime":"python","resources":{"cpus":NaN}}      400 malformed-body []
        {"runtime":"python","network":"all"}               422 invalid-field [network = "all"]
        {"runtime":"python","code":"\ud800"}               422 invalid-field [code = -]
        {"runtime":"python"} trailing                      400 malformed-body []
        {"runtime":"python","input":[[[[[[[[[[[[[[[[[[[[[[ 422 invalid-field [input[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0] = -]
        "#);
    }

    #[test]
    fn a_huge_unknown_value_is_not_sent_back_whole() {
        let body = format!(r#"{{"runtime":"{}"}}"#, "x".repeat(100_000));
        let problem = spec(body.as_bytes(), &ResourceLimits::default())
            .unwrap_err()
            .into_problem();
        assert!(serde_json::to_string(&problem).unwrap().len() < 2_000);
    }
}
