//! Code archives: honest ones run, others are refused by entry and rule.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use tar::{Builder, EntryType, Header};
use vulcan_api::Status;

use crate::platform::{Platform, platform, problem};

type Tar = Builder<Vec<u8>>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes an entry with a name that the tar crate itself would refuse.
fn raw(tar: &mut Tar, kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn file(tar: &mut Tar, name: &str, content: &[u8]) {
    raw(tar, EntryType::Regular, name.as_bytes(), b"", content);
}

fn archive(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    file(&mut tar, "main.py", b"ok");
    fill(&mut tar);
    gzip(&tar.into_inner().unwrap())
}

async fn post(platform: &Platform, bytes: &[u8], entrypoint: &str) -> reqwest::Response {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body = json!({
        "runtime": "python", "code_archive": STANDARD.encode(bytes), "entrypoint": entrypoint,
        "resources": {"disk_mb": 1},
    });
    platform.post("/v1/workloads", &body).await
}

#[tokio::test]
async fn an_honest_archive_runs() {
    let platform = platform().start().await;
    let long = format!("deep/{}/x.py", "n".repeat(150));
    let bytes = archive(|tar| {
        raw(tar, EntryType::Directory, b"./", b"", b"");
        raw(tar, EntryType::Directory, b"lib/", b"", b"");
        file(tar, "./lib/a.py", b"a");
        raw(tar, EntryType::Symlink, b"lib/b.py", b"../main.py", b"");
        raw(tar, EntryType::Symlink, b"lib/dangling", b"nowhere/at/all", b"");
        raw(tar, EntryType::Link, b"hard.py", b"./lib/a.py", b"");
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_entry_type(EntryType::Regular);
        tar.append_data(&mut header, &long, b"x".as_slice()).unwrap();
        tar.append_pax_extensions([("path", "ü/é.py".as_bytes()), ("mtime", b"1.5")])
            .unwrap();
        file(tar, "placeholder", b"x");
        file(tar, "main.py", b"ok");
    });
    for entrypoint in ["main.py", "./lib/a.py", "hard.py", &long, "ü/é.py"] {
        let response = post(&platform, &bytes, entrypoint).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{entrypoint}: {text}");
    }
    let record = platform.node.lock(|memory| memory.assigned[0].clone());
    assert_eq!(record.program.code.bytes().as_ref(), bytes);
    let list: vulcan_api::WorkloadList = platform.get("/v1/workloads").await.json().await.unwrap();
    assert!(
        list.workloads
            .iter()
            .all(|record| record.status == Status::Completed)
    );
}

fn symlink(name: &str, to: &str) -> Vec<u8> {
    archive(|tar| raw(tar, EntryType::Symlink, name.as_bytes(), to.as_bytes(), b""))
}

type Case = (&'static str, Vec<u8>);

fn bad_entries() -> Vec<Case> {
    vec![
        ("absolute", archive(|tar| file(tar, "/etc/cron.d/x", b"x"))),
        ("parent", archive(|tar| file(tar, "a/../../x", b"x"))),
        (
            "device",
            archive(|tar| raw(tar, EntryType::Char, b"null", b"", b"")),
        ),
        (
            "block",
            archive(|tar| raw(tar, EntryType::Block, b"sda", b"", b"")),
        ),
        (
            "fifo",
            archive(|tar| raw(tar, EntryType::Fifo, b"pipe", b"", b"")),
        ),
        (
            "sparse",
            archive(|tar| raw(tar, EntryType::GNUSparse, b"sparse", b"", b"")),
        ),
    ]
}

fn bad_links() -> Vec<Case> {
    vec![
        ("link absolute", symlink("l", "/etc/passwd")),
        ("link out", symlink("l", "../x")),
        ("link out from below", symlink("d/l", "../../x")),
        ("link to itself", symlink("l", "l")),
        ("link empty", symlink("l", "")),
        (
            "link over a link out",
            archive(|tar| {
                raw(tar, EntryType::Symlink, b"d/up", b"..", b"");
                raw(tar, EntryType::Symlink, b"out", b"d/up/..", b"");
            }),
        ),
        (
            "write through a link",
            archive(|tar| {
                raw(tar, EntryType::Symlink, b"l", b"d", b"");
                file(tar, "l/x", b"x");
            }),
        ),
        (
            "write over a link",
            archive(|tar| {
                raw(tar, EntryType::Symlink, b"l", b"main.py", b"");
                file(tar, "l", b"x");
            }),
        ),
        (
            "link over a file",
            archive(|tar| raw(tar, EntryType::Symlink, b"main.py", b"x", b"")),
        ),
        ("below a file", archive(|tar| file(tar, "main.py/x", b"x"))),
        (
            "hard link out",
            archive(|tar| raw(tar, EntryType::Link, b"h", b"../../etc/shadow", b"")),
        ),
        (
            "hard link absolute",
            archive(|tar| raw(tar, EntryType::Link, b"h", b"/etc/shadow", b"")),
        ),
        (
            "hard link to nothing",
            archive(|tar| raw(tar, EntryType::Link, b"h", b"later", b"")),
        ),
    ]
}

fn bad_sizes() -> Vec<Case> {
    vec![
        (
            "not UTF-8",
            archive(|tar| raw(tar, EntryType::Regular, b"\xff", b"", b"")),
        ),
        (
            "too large",
            archive(|tar| file(tar, "big", &vec![0; 1024 * 1024 + 1])),
        ),
        (
            "too many",
            archive(|tar| (0..60).for_each(|n| file(tar, &format!("{n}"), b""))),
        ),
        (
            "too deep",
            archive(|tar| {
                let mut header = Header::new_gnu();
                header.set_size(0);
                let name = "d/".repeat(70) + "x";
                tar.append_data(&mut header, name, b"".as_slice()).unwrap();
            }),
        ),
        (
            "long name bomb",
            archive(|tar| {
                raw(
                    tar,
                    EntryType::GNULongName,
                    b"././@LongLink",
                    b"",
                    &vec![b'n'; 100_000],
                );
            }),
        ),
        (
            "pax size",
            archive(|tar| {
                tar.append_pax_extensions([("size", b"5".as_slice())]).unwrap();
                file(tar, "x", b"123456");
            }),
        ),
    ]
}

fn bad_streams() -> Vec<Case> {
    let whole = archive(|tar| file(tar, "big", &vec![7; 10_000]));
    let mut trailing = whole.clone();
    trailing.extend_from_slice(&gzip(b"more"));
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    vec![
        ("gzip bomb", gzip(&vec![0; 100 * 1024 * 1024])),
        ("gzip of text", gzip(b"not a tar archive")),
        ("no gzip", b"hello".to_vec()),
        ("empty", Vec::new()),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("without its checksum", whole[..whole.len() - 8].to_vec()),
        ("wrong checksum", flipped),
        ("second gzip member", trailing),
    ]
}

#[tokio::test]
async fn a_hostile_or_broken_archive_is_refused_by_entry_and_rule() {
    let platform = platform()
        .options(|options| options.archive_entries_max = 50)
        .start()
        .await;
    let cases = [bad_entries(), bad_links(), bad_sizes(), bad_streams()].concat();
    let mut table = Vec::new();
    for (name, bytes) in cases {
        let response = post(&platform, &bytes, "main.py").await;
        assert_eq!(response.status(), 422, "{name}");
        let problem = problem(response).await;
        assert_eq!(problem.slug(), "invalid-archive", "{name}");
        table.push(format!(
            "{name}: {}",
            problem.detail.trim_start_matches("the archive cannot be used")
        ));
    }
    for entrypoint in ["missing.py", "lib", "link.py"] {
        let bytes = archive(|tar| {
            file(tar, "lib/a", b"");
            raw(tar, EntryType::Symlink, b"link.py", b"main.py", b"");
        });
        let problem = problem(post(&platform, &bytes, entrypoint).await).await;
        table.push(format!(
            "entrypoint {entrypoint}: {}",
            problem.detail.trim_start_matches("the archive cannot be used")
        ));
    }
    insta::assert_snapshot!(table.join("\n"), @r"
        absolute:  because of its entry '/etc/cron.d/x': a relative path
        parent:  because of its entry 'a/../../x': a path without '..'
        device:  because of its entry 'null': only files, directories and links; no device, FIFO, socket or sparse file
        block:  because of its entry 'sda': only files, directories and links; no device, FIFO, socket or sparse file
        fifo:  because of its entry 'pipe': only files, directories and links; no device, FIFO, socket or sparse file
        sparse:  because of its entry 'sparse': only files, directories and links; no device, FIFO, socket or sparse file
        link absolute:  because of its entry 'l': links must be relative
        link out:  because of its entry 'l': links must stay inside of the archive
        link out from below:  because of its entry 'd/l': links must stay inside of the archive
        link to itself:  because of its entry 'l': links over at most 40 other links
        link empty:  because of its entry 'l': a link that has a target
        link over a link out:  because of its entry 'out': links must stay inside of the archive
        write through a link:  because of its entry 'l/x': nothing is written through or over a link
        write over a link:  because of its entry 'l': nothing is written through or over a link
        link over a file:  because of its entry 'main.py': no entry replaces one of another kind
        below a file:  because of its entry 'main.py/x': no entry lies below a file
        hard link out:  because of its entry 'h': the target of a link must be a path without '..'
        hard link absolute:  because of its entry 'h': the target of a link must be a relative path
        hard link to nothing:  because of its entry 'h': a hard link leads to a regular file that comes before it
        not UTF-8:  because of its entry '�': names must be UTF-8
        too large:  because of its entry 'big': the files must fit into resources.disk_mb, 1 MiB
        too many: : at most 50 entries
        too deep:  because of its entry 'd/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/x': a path of at most 64 parts
        long name bomb: : extension headers of at most 65536 bytes
        pax size:  because of its entry 'x': the pax size must be that of the header
        gzip bomb: : the archive unpacks to more than resources.disk_mb and its number of entries allow
        gzip of text: : a complete tar archive in one gzip stream: failed to read entire block
        no gzip: : a complete tar archive in one gzip stream: unexpected end of file
        empty: : a complete tar archive in one gzip stream: unexpected end of file
        truncated: : a complete tar archive in one gzip stream: incomplete deflate stream
        without its checksum: : a complete tar archive in one gzip stream: unexpected end of file
        wrong checksum: : a complete tar archive in one gzip stream: corrupt gzip stream does not have a matching checksum
        second gzip member: : nothing after the gzip stream; 24 bytes follow
        entrypoint missing.py:  because of its entry 'missing.py': the entrypoint must be in the archive
        entrypoint lib:  because of its entry 'lib': the entrypoint must be a regular file; this is a directory
        entrypoint link.py:  because of its entry 'link.py': the entrypoint must be a regular file; this is a symbolic link
        ");
    assert_eq!(platform.node.lock(|memory| memory.assigned.len()), 0);
}
