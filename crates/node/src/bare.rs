//! Bare commands: what this machine can do without a platform, for benchmarks to be compared with.
//!
//! Every command is fixed: nothing of a request goes into one. They run as the node does, with an empty environment, one after
//! the other, and none outlives its deadline.

mod bundle;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};
use vulcan_api::BareCommand;
use vulcan_bus::{BareRun, MachineFacts, MeasureFailure};

use self::bundle::OciRuntime;
use crate::{BenchmarkOptions, Options, host};

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most characters of what a program says of its version.
const VERSION_CHARS_MAX: usize = 100;
/// The most characters of what a program says of its failure.
const SAID_CHARS_MAX: usize = 300;
/// The most bytes of what a program says of its failure that are looked at.
const SAID_BYTES_MAX: u64 = 4096;
/// Where programs are looked for before the node's own search path.
const FOLDERS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"];
/// What confines Deno as far as its own flags do; `-` reads the program from standard input.
const DENO_FLAGS: [&str; 7] = [
    "run",
    "--no-prompt",
    "--no-remote",
    "--no-npm",
    "--no-config",
    "--no-lock",
    "--cached-only",
];
/// What a blank Deno runs: says that it is ready, takes one module, calls its default export, and says what that returned.
const BLANK: &str = "data:application/javascript,const b=new Uint8Array(65536);Deno.stdout.writeSync(new Uint8Array([10]));\
    const n=Deno.stdin.readSync(b);const m=await import(\"data:application/LANGUAGE;base64,\"\
    %2Bbtoa(String.fromCharCode(...b.subarray(0,n))));\
    Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(await m.default(null))%2B\"\\n\"));";

/// Where npm's package `deno` has the executable for this machine; its own `deno` only starts that one, through Node.
const DENO_PACKAGE: &str = if cfg!(target_arch = "aarch64") {
    "@deno/linux-arm64-glibc"
} else {
    "@deno/linux-x64-glibc"
};

/// The programs, and the package or the place that has them.
const PROGRAMS: [(&str, &str); 8] = [
    ("python3", "install Debian's package python3"),
    ("node", "install Debian's package nodejs"),
    ("bwrap", "install Debian's package bubblewrap"),
    (
        "deno",
        "install it from the npm package deno, or put it on the PATH",
    ),
    ("runc", "install Debian's package runc"),
    (
        "runsc",
        "install Debian's package runsc, on bookworm from bookworm-backports",
    ),
    ("busybox", "install Debian's package busybox-static"),
    (
        "docker",
        "install Docker's command line, or leave benchmark.docker_socket out",
    ),
];

/// Runs bare commands.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    /// Where Deno keeps what it compiled; without a place of its own it looks for one in somebody's home.
    deno_folder: PathBuf,
    /// Where the bundles of OCI runtimes are.
    bundles: PathBuf,
    /// Whose Docker is asked, and what it runs.
    options: BenchmarkOptions,
    /// Where programs are looked for.
    folders: Vec<PathBuf>,
}

impl Bare {
    /// Makes one that keeps Deno's cache and bundles below the cache folder, and looks for programs below the data folder, too.
    pub(crate) fn new(options: &Options) -> Self {
        let mut folders = vec![options.data_dir.join("deno/node_modules").join(DENO_PACKAGE)];
        folders.extend(FOLDERS.map(PathBuf::from));
        folders.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        Self {
            deno_folder: options.cache_dir.join("bare-deno"),
            bundles: options.cache_dir.join("bare-bundles"),
            options: options.benchmark.clone(),
            folders,
        }
    }

    /// Returns what the machine is, and which programs it has.
    pub(crate) async fn machine(&self) -> MachineFacts {
        let mut versions = BTreeMap::new();
        for (name, _) in PROGRAMS {
            if let Ok(program) = self.find(name)
                && let Some(version) = version_of(self.command(&program)).await
            {
                versions.insert(name.to_owned(), version);
            }
        }
        MachineFacts {
            cpu: host::cpu_model(),
            memory_mb: host::memory_mb(),
            versions,
        }
    }

