//! Debian's packages with what they depend on, unpacked into a folder by mmdebstrap.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use vulcan_api::{ImageEvent, Problem, ProblemKind};
use vulcan_bus::ImageResult;

use super::{pretended, sources};
use crate::image::Events;

/// How long resolving, downloading and unpacking may take.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// How much of what mmdebstrap says goes into a problem.
const LINES_KEPT: usize = 8;
/// The longest line of it that is told.
const LINE_BYTES_MAX: usize = 2000;

/// What mmdebstrap says of itself, and nobody needs to know.
const NOT_TOLD: [&str; 3] = [
    "I: skipping",
    "I: running --setup-hook",
    "W: Download is performed unsandboxed",
];

/// Runs before anything is resolved: /usr is merged, apt hears what is there, and earlier downloads are lent.
const SETUP: &str = concat!(
    r#"for name in bin sbin lib lib64; do mkdir -p "$1/usr/$name" && ln -s "usr/$name" "$1/$name" || exit; done; "#,
    r#"cp "$VULCAN_SEED" "$1/var/lib/dpkg/status" && mkdir -p "$1/var/cache/apt/archives" && "#,
    r#"find "$VULCAN_DEBS" -name '*.deb' -exec ln -f -t "$1/var/cache/apt/archives" {} +"#,
);

/// Runs in apt once the packages are there, with their files on standard input: keeps what they say of themselves, and the
/// files for the next time. With no field separator, a path with spaces stays one word.
const NOTE: &str = r#"DPkg::Pre-Install-Pkgs { "set -f; IFS=; while read -r deb; do dpkg-deb -f $deb || exit; echo; ln -f $deb $VULCAN_DEBS; done >$VULCAN_STATUS"; };"#;

/// What to unpack.
pub(in crate::image) struct Request<'a> {
    /// Names of packages.
    pub(in crate::image) packages: &'a [String],
    /// What is below already, as dpkg's status file.
    pub(in crate::image) status: &'a str,
    /// Packages to leave out though something depends on them.
    pub(in crate::image) pretended: &'a [&'a str],
    /// A folder of the caller's own, on the disk of `debs`; `tree` in it is made.
    pub(in crate::image) scratch: &'a Path,
    /// Where downloaded packages are kept for the next time.
    pub(in crate::image) debs: &'a Path,
}

/// What was unpacked.
#[derive(Debug)]
pub(in crate::image) struct Unpacked {
    /// The files.
    pub(in crate::image) tree: PathBuf,
    /// What is there now, as dpkg's status file: what was below, and the new packages, by name.
    pub(in crate::image) status: String,
    /// The new packages, as `name version`, by name.
    pub(in crate::image) packages: Vec<String>,
    /// When it was begun, by the clock of the filesystem, in seconds: files of packages are older.
    pub(in crate::image) begun: i64,
}

/// Unpacks packages and what they depend on, without what is below already.
///
/// After a failure, and when it is dropped, nothing of it runs any more; what is in the folders is the caller's to remove.
///
/// # Errors
///
/// A problem that names what is missing on the host, the package that does not exist, or what the network says.
pub(in crate::image) async fn unpack(request: Request<'_>, events: &Events) -> ImageResult<Unpacked> {
    let mode = mode()?;
    let sources = sources::of_host(Path::new("/")).ok_or_else(|| {
        failed("this host's apt has no sources of Debian's release: see /etc/apt/sources.list.d".to_owned())
    })?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if let Some(name) = request.packages.iter().find(|name| !is_package(name)) {
        return Err(failed(format!("'{name}' is no name of a Debian package")));
    }
    let note = |error: io::Error| failed(format!("a file of the image store could not be written: {error}"));
    let seed = request.scratch.join("seed");
    let told = pretended::below(request.status);
    let pretended = pretended::stanzas(request.pretended, request.packages, architecture);
    fs::write(&seed, format!("{told}{pretended}")).map_err(note)?;
    let begun = fs::metadata(&seed).map_err(note)?.mtime();
    let list = request.scratch.join("sources.list");
    fs::write(&list, sources).map_err(note)?;
    fs::create_dir_all(request.debs).map_err(note)?;
    let noted = request.scratch.join("status");
    let tree = request.scratch.join("tree");

    let mut command = Command::new("mmdebstrap");
    command
        .arg(format!("--mode={mode}"))
        .args([
            "--variant=extract",
            "--format=directory",
            "--skip=chroot/mount,output/dev",
        ])
        .arg(format!("--include={}", request.packages.join(",")))
        .arg(format!("--setup-hook={SETUP}"))
        .arg(format!("--aptopt={NOTE}"))
        .arg("")
        .arg(&tree)
        .arg("-")
        .env("VULCAN_SEED", &seed)
        .env("VULCAN_DEBS", request.debs)
        .env("VULCAN_STATUS", &noted)
        .env("LC_ALL", "C.UTF-8")
        .stdin(fs::File::open(&list).map_err(note)?)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    run(command, events).await?;

    // apt notes nothing where there is nothing to install.
    let noted = fs::read_to_string(&noted).unwrap_or_default();
    let (packages, stanzas) = installed(&noted);
    Ok(Unpacked {
        tree,
        status: format!("{}{stanzas}", request.status),
        packages,
        begun,
    })
}

