//! Python's own modules, compiled ahead: a layer is read-only, and what is not in it would be compiled at every start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};
use vulcan_api::{ImageEvent, ProblemKind};
use vulcan_bus::ImageResult;

use crate::image::{Events, problem::refuse};

/// How long compiling may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// Modules that nobody imports as they are: sources of a converter's tests, templates.
const LEFT_OUT: &str = "/(test|tests|lib2to3|idlelib)/";

/// Compiles what is below `usr/lib/python3*` of a tree. Only reads the sources: nothing of the tree is run, the compiler is the
/// host's own interpreter of the same version. Where the host has none, nothing is compiled, and that is told.
///
/// # Errors
///
/// When the compiler fails or takes too long.
pub(super) async fn precompile(tree: &Path, events: &Events) -> ImageResult<()> {
    let Some((version, folders)) = python_of(tree) else {
        return Ok(());
    };
    let python = PathBuf::from("/usr/bin").join(&version);
    if !python.exists() {
        let text =
            format!("{version} is not on this host: its modules are not compiled ahead, and start slower");
        // Whoever listened may be gone.
        let _ = events.send(ImageEvent::Log { text }).await;
        return Ok(());
    }
    let mut command = Command::new(&python);
    command
        // Neither somebody's home nor the current folder says what is imported.
        .args([
            "-s",
            "-P",
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
            "-x",
            LEFT_OUT,
            "-s",
        ])
        .arg(tree)
        .args(["-p", "/"])
        .args(folders)
        .env_clear()
        // The order of what is in sets, and with it the bytes, depends on it.
        .env("PYTHONHASHSEED", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let failed = |why: String| {
        refuse(
            ProblemKind::ImageBuildFailed,
            format!("{version} could not compile its modules: {why}"),
        )
    };
    match timeout(DEADLINE, command.output()).await {
        Err(_) => failed(format!("it took longer than {DEADLINE:?}")),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(output)) if !output.status.success() => failed(
            String::from_utf8_lossy(&output.stderr)
                .chars()
                .take(500)
                .collect(),
        ),
        Ok(Ok(_)) => Ok(()),
    }
}

/// Returns the interpreter of a tree, `python3.11`, and the folders of its modules.
fn python_of(tree: &Path) -> Option<(String, Vec<PathBuf>)> {
    let mut found: Vec<PathBuf> = fs::read_dir(tree.join("usr/lib"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("python3"))
        })
        .collect();
    found.sort();
    let is_version = |name: &&str| {
        name.strip_prefix("python3.")
            .is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let version = found
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .rfind(is_version)?
        .to_owned();
    Some((version, found))
}