    /// Runs a command once.
    pub(crate) async fn run(&self, command: BareCommand) -> Result<BareRun, MeasureFailure> {
        let (text, work) = match command {
            BareCommand::Python => self.to_its_end("python3", &["-c", "pass"])?,
            BareCommand::Node => self.to_its_end("node", &["-e", "0"])?,
            BareCommand::Bubblewrap => self.to_its_end("bwrap", &BUBBLEWRAP)?,
            BareCommand::Deno => {
                let mut arguments = DENO_FLAGS.to_vec();
                arguments.push("-");
                self.to_its_end("deno", &arguments)?
            }
            BareCommand::DenoBlank => return self.blank("javascript", "export default () => null;\n").await,
            BareCommand::DenoBlankTypescript => {
                let code = "export default (input: unknown): null => null;\n";
                return self.blank("typescript", code).await;
            }
            BareCommand::Runc => return self.oci(OciRuntime::Runc).await,
            BareCommand::Runsc => return self.oci(OciRuntime::Runsc).await,
            BareCommand::Docker => return self.docker().await,
        };
        let elapsed = within(&text, time(work)).await?;
        Ok(run_of(text, elapsed))
    }

    /// Runs `busybox true` under an OCI runtime.
    async fn oci(&self, runtime: OciRuntime) -> Result<BareRun, MeasureFailure> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let program = self.find(runtime.name())?;
        let bundle = self.bundles.join(runtime.name());
        let busybox = self.find("busybox")?;
        bundle::make(self.command(&program), &busybox, &bundle)
            .await
            .map_err(|error| failure(format!("could not make a bundle for {}: {error}", runtime.name())))?;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let id = format!("vulcan-bare-{}-{run}", std::process::id());
        let mut command = self.command(&program);
        runtime.run(&mut command, &bundle, &id);
        let elapsed = explained(runtime.text(), command).await;
        if elapsed.is_err() {
            // What was cut off is still in the runtime's own records; where it never began there is nothing to delete.
            let mut delete = self.command(&program);
            OciRuntime::delete(delete.stdout(Stdio::null()), &id);
            drop(timeout(DEADLINE, delete.status()).await);
        }
        Ok(run_of(runtime.text().to_owned(), elapsed?))
    }

    /// Has the operator's Docker run `true`. It never pulls: a benchmark downloads nothing.
    async fn docker(&self) -> Result<BareRun, MeasureFailure> {
        let Some(socket) = &self.options.docker_socket else {
            let reason = "no Docker is named: set benchmark.docker_socket, as /var/run/docker.sock";
            return Err(failure(reason.to_owned()));
        };
        let host = format!("unix://{}", socket.display());
        let image = self.options.docker_image.to_string();
        let words = ["-H", &host, "run", "--rm", "--pull=never", &image, "true"];
        let (text, command) = self.to_its_end("docker", &words)?;
        let elapsed = explained(&text, command).await?;
        Ok(run_of(text, elapsed))
    }

    fn to_its_end(
        &self,
        name: &'static str,
        arguments: &[&str],
    ) -> Result<(String, Command), MeasureFailure> {
        let mut command = self.command(&self.find(name)?);
        command.args(arguments).stdout(Stdio::null());
        Ok((format!("{name} {}", arguments.join(" ")), command))
    }

    async fn blank(&self, language: &str, code: &str) -> Result<BareRun, MeasureFailure> {
        let text = format!("a ready deno process: {language} in, its answer out");
        let mut command = self.command(&self.find("deno")?);
        command
            .args(DENO_FLAGS)
            .arg(BLANK.replace("LANGUAGE", language))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let elapsed = within(&text, dispatch(command, code)).await?;
        Ok(run_of(text, elapsed))
    }

    fn find(&self, name: &'static str) -> Result<PathBuf, MeasureFailure> {
        let mut places = self.folders.iter().map(|folder| folder.join(name));
        let found = places.find(|path| path.is_file());
        found.map(without_starter).ok_or_else(|| {
            let how = PROGRAMS.iter().find(|(program, _)| *program == name);
            let how = how.map_or("", |(_, how)| how);
            failure(format!("there is no {name} on the node: {how}"))
        })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", FOLDERS.join(":"))
            .env("HOME", "/")
            .env("DENO_DIR", &self.deno_folder)
            .env("DENO_NO_UPDATE_CHECK", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// All namespaces, and about what the sandbox shows: the system's programs, /proc, /dev, a writable folder.
const BUBBLEWRAP: [&str; 19] = [
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--tmpfs",
    "/tmp",
    "/usr/bin/true",
];

/// Returns the executable that npm's starter of Deno starts; everything else as it is.
fn without_starter(path: PathBuf) -> PathBuf {
    let target = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let mut beside = target
        .ancestors()
        .map(|folder| folder.join(DENO_PACKAGE).join("deno"));
    let is_deno = path.ends_with("deno");
    beside.find(|found| is_deno && found.is_file()).unwrap_or(path)
}

async fn time(mut command: Command) -> Result<Duration, String> {
    let began = Instant::now();
    let status = command.status().await.map_err(|error| error.to_string())?;
    let elapsed = began.elapsed();
    if status.success() {
        return Ok(elapsed);
    }
    Err(status.to_string())
}

/// Starts a blank process, waits until it is ready, and returns how long it takes from there to its answer.
async fn dispatch(mut command: Command, code: &str) -> Result<Duration, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = command.spawn().map_err(failed)?;
    let elapsed = converse(&mut child, code).await.map_err(failed);
    child.kill().await.map_err(failed)?;
    elapsed
}

async fn converse(child: &mut Child, code: &str) -> std::io::Result<Duration> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let mut lines = BufReader::new(output).lines();
    let ended = || std::io::Error::other("it ended");
    lines.next_line().await?.ok_or_else(ended)?;
    let began = Instant::now();
    input.write_all(code.as_bytes()).await?;
    let answer = lines.next_line().await?.ok_or_else(ended)?;
    let elapsed = began.elapsed();
    if answer == "null" {
        return Ok(elapsed);
    }
    Err(std::io::Error::other("it gave another answer"))
}

