//! The rules of single fields. Each returns what is wrong, by name, value and what is allowed.

use std::collections::BTreeMap;

use serde_json::Value;
use vulcan_api::{Problem, ProblemKind, ResourceLimits, Resources, ResourcesRequest};

use super::{Refused, parse::allowed};

/// The most arguments, and the most words of a command.
pub(crate) const ARGS_MAX: usize = 1_024;
/// The longest argument in bytes: Linux' `MAX_ARG_STRLEN` (man 2 execve) without the NUL.
pub(crate) const ARG_BYTES_MAX: usize = 128 * 1024 - 1;
/// The most bytes of all arguments together.
pub(crate) const ARGS_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of names and values of the environment together.
pub(crate) const ENV_BYTES_MAX: usize = 64 * 1024;
/// The longest value of one environment variable with its name: `MAX_ARG_STRLEN` again.
pub(crate) const ENV_VARIABLE_BYTES_MAX: usize = 128 * 1024 - 2;
/// Names that begin so belong to the platform.
pub(crate) const ENV_RESERVED_PREFIX: &str = "VULCAN_";
/// The most labels.
pub(crate) const LABELS_MAX: usize = 32;
/// The longest name of a label, in characters.
pub(crate) const LABEL_NAME_CHARS_MAX: usize = 63;
/// The longest value of a label, in characters.
pub(crate) const LABEL_VALUE_CHARS_MAX: usize = 255;
/// The longest path in an archive or of an entrypoint, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 1_024;
/// The longest part of such a path, in bytes: Linux' `NAME_MAX`.
pub(crate) const PATH_PART_BYTES_MAX: usize = 255;
/// The most parts of such a path.
pub(crate) const PATH_DEPTH_MAX: usize = 64;

fn invalid(field: impl Into<String>, value: impl Into<Option<Value>>, allowed: impl Into<String>) -> Refused {
    let (field, allowed) = (field.into(), allowed.into());
    Problem::new(ProblemKind::InvalidField, format!("{field}: {allowed}"))
        .with_field(field, value, allowed)
        .into()
}

fn exceeded(
    field: impl Into<String>,
    value: impl Into<Option<Value>>,
    allowed: impl Into<String>,
) -> Refused {
    let (field, allowed) = (field.into(), allowed.into());
    Problem::new(
        ProblemKind::LimitExceeded,
        format!("{field} lies outside of its limits: {allowed}"),
    )
    .with_field(field, value, allowed)
    .into()
}

/// Checks words of a command line: the arguments, or the command.
pub(super) fn words(name: &str, words: &[String]) -> Result<(), Refused> {
    if words.len() > ARGS_MAX {
        return Err(exceeded(
            name,
            Value::from(words.len()),
            format!("at most {ARGS_MAX} entries"),
        ));
    }
    for (index, arg) in words.iter().enumerate() {
        let field = || format!("{name}[{index}]");
        if arg.contains('\0') {
            return Err(invalid(field(), Value::from(arg.as_str()), "text without NUL"));
        }
        if arg.len() > ARG_BYTES_MAX {
            return Err(exceeded(
                field(),
                Value::from(arg.len()),
                format!("at most {ARG_BYTES_MAX} bytes"),
            ));
        }
    }
    let bytes: usize = words.iter().map(String::len).sum();
    if bytes > ARGS_BYTES_MAX {
        return Err(exceeded(
            name,
            Value::from(bytes),
            format!("at most {ARGS_BYTES_MAX} bytes in all"),
        ));
    }
    Ok(())
}

/// Checks the environment. Values are never repeated: they may be secrets.
pub(super) fn env(env: &BTreeMap<String, String>) -> Result<(), Refused> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(
                "env",
                Value::from(name.as_str()),
                "names that are not empty, without '=' and NUL",
            ));
        }
        if name.starts_with(ENV_RESERVED_PREFIX) {
            let allowed =
                format!("names that do not begin with {ENV_RESERVED_PREFIX}; those are the platform's own");
            return Err(invalid("env", Value::from(name.as_str()), allowed));
        }
        if value.contains('\0') {
            return Err(invalid(format!("env.{name}"), None, "a value without NUL"));
        }
        let bytes = name.len() + value.len();
        if bytes > ENV_VARIABLE_BYTES_MAX {
            let allowed = format!("at most {ENV_VARIABLE_BYTES_MAX} bytes, name and value together");
            return Err(exceeded("env", Value::from(bytes), allowed));
        }
    }
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ENV_BYTES_MAX {
        let allowed = format!("at most {ENV_BYTES_MAX} bytes, all names and values together");
        return Err(exceeded("env", Value::from(bytes), allowed));
    }
    Ok(())
}

