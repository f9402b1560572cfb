//! Executables that live in memory only.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// Makes an executable file in memory that nobody can change any more, not even through `/proc/self/exe` of a process
/// that runs it (CVE-2019-5736). It is gone with its last descriptor.
///
/// Source: man 2 memfd_create.
///
/// # Errors
///
/// What the operating system said; nothing is left.
pub fn sealed_executable(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag; there a memfd is executable anyway.
    let fd = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let fd = OwnedFd::from(file);
    fcntl_add_seals(
        &fd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_executable_cannot_be_written() {
        let fd = sealed_executable("test", b"content").unwrap();
        let error = rustix::io::write(&fd, b"x").unwrap_err();
        assert_eq!(error, rustix::io::Errno::PERM);
    }
}
