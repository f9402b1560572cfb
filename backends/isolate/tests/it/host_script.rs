//! The host script's modules, tested by themselves in Deno.

use std::{path::Path, process::Command};

use crate::harness::deno;

#[test]
fn the_modules_of_the_host_script_pass_their_own_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host");
    let cache = tempfile::tempdir().unwrap();
    let deno = deno().unwrap_or_else(|| "deno".into());

    let output = Command::new(deno)
        .args([
            "test",
            "--no-check",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            "--no-prompt",
        ])
        .arg(folder)
        .env("DENO_DIR", cache.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("0 failed"), "{said}");
}