/// Checks the labels.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> Result<(), Refused> {
    if labels.len() > LABELS_MAX {
        return Err(exceeded(
            "labels",
            Value::from(labels.len()),
            format!("at most {LABELS_MAX} labels"),
        ));
    }
    for (name, value) in labels {
        if name.is_empty() || name.contains('\0') {
            return Err(invalid(
                "labels",
                Value::from(name.as_str()),
                "names that are not empty, without NUL",
            ));
        }
        if name.chars().count() > LABEL_NAME_CHARS_MAX {
            let allowed = format!("names of at most {LABEL_NAME_CHARS_MAX} characters");
            return Err(exceeded("labels", Value::from(name.as_str()), allowed));
        }
        if value.chars().count() > LABEL_VALUE_CHARS_MAX {
            let allowed = format!("at most {LABEL_VALUE_CHARS_MAX} characters");
            return Err(exceeded(
                format!("labels.{name}"),
                Value::from(value.as_str()),
                allowed,
            ));
        }
    }
    Ok(())
}

/// Checks the size of the input's JSON text.
pub(super) fn input(bytes: usize, bytes_max: usize) -> Result<(), Refused> {
    if bytes > bytes_max {
        return Err(exceeded(
            "input",
            Value::from(bytes),
            format!("at most {bytes_max} bytes of JSON"),
        ));
    }
    Ok(())
}

/// Checks an entrypoint, and returns it without `.` parts.
pub(super) fn entrypoint(path: &str) -> Result<String, Refused> {
    relative_path(path).map_err(|rule| invalid("entrypoint", Value::from(path), rule))
}

/// Normalises a path that must stay below its root: drops `.` parts and double slashes.
///
/// # Errors
///
/// The rule that the path breaks, in words.
pub(crate) fn relative_path(path: &str) -> Result<String, String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("a path of at most {PATH_BYTES_MAX} bytes"));
    }
    if path.contains('\0') {
        return Err("a path without NUL".to_owned());
    }
    if path.starts_with('/') {
        return Err("a relative path".to_owned());
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err("a path without '..'".to_owned());
    }
    if parts.is_empty() {
        return Err("a path that names a file".to_owned());
    }
    if parts.len() > PATH_DEPTH_MAX {
        return Err(format!("a path of at most {PATH_DEPTH_MAX} parts"));
    }
    if parts.iter().any(|part| part.len() > PATH_PART_BYTES_MAX) {
        return Err(format!(
            "a path whose parts have at most {PATH_PART_BYTES_MAX} bytes"
        ));
    }
    Ok(parts.join("/"))
}

/// Fills in the defaults, and checks each limit.
pub(super) fn resources(asked: &ResourcesRequest, limits: &ResourceLimits) -> Result<Resources, Refused> {
    let (min, max, default) = (ResourceLimits::MIN, limits.max, limits.default);
    Ok(Resources {
        cpus: within(
            "resources.cpus",
            asked.cpus.unwrap_or(default.cpus),
            (min.cpus, max.cpus),
            limits,
        )?,
        mem_mb: within(
            "resources.mem_mb",
            asked.mem_mb.unwrap_or(default.mem_mb),
            (min.mem_mb, max.mem_mb),
            limits,
        )?,
        disk_mb: within(
            "resources.disk_mb",
            asked.disk_mb.unwrap_or(default.disk_mb),
            (min.disk_mb, max.disk_mb),
            limits,
        )?,
        pids: within(
            "resources.pids",
            asked.pids.unwrap_or(default.pids),
            (min.pids, max.pids),
            limits,
        )?,
        timeout_s: within(
            "resources.timeout_s",
            asked.timeout_s.unwrap_or(default.timeout_s),
            (min.timeout_s, max.timeout_s),
            limits,
        )?,
    })
}

