//! Refusals in words that the author of the code understands.

use std::{fmt::Display, io};

use vulcan_guest_protocol::{Refusal, RefusalCode};

pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    refusal(RefusalCode::Invalid, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> Refusal {
    refusal(RefusalCode::NotFound, message)
}

pub(crate) fn too_large(message: impl Into<String>) -> Refusal {
    refusal(RefusalCode::TooLarge, message)
}

pub(crate) fn busy(message: impl Into<String>) -> Refusal {
    refusal(RefusalCode::Busy, message)
}

/// Tells why `what` could not be done: "could not write main.py: …".
pub(crate) fn io(what: impl Display, error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::NotFound => RefusalCode::NotFound,
        _ => RefusalCode::Io,
    };
    refusal(code, format!("could not {what}: {}", reason(error)))
}

/// Says what the operating system meant; a full disk is the instance's own limit.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk limit of the instance was reached".into()
        }
        _ => error.to_string(),
    }
}

fn refusal(code: RefusalCode, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_the_instances_own_limit() {
        let refusal = io("write main.py", &io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(refusal.code, RefusalCode::Io);
        assert_eq!(
            refusal.message,
            "could not write main.py: the disk limit of the instance was reached"
        );
    }
}
