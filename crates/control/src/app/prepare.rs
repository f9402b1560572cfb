//! From the bytes of a request to a program that may run: pure, and possibly long.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use vulcan_api::{
    BackendInfo, Code, ImageProgram, IsolationClass, Network, Problem, ProblemKind, Program, ResourceLimits,
    Resources, Runtime, WorkloadSpec,
};

use super::{
    Refused, archive, fields,
    isolation::{self, Wanted},
    parse,
};

/// What the operator allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) limits: ResourceLimits,
    pub(super) isolation_floor: IsolationClass,
    pub(super) input_bytes_max: usize,
    pub(super) archive_entries_max: usize,
}

/// A request that passed every check.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) spec: WorkloadSpec,
    pub(super) program: Program,
    pub(super) resources: Resources,
    pub(super) input_digest: String,
    pub(super) class: IsolationClass,
    pub(super) reason: String,
}

/// Reads, checks and resolves a request.
pub(super) fn prepare(body: &[u8], rules: &Rules, backends: &[&BackendInfo]) -> Result<Prepared, Refused> {
    let mut spec = parse::spec(body, &rules.limits)?;
    if spec.network != Network::None {
        return Err(network_unavailable());
    }
    fields::words("args", &spec.args)?;
    fields::words("command", &spec.command)?;
    fields::env(&spec.env)?;
    fields::labels(&spec.labels)?;
    let resources = fields::resources(&spec.resources, &rules.limits)?;
    let input = Bytes::from(serde_json::to_vec(&spec.input).expect("a JSON value has string keys"));
    fields::input(input.len(), rules.input_bytes_max)?;
    // What costs the most comes last: nothing is unpacked for a request that is refused anyway.
    let choice = isolation::choose(Wanted::by(&spec), rules.isolation_floor, backends)
        .map_err(|no| isolation_unavailable(&spec, &no))?;
    let code = code(&mut spec, &resources, rules)?;
    let program = Program {
        runtime: spec.runtime,
        image: spec.image.clone(),
        code,
        args: std::mem::take(&mut spec.args),
        env: std::mem::take(&mut spec.env),
        input,
    };
    Ok(Prepared {
        input_digest: hex(&Sha256::digest(&program.input)),
        program,
        resources,
        class: choice.class,
        reason: choice.reason,
        spec,
    })
}

fn code(spec: &mut WorkloadSpec, resources: &Resources, rules: &Rules) -> Result<Code, Refused> {
    if spec.runtime == Runtime::Image {
        // What is left empty is the image's own: the node knows the image.
        return Ok(Code::Image(ImageProgram {
            argv: std::mem::take(&mut spec.command),
            ..ImageProgram::default()
        }));
    }
    let entrypoint = spec.entrypoint.as_deref().map(fields::entrypoint).transpose()?;
    match (spec.code.take(), spec.code_archive.take()) {
        (Some(code), None) => {
            let default = spec
                .runtime
                .default_entrypoint()
                .ok_or_else(|| needs_archive(spec.runtime))?;
            let name = entrypoint.unwrap_or_else(|| default.to_owned());
            let bytes = match spec.runtime {
                Runtime::Wasm => wasm(code)?,
                _ => Bytes::from(code),
            };
            Ok(Code::File { name, bytes })
        }
        (None, Some(text)) => {
            let entrypoint = entrypoint.ok_or_else(|| {
                invalid(
                    "entrypoint",
                    None,
                    "needed with code_archive: the relative path of the file to run",
                )
            })?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| {
                invalid(
                    "code_archive",
                    None,
                    format!("standard base64 with padding, on one line: {error}"),
                )
            })?;
            let limits = archive::Limits {
                unpacked_bytes_max: u64::from(resources.disk_mb) * 1024 * 1024,
                entries_max: rules.archive_entries_max,
            };
            archive::check(&bytes, &entrypoint, limits).map_err(|fault| invalid_archive(&fault))?;
            Ok(Code::Archive {
                bytes: Bytes::from(bytes),
                entrypoint,
            })
        }
        (Some(_), Some(_)) => Err(invalid(
            "code",
            None,
            "exactly one of code and code_archive; both are given",
        )),
        (None, None) => Err(invalid(
            "code",
            None,
            "exactly one of code and code_archive; neither is given",
        )),
    }
}

/// Reads a module: as text, which begins with a parenthesis or a comment, or in base64, which cannot.
fn wasm(code: String) -> Result<Bytes, Refused> {
    if code.trim_start().starts_with(['(', ';']) {
        return Ok(Bytes::from(code));
    }
    let bytes = STANDARD.decode(code.trim_end().as_bytes()).map_err(|error| {
        invalid(
            "code",
            None,
            format!(
                "for runtime wasm a module as text, which begins with a parenthesis, or in standard base64 with \
                 padding, on one line: {error}"
            ),
        )
    })?;
    Ok(Bytes::from(bytes))
}

fn needs_archive(runtime: Runtime) -> Refused {
    invalid(
        "code",
        None,
        format!("runtime {runtime} needs code_archive: an executable is not text"),
    )
}

fn invalid(field: &str, value: Option<Value>, allowed: impl Into<String>) -> Refused {
    let allowed = allowed.into();
    Problem::new(ProblemKind::InvalidField, format!("{field}: {allowed}"))
        .with_field(field, value, allowed)
        .into()
}

fn invalid_archive(fault: &archive::Fault) -> Refused {
    let detail = match &fault.entry {
        Some(entry) => {
            let entry: String = entry.chars().take(200).collect();
            format!(
                "the archive cannot be used because of its entry '{entry}': {}",
                fault.rule
            )
        }
        None => format!("the archive cannot be used: {}", fault.rule),
    };
    let entry = fault.entry.as_deref().map(Value::from);
    Problem::new(ProblemKind::InvalidArchive, detail)
        .with_field("code_archive", entry, fault.rule.as_str())
        .into()
}

fn network_unavailable() -> Refused {
    Problem::new(
        ProblemKind::NetworkUnavailable,
        "network egress is not available yet: leave network out, or say none, and pass data in as input",
    )
    .with_field("network", Value::from("egress"), "none")
    .into()
}

fn isolation_unavailable(spec: &WorkloadSpec, no: &isolation::Unavailable) -> Refused {
    let detail = format!("{}. What to do: {}", no.reason, no.hint);
    Problem::new(ProblemKind::IsolationUnavailable, detail)
        .with_field(
            "isolation",
            Value::from(spec.isolation.as_str()),
            no.hint.as_str(),
        )
        .into()
}

/// Writes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_taken_as_text_and_in_base64() {
        for text in ["(module)", "\n  (module)", ";; a comment\n(module)"] {
            assert_eq!(wasm(text.to_owned()).ok(), Some(Bytes::from(text.to_owned())));
        }
        assert_eq!(
            wasm("AGFzbQEAAAA=\n".to_owned()).ok(),
            Some(Bytes::from_static(b"\0asm\x01\0\0\0"))
        );
        assert!(wasm("AGFzbQEAAAA".to_owned()).is_err(), "padding is missing");
        assert!(wasm("no module".to_owned()).is_err());
    }
}
