//! Archives that somebody hostile made, and those that are only unusual.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, symlink},
    path::{Path, PathBuf},
};

use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::image::unpack::{Meaning, UnpackError, UnpackLimits, Unpacked, unpack};

const LIMITS: UnpackLimits = UnpackLimits {
    bytes_max: 1 << 20,
    entries_max: 1000,
};

/// A folder to unpack into, beside one that nobody may touch.
struct Bench {
    place: TempDir,
}

impl Bench {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        fs::create_dir(place.path().join("layer")).unwrap();
        fs::create_dir(place.path().join("outside")).unwrap();
        fs::write(place.path().join("outside/file"), "untouched").unwrap();
        Self { place }
    }

    fn layer(&self) -> PathBuf {
        self.place.path().join("layer")
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, UnpackError> {
        self.unpack_as(archive, Meaning::Layer, LIMITS)
    }

    fn unpack_as(
        &self,
        archive: &[u8],
        meaning: Meaning,
        limits: UnpackLimits,
    ) -> Result<Unpacked, UnpackError> {
        let path = self.place.path().join("archive");
        fs::write(&path, archive).unwrap();
        let stop = CancellationToken::new();
        unpack(File::open(path).unwrap(), &self.layer(), meaning, limits, &stop)
    }

    fn assert_outside_is_untouched(&self) {
        let outside = self.place.path().join("outside");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1);
        let mut beside: Vec<_> = fs::read_dir(self.place.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        beside.sort();
        assert_eq!(beside, ["archive", "layer", "outside"]);
    }
}

/// One entry, with a name as raw as an attacker wants it.
fn entry(archive: &mut Vec<u8>, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(7);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn file(archive: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    entry(archive, EntryType::Regular, name, b"", content);
}

fn refusal(result: Result<Unpacked, UnpackError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn no_path_leads_out_of_the_folder() {
    for name in [&b"../outside/file"[..], b"a/../../outside/file", b"..", b"a/.."] {
        let bench = Bench::new();
        let mut archive = Vec::new();
        file(&mut archive, name, b"attacked");
        assert!(
            refusal(bench.unpack(&archive)).contains("leads out of its folder"),
            "{name:?}"
        );
        bench.assert_outside_is_untouched();
    }
}

#[test]
fn an_absolute_path_begins_at_the_folder() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    file(&mut archive, b"/etc/vulcan-attacked", b"x");
    bench.unpack(&archive).unwrap();
    assert!(bench.layer().join("etc/vulcan-attacked").exists());
    assert!(!Path::new("/etc/vulcan-attacked").exists());
}

#[test]
fn writing_through_a_link_stays_inside() {
    for target in ["../outside", "../../../../../../outside"] {
        let bench = Bench::new();
        let absolute = bench.place.path().join("outside");
        for target in [target.as_bytes(), absolute.as_os_str().as_encoded_bytes()] {
            let mut archive = Vec::new();
            entry(&mut archive, EntryType::Symlink, b"way", target, b"");
            file(&mut archive, b"way/file", b"attacked");
            // Inside of the folder there is nothing at that place: the link leads nowhere.
            assert!(refusal(bench.unpack(&archive)).contains("leads through a link to nowhere"));
            bench.assert_outside_is_untouched();
            fs::remove_file(bench.layer().join("way")).unwrap();
        }
    }
}

#[test]
fn the_attack_through_a_link_would_work_without_the_defence() {
    let bench = Bench::new();
    symlink("../outside", bench.layer().join("way")).unwrap();
    fs::write(bench.layer().join("way/file"), "attacked").unwrap();
    assert_eq!(
        fs::read_to_string(bench.place.path().join("outside/file")).unwrap(),
        "attacked"
    );
}

#[test]
fn a_link_to_a_folder_of_the_archive_is_followed() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    entry(&mut archive, EntryType::Directory, b"usr/lib", b"", b"");
    entry(&mut archive, EntryType::Symlink, b"lib", b"/usr/lib", b"");
    file(&mut archive, b"lib/libc.so", b"elf");
    bench.unpack(&archive).unwrap();
    assert_eq!(fs::read(bench.layer().join("usr/lib/libc.so")).unwrap(), b"elf");
}

#[test]
fn a_file_is_not_written_through_a_link_of_its_own_name() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    let outside = bench.place.path().join("outside/file");
    entry(
        &mut archive,
        EntryType::Symlink,
        b"x",
        outside.as_os_str().as_encoded_bytes(),
        b"",
    );
    file(&mut archive, b"x", b"attacked");
    bench.unpack(&archive).unwrap();
    bench.assert_outside_is_untouched();
    assert!(fs::symlink_metadata(bench.layer().join("x")).unwrap().is_file());
}

