//! Bundles with nothing but busybox, for OCI runtimes that run bare.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::{fs, process::Command};

/// Where a bundle has busybox, as its program sees it.
const BUSYBOX: &str = "/bin/busybox";

/// An OCI runtime whose command line is run as an operator would type it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OciRuntime {
    /// runc.
    Runc,
    /// gVisor's runsc, without a network.
    Runsc,
}

impl OciRuntime {
    /// Returns its program's name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Runsc => "runsc",
        }
    }

    /// Returns the command as one would type it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Runc => "runc run, busybox true",
            Self::Runsc => "runsc --network=none run, busybox true",
        }
    }

    /// Adds to a command of the runtime what runs a bundle in the foreground.
    pub(super) fn run(self, command: &mut Command, bundle: &Path, id: &str) {
        match self {
            Self::Runc => {}
            Self::Runsc => {
                command.arg("--network=none");
            }
        }
        let words = [OsStr::new("run"), OsStr::new("--bundle"), bundle.as_os_str()];
        command.args(words).arg(id);
    }

    /// Adds what takes back a container that was cut off.
    pub(super) fn delete(command: &mut Command, id: &str) {
        command.args(["delete", "--force", id]);
    }
}

/// Makes a bundle of what the runtime's own `spec` says, with busybox as the program, unless `folder` is one already. `spec` is
/// the runtime without arguments. It appears whole or not at all.
pub(super) async fn make(mut spec: Command, busybox: &Path, folder: &Path) -> io::Result<()> {
    if fs::try_exists(folder).await? {
        return Ok(());
    }
    let draft = draft_of(folder);
    match fs::remove_dir_all(&draft).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let programs = draft.join("rootfs/bin");
    fs::create_dir_all(&programs).await?;
    fs::copy(busybox, programs.join("busybox")).await?;
    let made = spec.args(["spec", "--bundle"]).arg(&draft).status().await?;
    if !made.success() {
        return Err(io::Error::other(format!("its spec failed: {made}")));
    }
    let config = draft.join("config.json");
    let text = with_busybox(&fs::read(&config).await?)?;
    fs::write(config, text).await?;
    fs::rename(draft, folder).await
}

fn draft_of(folder: &Path) -> PathBuf {
    folder.with_extension("new")
}

/// Returns a bundle's configuration with `busybox true` in place of its program.
fn with_busybox(config: &[u8]) -> io::Result<String> {
    let mut config: Value = serde_json::from_slice(config)?;
    let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) else {
        return Err(io::Error::other("its spec has no process"));
    };
    process.insert("args".to_owned(), json!([BUSYBOX, "true"]));
    process.insert("terminal".to_owned(), json!(false));
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_runs_busybox_and_keeps_whatever_else_the_runtime_says() {
        let spec = br#"{"process": {"terminal": true, "args": ["sh"], "cwd": "/"}, "hostname": "runc"}"#;
        let config: Value = serde_json::from_str(&with_busybox(spec).unwrap()).unwrap();
        assert_eq!(
            config,
            json!({"process": {"terminal": false, "args": ["/bin/busybox", "true"], "cwd": "/"}, "hostname": "runc"})
        );
        assert!(with_busybox(b"{}").is_err() && with_busybox(b"no").is_err());
    }
}