/// A NaN lies outside of everything.
fn within<T: PartialOrd + Copy + Into<Value>>(
    field: &str,
    value: T,
    (min, max): (T, T),
    limits: &ResourceLimits,
) -> Result<T, Refused> {
    if value >= min && value <= max {
        return Ok(value);
    }
    Err(exceeded(field, Some(value.into()), allowed(field, limits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug<T>(result: Result<T, Refused>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(refused) => {
                let problem = refused.into_problem();
                format!("{} {}", problem.slug(), problem.errors[0].field)
            }
        }
    }

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_entrypoint_stays_below_its_root() {
        for good in ["main.py", "./main.py", "a//b/./c.js", "a b/ü.py", "..."] {
            assert!(entrypoint(good).is_ok(), "{good}");
        }
        let long = "a/".repeat(PATH_DEPTH_MAX + 1);
        for bad in [
            "",
            ".",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/..",
            "a\0b",
            &"x".repeat(256),
            &long,
        ] {
            assert_eq!(slug(entrypoint(bad)), "invalid-field entrypoint", "{bad:?}");
        }
    }

    #[test]
    fn the_environment_has_rules() {
        assert_eq!(slug(env(&map(&[("A", "b=c")]))), "ok");
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("VULCAN_X", "x")] {
            assert_eq!(slug(env(&map(&[(name, value)]))), "invalid-field env", "{name:?}");
        }
        assert_eq!(slug(env(&map(&[("A", "\0")]))), "invalid-field env.A");
        let big = "x".repeat(100_000);
        assert_eq!(
            slug(env(&map(&[("A", &big), ("B", &big), ("C", &big)]))),
            "limit-exceeded env"
        );
        assert_eq!(
            slug(env(&map(&[("A", &"x".repeat(200_000))]))),
            "limit-exceeded env"
        );
    }

    #[test]
    fn arguments_and_labels_have_rules() {
        assert_eq!(
            slug(words("args", &vec![String::new(); ARGS_MAX + 1])),
            "limit-exceeded args"
        );
        assert_eq!(slug(words("args", &["a\0".to_owned()])), "invalid-field args[0]");
        assert_eq!(
            slug(words("args", &["x".repeat(ARG_BYTES_MAX + 1)])),
            "limit-exceeded args[0]"
        );
        assert_eq!(
            slug(words("args", &vec!["x".repeat(100_000); 3])),
            "limit-exceeded args"
        );
        assert_eq!(slug(labels(&map(&[("", "x")]))), "invalid-field labels");
        assert_eq!(
            slug(labels(&map(&[(&"n".repeat(64), "x")]))),
            "limit-exceeded labels"
        );
        assert_eq!(
            slug(labels(&map(&[("n", &"x".repeat(256))]))),
            "limit-exceeded labels.n"
        );
        let many: BTreeMap<_, _> = (0..=LABELS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(slug(labels(&many)), "limit-exceeded labels");
    }

    #[test]
    fn a_secret_value_is_not_repeated() {
        let problem = env(&map(&[("A", "s3cret\0")])).unwrap_err().into_problem();
        assert!(!serde_json::to_string(&problem).unwrap().contains("s3cret"));
    }

    #[test]
    fn resources_take_defaults_and_have_bounds() {
        let limits = ResourceLimits::default();
        assert_eq!(
            resources(&ResourcesRequest::default(), &limits).unwrap(),
            limits.default
        );
        let ask = |change: fn(&mut ResourcesRequest)| {
            let mut request = ResourcesRequest::default();
            change(&mut request);
            slug(resources(&request, &limits))
        };
        assert_eq!(ask(|r| r.cpus = Some(0.0)), "limit-exceeded resources.cpus");
        assert_eq!(ask(|r| r.cpus = Some(f64::NAN)), "limit-exceeded resources.cpus");
        assert_eq!(
            ask(|r| r.cpus = Some(f64::INFINITY)),
            "limit-exceeded resources.cpus"
        );
        assert_eq!(ask(|r| r.mem_mb = Some(0)), "limit-exceeded resources.mem_mb");
        assert_eq!(
            ask(|r| r.disk_mb = Some(u32::MAX)),
            "limit-exceeded resources.disk_mb"
        );
        assert_eq!(ask(|r| r.pids = Some(1)), "limit-exceeded resources.pids");
        assert_eq!(
            ask(|r| r.timeout_s = Some(-1.0)),
            "limit-exceeded resources.timeout_s"
        );
    }
}