#[test]
fn a_hard_link_reaches_only_files_of_the_archive() {
    for target in [
        &b"../outside/file"[..],
        b"/outside/file",
        b"missing",
        b"folder",
        b"",
        b"way/file",
    ] {
        let bench = Bench::new();
        let mut archive = Vec::new();
        entry(&mut archive, EntryType::Directory, b"folder", b"", b"");
        entry(&mut archive, EntryType::Symlink, b"way", b"../outside", b"");
        entry(&mut archive, EntryType::Link, b"x", target, b"");
        assert!(bench.unpack(&archive).is_err(), "{target:?}");
        assert!(!bench.layer().join("x").exists());
        bench.assert_outside_is_untouched();
    }
}

#[test]
fn devices_and_pipes_are_left_out() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    for (kind, name) in [
        (EntryType::Char, &b"null"[..]),
        (EntryType::Block, b"sda"),
        (EntryType::Fifo, b"pipe"),
    ] {
        entry(&mut archive, kind, name, b"", b"");
    }
    let unpacked = bench.unpack(&archive).unwrap();
    assert_eq!(unpacked.left_out, 3);
    assert_eq!(fs::read_dir(bench.layer()).unwrap().count(), 0);
}

#[test]
fn a_name_with_a_nul_or_without_end_is_refused() {
    for path in [
        &b"a\0b"[..],
        &b"a/".repeat(3000),
        &vec![b'x'; 300],
        &b"d/".repeat(300),
    ] {
        let bench = Bench::new();
        let mut archive = Vec::new();
        let text = [b"path=", path].concat();
        let digits = (text.len() + 6).to_string();
        let record = [format!("{:0>4}", text.len() + 6).as_bytes(), b" ", &text, b"\n"].concat();
        assert!(digits.len() <= 4);
        entry(&mut archive, EntryType::XHeader, b"pax", b"", &record);
        file(&mut archive, b"x", b"");
        assert!(bench.unpack(&archive).is_err());
        assert_eq!(fs::read_dir(bench.layer()).unwrap().count(), 0);
    }
}

#[test]
fn a_bomb_is_stopped_while_it_is_unpacked() {
    let bench = Bench::new();
    let mut plain = Vec::new();
    for name in 0..64 {
        file(&mut plain, format!("{name}").as_bytes(), &vec![0; 256 << 10]);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 3).unwrap();
    for bomb in [gzip.finish().unwrap(), zstd] {
        assert!(bomb.len() < 64 << 10);
        assert_eq!(refusal(bench.unpack(&bomb)), "it has more than 1048576 bytes");
        let written: u64 = fs::read_dir(bench.layer())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(written <= LIMITS.bytes_max);
    }
}

#[test]
fn what_follows_the_end_of_an_archive_is_limited_too() {
    let bench = Bench::new();
    let gzip = |bytes: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; bytes]).unwrap();
        gzip.finish().unwrap()
    };
    assert!(bench.unpack(&gzip(10 << 10)).is_ok());
    assert_eq!(
        refusal(bench.unpack(&gzip(16 << 20))),
        "it has more than 1048576 bytes"
    );
}

#[test]
fn too_many_files_and_headers_without_end_are_refused() {
    let bench = Bench::new();
    let mut many = Vec::new();
    for name in 0..=1000 {
        file(&mut many, format!("f{name}").as_bytes(), b"");
    }
    assert_eq!(refusal(bench.unpack(&many)), "it has more than 1000 files");

    let bench = Bench::new();
    let mut headers = Vec::new();
    for _ in 0..20 {
        entry(&mut headers, EntryType::GNULongName, b"x", b"", b"name");
    }
    assert_eq!(
        refusal(bench.unpack(&headers)),
        "it has more than 8 headers before one entry"
    );

    let bench = Bench::new();
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::XHeader);
    long.set_size(8 << 30);
    long.set_cksum();
    assert_eq!(
        refusal(bench.unpack(long.as_bytes())),
        "it has more than 1048576 bytes in a header of one entry"
    );
}

#[test]
fn an_archive_that_is_cut_or_none_is_broken() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    file(&mut archive, b"x", &[1; 2000]);
    for cut in [100, 700, 1500] {
        assert!(
            refusal(bench.unpack(&archive[..cut])).starts_with("it is broken: "),
            "{cut}"
        );
    }
    assert!(refusal(bench.unpack(&[7; 1024])).contains("no tar archive"));
    assert!(refusal(bench.unpack(&[0x1f, 0x8b, 8, 0, 1, 2, 3])).starts_with("it is broken: "));
}

