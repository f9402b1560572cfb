//! What a process gives up before it runs foreign code.

mod filesystem;
mod filter;
mod limits;
mod privileges;
mod syscalls;

pub use filesystem::landlock_abi;
pub(crate) use filesystem::{FilesystemRules, restrict_filesystem};
pub use limits::ProcessLimits;
pub(crate) use limits::set_limits;
pub(crate) use privileges::drop_privileges;
pub use syscalls::{AllowedCall, Condition, allowed_list, filter_bytes};
pub(crate) use syscalls::{SyscallFilter, restrict_syscalls};