/// Returns how mmdebstrap may become root of what it makes.
fn mode() -> ImageResult<&'static str> {
    let has = |program: &str| {
        ["/usr/bin", "/usr/local/bin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
    };
    if !has("mmdebstrap") {
        return Err(failed(
            "mmdebstrap is missing on the node; install it: apt-get install mmdebstrap".to_owned(),
        ));
    }
    if rustix::process::geteuid().is_root() {
        Ok("root")
    } else {
        Err(failed(
            "the server does not run as root, and without it files cannot get the owners that Debian's packages give them; \
             run `vulcan image bootstrap` against a server that root runs, or import or pull an image"
                .to_owned(),
        ))
    }
}

/// A package's name, `man 7 deb-control`; nothing that apt or mmdebstrap would take for something else.
fn is_package(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
        // apt reads these endings as "remove" and "install".
        && !name.ends_with('-')
        && (!name.ends_with('+') || name.ends_with("++"))
}

/// Ends all of a process' group when it is dropped.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be over, which is what is wanted.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn run(mut command: Command, events: &Events) -> ImageResult<()> {
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("mmdebstrap could not be started: {error}")))?;
    let mut group = Group(
        child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw),
    );
    let mut last = VecDeque::new();
    let status = timeout(DEADLINE, told(&mut child, events, &mut last))
        .await
        .map_err(|_| failed(format!("Debian's packages took longer than {DEADLINE:?}")))?
        .map_err(|error| failed(format!("mmdebstrap could not be followed: {error}")))?;
    if status.success() {
        // Nothing is left to end, and the number may soon be somebody else's.
        group.0 = None;
        return Ok(());
    }
    let words: Vec<String> = last.into();
    Err(failed(format!(
        "Debian's packages could not be had ({status}); whether this host reaches its own sources, `apt-get update` tells. \
         mmdebstrap says: {}",
        words.join(" | ")
    )))
}

async fn told(
    child: &mut Child,
    events: &Events,
    last: &mut VecDeque<String>,
) -> io::Result<std::process::ExitStatus> {
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        while let Some(mut line) = lines.next_line().await? {
            if line.len() > LINE_BYTES_MAX {
                line = line.chars().take(LINE_BYTES_MAX).collect();
            }
            if NOT_TOLD.iter().any(|begin| line.starts_with(begin)) || line.trim().is_empty() {
                continue;
            }
            if !line.starts_with("I:") {
                last.push_back(line.clone());
                if last.len() > LINES_KEPT {
                    last.pop_front();
                }
            }
            // Whoever listened may be gone.
            let _ = events.send(ImageEvent::Log { text: line }).await;
        }
    }
    child.wait().await
}

/// Reads what packages say of themselves, and returns them as `name version` and as stanzas of dpkg's status file, by name.
fn installed(noted: &str) -> (Vec<String>, String) {
    let mut stanzas: Vec<(String, String)> = noted
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
        .filter_map(|stanza| {
            let stanza = stanza.trim_start_matches('\n');
            let field = |name: &str| {
                stanza
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(str::trim)
            };
            let (name, version) = (field("Package")?, field("Version")?);
            let rest = stanza.split_once('\n').map_or("", |(_, rest)| rest).trim_end();
            Some((
                format!("{name} {version}"),
                format!("Package: {name}\nStatus: install ok installed\n{rest}\n\n"),
            ))
        })
        .collect();
    stanzas.sort();
    stanzas.into_iter().unzip()
}

fn failed(detail: String) -> Box<Problem> {
    Box::new(Problem::new(ProblemKind::ImageBuildFailed, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_noted_by_name() {
        let noted = "Package: zlib1g\nVersion: 1:1.2\nArchitecture: amd64\nDescription: z\n more\n\nPackage: bash\nVersion: 5.2\n\n";

        let (packages, stanzas) = installed(noted);

        assert_eq!(packages, ["bash 5.2", "zlib1g 1:1.2"]);
        assert_eq!(
            stanzas,
            "Package: bash\nStatus: install ok installed\nVersion: 5.2\n\nPackage: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\nArchitecture: amd64\nDescription: z\n more\n\n"
        );
    }

    #[test]
    fn what_apt_would_take_for_something_else_is_no_package() {
        for name in ["jq", "g++", "libstdc++6", "python3.11", "0ad"] {
            assert!(is_package(name), "{name}");
        }
        for name in [
            "",
            "j",
            "-y",
            "jq-",
            "jq+",
            "jq=1",
            "jq/sid",
            "./x.deb",
            "a b",
            "?essential",
            "JQ",
            "jq,sh",
        ] {
            assert!(!is_package(name), "{name}");
        }
    }
}
