//! What a resident interpreter is told: the bytes of its jobs. See the shims for their form.

use std::collections::BTreeMap;

use vulcan_guest_protocol::{Invoke, InvokeMode};

/// Variables that an interpreter or its libraries read when they start, by the beginning of their names: a resident one
/// cannot be given them any more.
const AT_START: [&str; 18] = [
    "DENO_",
    "GCONV_PATH",
    "GLIBC_",
    "ICU_",
    "LANG",
    "LC_",
    "LD_",
    "LOCPATH",
    "MALLOC_",
    "MIMALLOC_",
    "NODE_",
    "NODE",
    "NO_COLOR",
    "OPENSSL_",
    "PYTHON",
    "SSL_CERT_",
    "TZ",
    "UV_",
];

/// Returns whether a program with these variables needs another interpreter than one that was started with `started`: what
/// counts at the start is not the same. Images say the language that programs have anyway.
pub(crate) fn needs_fresh(env: &BTreeMap<String, String>, started: &BTreeMap<String, String>) -> bool {
    env.iter()
        .filter(|(name, value)| started.get(*name) != Some(value))
        .any(|(name, _)| AT_START.iter().any(|start| name.starts_with(start)))
}

/// The first job: everything that a fresh interpreter would have as arguments and environment.
pub(crate) fn first(
    mode: InvokeMode,
    shim_arguments: &[String],
    args: &[String],
    env: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mode = match mode {
        InvokeMode::Once | InvokeMode::Beside => "once",
        InvokeMode::Warm => "warm",
        InvokeMode::Forked => "forked",
    };
    let count = args.len().to_string();
    let variables: Vec<String> = env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let fields: Vec<&str> = [mode, &count]
        .into_iter()
        .chain(
            [shim_arguments, args, &variables]
                .into_iter()
                .flatten()
                .map(String::as_str),
        )
        .collect();
    framed(fields.join("\0").as_bytes(), 0)
}

/// The head of a later call, behind which comes the input.
pub(crate) fn later(invoke: &Invoke) -> Vec<u8> {
    let head = format!("{}\0{}\0", invoke.workload, invoke.timeout_ms);
    framed(head.as_bytes(), invoke.input_bytes)
}

/// Both limits of requests are far below what four bytes can say.
fn framed(bytes: &[u8], more: u64) -> Vec<u8> {
    let length = u32::try_from(bytes.len() as u64 + more).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(4 + bytes.len());
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(bytes);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), "1".to_owned())])
    }

    #[test]
    fn only_what_counts_at_the_start_needs_a_fresh_interpreter() {
        for name in ["PYTHONPATH", "NODE_OPTIONS", "LD_PRELOAD", "LANG", "LC_ALL", "TZ"] {
            assert!(needs_fresh(&env(name), &BTreeMap::new()), "{name}");
            assert!(!needs_fresh(&env(name), &env(name)), "{name}");
        }
        for name in ["A", "PATH", "HOME", "MY_PYTHON", "USER"] {
            assert!(!needs_fresh(&env(name), &BTreeMap::new()), "{name}");
        }
    }

    #[test]
    fn the_first_job_has_everything() {
        let job = first(
            InvokeMode::Warm,
            &["/work/main.py".into(), "wl".into()],
            &["a".into(), String::new()],
            &env("A"),
        );
        assert_eq!(job[..4], [30, 0, 0, 0]);
        assert_eq!(&job[4..], b"warm\x002\x00/work/main.py\x00wl\x00a\x00\x00A=1");
    }
}
