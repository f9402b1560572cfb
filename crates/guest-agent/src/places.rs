//! The folders that programs may write to, and who they are.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::process::{Gid, Uid};
use vulcan_guest_protocol::Refusal;

use crate::{identity::Identity, paths, refusal};

/// Where code lives, and where scratch files go.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Where the guest's own files are.
    pub(crate) root: PathBuf,
    /// The code, and the working directory of programs.
    pub(crate) work: PathBuf,
    /// Scratch files.
    pub(crate) tmp: PathBuf,
    /// Whom code runs as, where the agent is user 0; `None` where there is nobody but the agent.
    pub(crate) code: Option<Identity>,
}

impl Default for Places {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Places {
    /// Returns the same folders below another root.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            code: None,
            work: root.join("work"),
            tmp: root.join("tmp"),
        }
    }

    /// Makes the folders of code where the image has none, and the code's user the owner of the one that it lives in.
    pub(crate) fn make_ready(&self) -> Result<(), Refusal> {
        let Some(code) = &self.code else { return Ok(()) };
        let ready = || {
            if !self.tmp.exists() {
                fs::create_dir(&self.tmp)?;
                fs::set_permissions(&self.tmp, fs::Permissions::from_mode(0o1777))?;
            }
            if !self.work.exists() {
                fs::create_dir(&self.work)?;
            }
            let work = paths::open_root(&self.work)?;
            if rustix::fs::fstat(&work)?.st_uid != code.uid {
                let (uid, gid) = (Uid::from_raw(code.uid), Gid::from_raw(code.gid));
                rustix::fs::fchown(&work, Some(uid), Some(gid))?;
            }
            Ok(())
        };
        ready().map_err(|error| refusal::io(format_args!("make {} ready", self.work.display()), &error))
    }
}
