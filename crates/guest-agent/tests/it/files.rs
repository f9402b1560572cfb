//! Claims about files that the host reads and writes.

use std::{os::unix::fs::PermissionsExt, path::Path};

use rustix::fs::{FileType, Mode};
use vulcan_guest_protocol::{HostFrame, ReadFile, RefusalCode, WriteFile};

use crate::guest::{Answer, Guest};

fn read(guest: &mut Guest, path: &Path, bytes_max: u64) -> Answer {
    let request = ReadFile {
        path: path.display().to_string(),
        bytes_max,
    };
    guest.send(1, &HostFrame::ReadFile(request));
    guest.finish(1)
}

fn write(guest: &mut Guest, path: &Path, mode: u32, bytes: &[u8]) -> Answer {
    let request = WriteFile {
        path: path.display().to_string(),
        mode,
        bytes: bytes.len() as u64,
    };
    guest.send(1, &HostFrame::WriteFile(request));
    guest.data(1, bytes);
    guest.finish(1)
}

fn refused(answer: &Answer) -> RefusalCode {
    answer.refusal.as_ref().unwrap().code
}

fn fifo(path: &Path) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
}

#[test]
fn a_large_file_comes_back_as_it_was_written() {
    let mut guest = Guest::start();
    let path = guest.work().join("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();

    assert!(write(&mut guest, &path, 0o640, &bytes).is_done);
    let answer = read(&mut guest, &path, 3_000_000);

    assert!(answer.is_done && answer.file == bytes);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn writing_replaces_content_and_mode() {
    let mut guest = Guest::start();
    let path = guest.work().join("file");
    write(&mut guest, &path, 0o600, b"long content");

    assert!(write(&mut guest, &path, 0o4755, b"short").is_done);

    assert_eq!(std::fs::read(&path).unwrap(), b"short");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn an_empty_file_can_be_written_and_read() {
    let mut guest = Guest::start();
    let path = guest.work().join("empty");
    assert!(write(&mut guest, &path, 0o644, b"").is_done);
    assert!(read(&mut guest, &path, 0).is_done);
}

#[test]
fn a_file_beyond_the_limit_is_refused_whether_or_not_it_tells_its_length() {
    let mut guest = Guest::start();
    let path = guest.work().join("file");
    std::fs::write(&path, b"123456").unwrap();

    assert_eq!(refused(&read(&mut guest, &path, 5)), RefusalCode::TooLarge);
    assert_eq!(
        refused(&read(&mut guest, Path::new("/proc/self/status"), 5)),
        RefusalCode::TooLarge
    );
    assert!(read(&mut guest, Path::new("/proc/self/status"), 100_000).is_done);
}

#[test]
fn only_regular_files_are_touched_and_nothing_blocks() {
    let mut guest = Guest::start();
    let pipe = guest.work().join("pipe");
    fifo(&pipe);
    let folder = guest.work();

    for path in [pipe.as_path(), folder.as_path(), Path::new("/dev/zero")] {
        assert_eq!(
            refused(&read(&mut guest, path, 10)),
            RefusalCode::Invalid,
            "{}",
            path.display()
        );
    }
    assert_eq!(refused(&write(&mut guest, &pipe, 0o644, b"x")), RefusalCode::Io);
    assert_eq!(
        refused(&write(&mut guest, Path::new("/dev/null"), 0o644, b"x")),
        RefusalCode::Invalid
    );
}

#[test]
fn what_does_not_exist_is_not_found() {
    let mut guest = Guest::start();
    let path = guest.work().join("no/such");
    assert_eq!(refused(&read(&mut guest, &path, 10)), RefusalCode::NotFound);
    assert_eq!(
        refused(&write(&mut guest, &path, 0o644, b"x")),
        RefusalCode::NotFound
    );
}

#[test]
fn paths_are_absolute() {
    let mut guest = Guest::start();
    for path in ["etc/passwd", "", "/a\0b"] {
        assert_eq!(
            refused(&read(&mut guest, Path::new(path), 10)),
            RefusalCode::Invalid
        );
    }
}