/// Runs a command to its end; where it fails, the last line of what it said is the reason.
async fn explained(text: &str, mut command: Command) -> Result<Duration, MeasureFailure> {
    // A file and no pipe: nobody needs to read meanwhile, and what it leaves behind cannot hold it open.
    let said = tempfile::tempfile().and_then(|file| Ok((file.try_clone()?, file)));
    let (file, said) =
        said.map_err(|error| failure(format!("could not keep what '{text}' says: {error}")))?;
    command.stdout(Stdio::null()).stderr(file);
    let result = within(text, time(command)).await;
    result.map_err(|failed| match last_line(said) {
        Ok(Some(line)) => failure(format!("{}: {line}", failed.reason)),
        Ok(None) | Err(_) => failed,
    })
}

/// Returns the last line of a short text that is not empty and advises nothing.
fn last_line(mut said: File) -> io::Result<Option<String>> {
    let len = said.seek(SeekFrom::End(0))?;
    said.seek(SeekFrom::Start(len.saturating_sub(SAID_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    said.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim);
    let mut telling = lines.filter(|line| !line.is_empty() && !line.starts_with("Run '"));
    let line = telling.next_back();
    Ok(line.map(|line| line.chars().take(SAID_CHARS_MAX).collect()))
}

fn run_of(text: String, elapsed: Duration) -> BareRun {
    BareRun {
        elapsed_ms: elapsed.as_secs_f64() * 1e3,
        text,
    }
}

async fn within(
    text: &str,
    work: impl Future<Output = Result<Duration, String>>,
) -> Result<Duration, MeasureFailure> {
    match timeout(DEADLINE, work).await {
        Ok(Ok(elapsed)) => Ok(elapsed),
        Ok(Err(reason)) => Err(failure(format!("'{text}' failed: {reason}"))),
        Err(_) => Err(failure(format!("'{text}' took longer than {DEADLINE:?}"))),
    }
}

/// Returns the first line of what a program says of its version.
async fn version_of(mut command: Command) -> Option<String> {
    let output = timeout(DEADLINE, command.arg("--version").output())
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.chars().take(VERSION_CHARS_MAX).collect())
}

fn failure(reason: String) -> MeasureFailure {
    MeasureFailure { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(folder: &Path) -> Bare {
        Bare {
            deno_folder: folder.join("deno"),
            bundles: folder.join("bundles"),
            options: BenchmarkOptions::default(),
            folders: vec![folder.to_owned()],
        }
    }

    fn program(folder: &Path, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn a_missing_program_is_told_with_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = bare(folder.path()).run(BareCommand::Deno).await.unwrap_err();
        assert_eq!(
            error.reason,
            "there is no deno on the node: install it from the npm package deno, or put it on the PATH"
        );
    }

    #[tokio::test]
    async fn a_starter_of_deno_is_passed_over_for_what_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join(DENO_PACKAGE);
        std::fs::create_dir_all(&real).unwrap();
        program(folder.path(), "deno", "exit 1");
        program(&real, "deno", "exit 0");
        let run = bare(folder.path()).run(BareCommand::Deno).await;
        assert!(run.is_ok(), "{run:?}");
    }

    #[tokio::test]
    async fn a_command_that_fails_has_no_time() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "python3", "exit 3");
        let error = bare(folder.path()).run(BareCommand::Python).await.unwrap_err();
        assert_eq!(error.reason, "'python3 -c pass' failed: exit status: 3");
    }

    #[tokio::test]
    async fn a_blank_process_is_timed_from_its_first_code_to_its_answer() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "deno", "echo; read code; echo null");
        let run = bare(folder.path()).run(BareCommand::DenoBlank).await.unwrap();
        assert_eq!(run.text, "a ready deno process: javascript in, its answer out");
        program(folder.path(), "deno", "echo; read code; echo 1");
        let error = bare(folder.path()).run(BareCommand::DenoBlank).await.unwrap_err();
        assert!(
            error.reason.ends_with("it gave another answer"),
            "{}",
            error.reason
        );
    }

    /// Writes the specification that it is asked for, and runs a bundle by looking at it.
    const OCI_RUNTIME: &str = r#"case "$*" in
        spec*) echo '{"process": {"args": ["sh"]}, "root": {"path": "rootfs"}}' > "$3/config.json" ;;
        *run*) eval "id=\${$#}"; shift $(($# - 2)); grep -q '"args":\["/bin/busybox","true"\]' "$1/config.json" && test -x "$1/rootfs/bin/busybox" ;;
    esac"#;

    #[tokio::test]
    async fn a_runtime_runs_a_bundle_of_busybox_that_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let bare = bare(folder.path());
        program(folder.path(), "busybox", "exit 0");
        for (command, name, text) in [
            (BareCommand::Runc, "runc", "runc run, busybox true"),
            (
                BareCommand::Runsc,
                "runsc",
                "runsc --network=none run, busybox true",
            ),
        ] {
            program(folder.path(), name, OCI_RUNTIME);
            assert_eq!(bare.run(command).await.unwrap().text, text);
            // A second bundle could not be made any more.
            program(
                folder.path(),
                name,
                &OCI_RUNTIME.replace("spec*)", "spec*) exit 1;;\nno)"),
            );
            assert_eq!(bare.run(command).await.unwrap().text, text);
        }
    }

    #[tokio::test]
    async fn a_runtime_that_fails_says_why_and_its_container_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "busybox", "exit 0");
        let record = folder.path().join("deleted");
        let text = format!(
            "case \"$1\" in\n spec) echo '{{\"process\": {{}}}}' > \"$3/config.json\" ;;\n \
             run) echo a >&2; echo rootless containers are no good >&2; exit 1 ;;\n delete) echo \"$*\" > {} ;;\nesac",
            record.display()
        );
        program(folder.path(), "runc", &text);

        let error = bare(folder.path()).run(BareCommand::Runc).await.unwrap_err();

        assert_eq!(
            error.reason,
            "'runc run, busybox true' failed: exit status: 1: rootless containers are no good"
        );
        let deleted = std::fs::read_to_string(record).unwrap();
        assert!(deleted.starts_with("delete --force vulcan-bare-"), "{deleted}");
    }

    #[tokio::test]
    async fn docker_is_asked_only_where_the_operator_names_it_and_never_pulls() {
        let folder = tempfile::tempdir().unwrap();
        let mut bare = bare(folder.path());
        program(
            folder.path(),
            "docker",
            "case \"$2\" in *here*) exit 0;; esac; echo Cannot connect >&2; echo >&2; echo \"Run 'docker --help'\" >&2; exit 125",
        );
        let error = bare.run(BareCommand::Docker).await.unwrap_err();
        assert_eq!(
            error.reason,
            "no Docker is named: set benchmark.docker_socket, as /var/run/docker.sock"
        );

        let image = bare.options.docker_image.to_string();
        bare.options.docker_socket = Some("/here.sock".into());
        let run = bare.run(BareCommand::Docker).await.unwrap();
        assert_eq!(
            run.text,
            format!("docker -H unix:///here.sock run --rm --pull=never {image} true")
        );

        bare.options.docker_socket = Some("/gone.sock".into());
        let error = bare.run(BareCommand::Docker).await.unwrap_err();
        assert_eq!(
            error.reason,
            format!(
                "'docker -H unix:///gone.sock run --rm --pull=never {image} true' failed: exit status: 125: Cannot connect"
            )
        );
    }

    #[tokio::test]
    async fn the_machine_names_the_programs_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        program(folder.path(), "bwrap", "echo bubblewrap 0.8.0; echo more");
        let facts = bare(folder.path()).machine().await;
        assert_eq!(
            facts.versions,
            BTreeMap::from([("bwrap".to_owned(), "bubblewrap 0.8.0".to_owned())])
        );
        assert!(facts.memory_mb > 0);
    }
}