#[test]
fn what_a_layer_removes_is_noted_as_overlayfs_does() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    file(&mut archive, b"etc/.wh.passwd", b"");
    file(&mut archive, b"var/.wh..wh..opq", b"");
    file(&mut archive, b"var/kept", b"x");
    file(&mut archive, b".wh..wh.plnk", b"");
    bench.unpack(&archive).unwrap();
    let hidden = fs::symlink_metadata(bench.layer().join("etc/passwd")).unwrap();
    assert!(hidden.file_type().is_char_device());
    assert_eq!(hidden.rdev(), 0);
    let name = if rustix::process::geteuid().is_root() {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    };
    let mut value = [0; 4];
    let bytes = rustix::fs::getxattr(bench.layer().join("var"), name, &mut value).unwrap();
    assert_eq!(&value[..bytes], b"y");
    assert!(!bench.layer().join(".wh..wh.plnk").exists());
}

#[test]
fn a_layer_cannot_remove_what_has_no_name() {
    for name in [&b".wh."[..], b".wh..", b"a/.wh..."] {
        let bench = Bench::new();
        let mut archive = Vec::new();
        file(&mut archive, name, b"");
        assert!(refusal(bench.unpack(&archive)).contains("removes nothing that has a name"));
        bench.assert_outside_is_untouched();
    }
}

#[test]
fn in_a_plain_archive_such_names_mean_nothing() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    file(&mut archive, b".wh.x", b"kept");
    bench.unpack_as(&archive, Meaning::Plain, LIMITS).unwrap();
    assert_eq!(fs::read(bench.layer().join(".wh.x")).unwrap(), b"kept");
}

#[test]
fn notes_of_overlayfs_in_an_archive_are_not_believed() {
    let bench = Bench::new();
    let mut archive = Builder::new(Vec::new());
    archive
        .append_pax_extensions([
            ("SCHILY.xattr.trusted.overlay.redirect", &b"/etc"[..]),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.kept", b"line\nline"),
        ])
        .unwrap();
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    archive.append_data(&mut header, "x", &b""[..]).unwrap();
    bench.unpack(&archive.into_inner().unwrap()).unwrap();
    let mut names = [0; 256];
    let bytes = rustix::fs::listxattr(bench.layer().join("x"), &mut names).unwrap();
    assert_eq!(&names[..bytes], b"user.kept\0");
}

#[test]
fn names_that_differ_in_case_or_in_unicode_form_are_different_files() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    for (name, content) in [("A", "1"), ("a", "2"), ("\u{e9}", "3"), ("e\u{301}", "4")] {
        file(&mut archive, name.as_bytes(), content.as_bytes());
    }
    bench.unpack(&archive).unwrap();
    assert_eq!(fs::read_dir(bench.layer()).unwrap().count(), 4);
    assert_eq!(fs::read(bench.layer().join("A")).unwrap(), b"1");
}

#[test]
fn sparse_files_of_gnu_tar_are_what_they_were() {
    let bench = Bench::new();
    let from = TempDir::new().unwrap();
    let sparse = File::create(from.path().join("sparse")).unwrap();
    for piece in 0..10_u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", piece * 65536).unwrap();
    }
    sparse.set_len(800_000).unwrap();
    drop(sparse);
    let made = std::process::Command::new("tar")
        .args(["--format=gnu", "--sparse", "-cf", "archive.tar", "sparse"])
        .current_dir(from.path())
        .status()
        .unwrap();
    assert!(made.success());
    let archive = fs::read(from.path().join("archive.tar")).unwrap();
    assert!(archive.len() < 200_000);
    bench.unpack(&archive).unwrap();
    assert_eq!(
        fs::read(bench.layer().join("sparse")).unwrap(),
        fs::read(from.path().join("sparse")).unwrap()
    );
}

#[test]
fn an_unpacking_that_is_given_up_ends() {
    let bench = Bench::new();
    let mut archive = Vec::new();
    file(&mut archive, b"x", b"");
    let path = bench.place.path().join("archive");
    fs::write(&path, &archive).unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let result = unpack(
        File::open(path).unwrap(),
        &bench.layer(),
        Meaning::Layer,
        LIMITS,
        &stop,
    );
    assert!(matches!(result, Err(UnpackError::Stopped)));
}
