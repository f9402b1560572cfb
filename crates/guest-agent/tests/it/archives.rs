//! Claims about archives, mostly hostile ones.

use std::{io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};
use vulcan_guest_protocol::{GuestRuntime, RefusalCode};

use crate::guest::{Answer, Guest, Run};

/// Makes archives that no honest tool makes.
struct Forge(Builder<GzEncoder<Vec<u8>>>);

impl Forge {
    fn new() -> Self {
        Self(Builder::new(GzEncoder::new(Vec::new(), Compression::fast()))).file("main.sh", "echo ran")
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, EntryType::Regular, None, content)
    }

    fn entry(mut self, name: &str, kind: EntryType, target: Option<&str>, content: &str) -> Self {
        let mut header = Header::new_gnu();
        // Written past the checks of the library.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = target {
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    fn pack(self) -> Vec<u8> {
        self.0.into_inner().unwrap().finish().unwrap()
    }
}

fn run(guest: &mut Guest, archive: Vec<u8>) -> Answer {
    guest.run(&Run::packed(GuestRuntime::Bash, "main.sh", archive))
}

fn message(answer: &Answer) -> String {
    let refusal = answer.refusal.as_ref().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(refusal.code, RefusalCode::Invalid);
    refusal.message.clone()
}

#[test]
fn files_folders_and_inner_links_are_unpacked() {
    let archive = Forge::new()
        .entry("a/", EntryType::Directory, None, "")
        .file("./a/b/c", "content")
        .entry("a/link", EntryType::Symlink, Some("../a/b/c"), "")
        .entry("hard", EntryType::Link, Some("a/b/c"), "")
        .pack();
    let mut guest = Guest::start();

    let answer = run(&mut guest, archive);

    assert_eq!(answer.stdout(), "ran\n");
    for name in ["a/b/c", "a/link", "hard"] {
        assert_eq!(std::fs::read(guest.work().join(name)).unwrap(), b"content");
    }
}

#[test]
fn entries_that_lead_out_are_refused() {
    for (name, kind, target, expected) in [
        ("../evil", EntryType::Regular, None, "contains '..'"),
        ("a/../../evil", EntryType::Regular, None, "contains '..'"),
        ("/tmp/evil", EntryType::Regular, None, "is absolute"),
        ("evil", EntryType::Symlink, Some("/etc/passwd"), "leads out"),
        ("evil", EntryType::Symlink, Some("../tmp"), "leads out"),
        ("evil", EntryType::Symlink, Some("a/../../tmp"), "leads out"),
        ("evil", EntryType::Link, Some("/etc/passwd"), "is absolute"),
        ("evil", EntryType::Link, Some("../tmp/x"), "contains '..'"),
        ("evil", EntryType::Char, None, "neither a file"),
        ("evil", EntryType::Block, None, "neither a file"),
        ("evil", EntryType::Fifo, None, "neither a file"),
    ] {
        let mut guest = Guest::start();
        let answer = run(&mut guest, Forge::new().entry(name, kind, target, "").pack());
        let message = message(&answer);
        assert!(
            message.contains(expected) && message.contains("evil"),
            "{name}: {message}"
        );
        assert!(guest.work().join("evil").symlink_metadata().is_err(), "{name}");
        assert!(
            guest.root.path().join("evil").symlink_metadata().is_err(),
            "{name}"
        );
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let archive = Forge::new()
        .file("real/kept", "kept")
        .entry("link", EntryType::Symlink, Some("real"), "")
        .file("link/through", "x")
        .pack();
    let mut guest = Guest::start();
    message(&run(&mut guest, archive));
    assert!(!guest.work().join("real/through").exists());

    let archive = Forge::new()
        .file("real", "kept")
        .entry("link", EntryType::Symlink, Some("real"), "")
        .file("link", "replaced")
        .pack();
    let mut guest = Guest::start();
    assert_eq!(run(&mut guest, archive).stdout(), "ran\n");
    assert_eq!(std::fs::read(guest.work().join("real")).unwrap(), b"kept");
    assert_eq!(std::fs::read(guest.work().join("link")).unwrap(), b"replaced");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let whole = Forge::new().file("long", &"x".repeat(100_000)).pack();
    for bytes in [
        b"no archive".to_vec(),
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
    ] {
        let text = message(&run(&mut Guest::start(), bytes));
        assert!(text.contains("archive"), "{text}");
    }
}

#[test]
fn too_many_or_too_deep_entries_are_refused() {
    let mut many = Forge::new();
    for _ in 0..65_536 {
        many = many.entry("same", EntryType::Directory, None, "");
    }
    let text = message(&run(&mut Guest::start(), many.pack()));
    assert!(text.contains("more than 65536 entries"), "{text}");

    // A name of a header is at most 100 bytes long; a longer one comes as an entry of its own.
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = Header::new_gnu();
    header.set_size(0);
    builder
        .append_data(&mut header, Path::new(&"d/".repeat(70)).join("f"), &b""[..])
        .unwrap();
    let deep = builder.into_inner().unwrap().finish().unwrap();
    let text = message(&run(&mut Guest::start(), deep));
    assert!(text.contains("too deep"), "{text}");
}

#[test]
fn an_archive_without_its_entrypoint_is_refused() {
    let answer = Guest::start().run(&Run::archive(GuestRuntime::Bash, "main.sh", &[("other.sh", "")]));
    assert!(message(&answer).contains("no file 'main.sh'"));

    let answer = Guest::start().run(&Run::archive(GuestRuntime::Bash, "main.sh", &[("main.sh/x", "")]));
    assert!(message(&answer).contains("no file 'main.sh'"));
}

#[test]
fn bits_that_give_others_rights_are_left_out() {
    let mut encoder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = Header::new_gnu();
    header.set_mode(0o6777);
    header.set_size(7);
    encoder
        .append_data(&mut header, "main.sh", &b"echo hi"[..])
        .unwrap();
    let mut bytes = encoder.into_inner().unwrap().finish().unwrap();
    bytes.flush().unwrap();
    let mut guest = Guest::start();
    run(&mut guest, bytes);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &guest.work().join("main.sh").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o7777, 0o755);
}
