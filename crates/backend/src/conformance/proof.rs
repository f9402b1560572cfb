//! Proof that an attack is a real one: it works where nothing is in its way.
//!
//! A proof has a bait of its own, which it may kill, read and change.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
};

use tokio::process::Command;

use super::{
    attack::{Attack, Proof, Report},
    bait::{Bait, HOST_PYTHON},
    stage::{random, within},
};

/// Performs an attack without the defence.
///
/// Returns why it could not be shown where the host itself is in the way and the attack allows for it.
pub(super) async fn prove(attack: &Attack) -> Result<(), String> {
    let wrapper: &[&str] = match attack.proof {
        Proof::Unconfined | Proof::WherePossible => &[],
        Proof::InNamespaces => &[
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--fork",
            "--cgroup",
            "--mount-proc",
            "--kill-child",
            "--",
        ],
        // Whoever is not root is the ordinary user that the attack needs.
        Proof::AsNobody if !is_root() => &[],
        Proof::AsNobody => &[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
        ],
        Proof::None(reason) => return Err(format!("not proven: {reason}")),
    };
    let report = perform(attack, wrapper).await?;
    if !report.contained {
        return Ok(());
    }
    let words = format!(
        "does nothing without the defence: {} ({})",
        report.tried, report.detail
    );
    assert!(
        attack.proof != Proof::Unconfined,
        "the attack '{}' {words}",
        attack.name
    );
    Err(format!("not proven on this host: it {words}"))
}

async fn perform(attack: &Attack, wrapper: &[&str]) -> Result<Report, String> {
    let bait = Bait::lay().await;
    let scratch = std::env::temp_dir().join(format!("vulcan-conformance-{:032x}-proof", random()));
    std::fs::create_dir(&scratch).expect("a temporary folder can be made");
    open_to_all(&scratch);
    let script = attack.script();
    let argv: Vec<&str> = wrapper
        .iter()
        .copied()
        .chain([HOST_PYTHON, "-I", "-c", script.as_str()])
        .collect();
    let output = Command::new(argv[0])
        .args(&argv[1..])
        .envs(bait.env())
        .env("PROOF", "1")
        .current_dir(&scratch)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("the proof of an attack", output).await;
    bait.remove().await;
    let _ = std::fs::remove_dir_all(&scratch);
    let output = output.map_err(|error| format!("not proven: {}: {error}", argv[0]))?;
    serde_json::from_slice(&output.stdout)
        .map(|json| Report::read(&json))
        .map_err(|_| format!("not proven: {}", String::from_utf8_lossy(&output.stderr)))
}

/// An attack that runs as another user needs a folder of its own all the same.
fn open_to_all(folder: &Path) {
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, mode).expect("the owner of a folder can open it");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
