//! Landlock: which files may be read, written, executed, whatever the mounts say.
//!
//! Source: Documentation/userspace-api/landlock.rst.

use std::io;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};

/// The newest Landlock interface that is used; older kernels get what they know of it.
const ABI_WANTED: ABI = ABI::V6;

/// What may be done where. Everything else is forbidden, mounting included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilesystemRules<'a> {
    /// Everything below may be read and executed.
    pub(crate) readable: &'a [&'a str],
    /// Everything below may be changed.
    pub(crate) writable: &'a [&'a str],
    /// These device files may be read and written.
    pub(crate) devices: &'a [&'a str],
}

/// Restricts this process and what it starts, for good. Does what the kernel's version allows; none is no error.
pub(crate) fn restrict_filesystem(rules: FilesystemRules<'_>) -> io::Result<()> {
    restrict(rules).map_err(io::Error::other)
}

fn restrict(rules: FilesystemRules<'_>) -> Result<(), landlock::RulesetError> {
    let all = AccessFs::from_all(ABI_WANTED);
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev | AccessFs::Truncate;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for (paths, access) in [
        (rules.readable, read),
        (rules.writable, all),
        (rules.devices, device),
    ] {
        for path in paths {
            // A path that does not exist needs no rule.
            if let Ok(fd) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
            }
        }
    }
    ruleset.restrict_self()?;
    Ok(())
}

/// Returns the version of the kernel's Landlock interface; 0 where there is none.
#[must_use]
pub fn landlock_abi() -> i32 {
    #[expect(unsafe_code, reason = "asks for the version only")]
    // SAFETY: with a null pointer, size 0 and this flag the call only returns a number.
    let version = unsafe {
        const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    i32::try_from(version).unwrap_or(0).max(0)
}
