//! The embedded agent behind the client.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::UnixStream, process::Child, sync::mpsc};
use vulcan_api::{ErrorCode, Runtime};
use vulcan_backend::{AGENT, BackendError, ExecRequest, ExitStatus, GuestClient, Invocation, InvokeMode};

use super::scripted::{PATIENCE, Running, invocation};

/// The real agent without walls, in a folder of its own.
struct Guest {
    client: Arc<GuestClient>,
    agent: Child,
    root: TempDir,
}

impl Guest {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["work", "tmp"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        let path = root.path().join("agent");
        std::fs::write(&path, AGENT).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The shell puts the stream where the agent expects it, without any unsafe code here.
        let theirs: std::os::fd::OwnedFd = theirs.into_std().unwrap().into();
        let agent = tokio::process::Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" --root \"$1\" 3<&0 0</dev/null"])
            .args([&path, root.path()])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = Arc::new(GuestClient::connect(ours, PATIENCE).await.unwrap());
        Self { client, agent, root }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join("work").join(name).display().to_string()
    }
}

fn command(argv: &[&str], stdin: &'static [u8]) -> ExecRequest {
    ExecRequest {
        user: String::new(),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        stdin: Bytes::from_static(stdin),
    }
}

#[tokio::test]
async fn a_handler_runs_from_end_to_end() {
    let guest = Guest::start().await;
    let code = "def handler(input):\n    print('hi')\n    return input['n'] * 2\n";
    let running = Running::begin(&guest.client, invocation(Runtime::Python, code, "{\"n\": 21}"));

    let (outcome, logs) = running.end().await;

    let outcome = outcome.unwrap();
    assert_eq!((outcome.output, outcome.error), (Some(json!(42)), None));
    assert_eq!(
        logs.iter().map(|chunk| chunk.bytes.as_ref()).collect::<Vec<_>>(),
        [b"hi\n"]
    );
    assert!(outcome.prepared_in > Duration::ZERO && outcome.prepared_in < PATIENCE);
}

#[tokio::test]
async fn a_script_a_failure_and_a_signal_are_told_apart() {
    for (code, status, output, error) in [
        (
            "echo '{\"a\": 1}'",
            ExitStatus::Code(0),
            Some(json!({"a": 1})),
            None,
        ),
        (
            "echo hi; exit 3",
            ExitStatus::Code(3),
            None,
            Some(ErrorCode::ExitCode),
        ),
        (
            "kill -SEGV $$",
            ExitStatus::Signal(11),
            None,
            Some(ErrorCode::Signal),
        ),
        (
            "printf '\"%01000d\"' 0",
            ExitStatus::Code(0),
            None,
            Some(ErrorCode::OutputTooLarge),
        ),
    ] {
        let guest = Guest::start().await;
        let (outcome, _) = Running::begin(&guest.client, invocation(Runtime::Bash, code, ""))
            .end()
            .await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.status, status, "{code}");
        assert_eq!(outcome.output, output, "{code}");
        assert_eq!(outcome.error.map(|error| error.code), error, "{code}");
    }
}

#[tokio::test]
async fn commands_and_files_go_both_ways() {
    let guest = Guest::start().await;
    let bytes = Bytes::from(vec![7; 1_000_000]);
    let path = guest.path("file");
    guest
        .client
        .write_file(&path, 0o600, bytes.clone())
        .await
        .unwrap();
    assert_eq!(guest.client.read_file(&path, 1_000_000).await.unwrap(), bytes);
    let error = guest.client.read_file(&path, 999_999).await.unwrap_err();
    assert!(matches!(error, BackendError::Refused { .. }), "{error}");

    let (sink, mut logs) = mpsc::channel(100);
    let status = guest
        .client
        .exec(command(&["cat"], b"through"), sink)
        .await
        .unwrap();
    assert_eq!(status, ExitStatus::Code(0));
    assert_eq!(logs.recv().await.unwrap().bytes, b"through"[..]);

    let refused = guest
        .client
        .exec(command(&["no-such-program"], b""), mpsc::channel(1).0)
        .await;
    assert!(matches!(refused, Err(BackendError::Refused { .. })));
}

#[tokio::test]
async fn a_signal_ends_what_runs() {
    let guest = Guest::start().await;
    let (sink, mut logs) = mpsc::channel(100);
    let client = Arc::clone(&guest.client);
    let task = tokio::spawn(async move {
        client
            .invoke(invocation(Runtime::Bash, "echo ready; sleep 1000", ""), sink)
            .await
    });
    logs.recv().await.unwrap();

    guest.client.signal(15).await.unwrap();

    assert_eq!(task.await.unwrap().unwrap().status, ExitStatus::Signal(15));
}

#[tokio::test]
async fn shutdown_ends_the_agent() {
    let mut guest = Guest::start().await;
    let running = Running::begin(&guest.client, invocation(Runtime::Bash, "sleep 1000", ""));
    guest.client.shutdown(PATIENCE).await;
    assert!(matches!(running.end().await.0, Err(BackendError::Stopped)));
    assert!(guest.agent.wait().await.unwrap().success());
}

#[tokio::test]
async fn dropping_the_client_ends_the_agent() {
    let Guest {
        client,
        mut agent,
        root: _root,
    } = Guest::start().await;
    drop(client);
    assert!(agent.wait().await.unwrap().success());
}

#[tokio::test]
async fn an_agent_that_is_killed_is_lost() {
    let mut guest = Guest::start().await;
    let running = Running::begin(
        &guest.client,
        invocation(Runtime::Bash, "kill -KILL $PPID; read -r line", ""),
    );
    assert!(matches!(running.end().await.0, Err(BackendError::Lost { .. })));
    guest.agent.wait().await.unwrap();
}

#[test]
fn the_agent_is_static_and_small() {
    // An ELF file that asks for no interpreter: no PT_INTERP among its program headers.
    let field = |at: usize| usize::from(u16::from_le_bytes([AGENT[at], AGENT[at + 1]]));
    let (start, size, count) = (usize::from(AGENT[32]), field(54), field(56));
    let kinds = (0..count).map(|index| AGENT[start + index * size]);
    assert_eq!(&AGENT[..4], b"\x7fELF");
    assert_eq!(kinds.filter(|kind| *kind == 3).count(), 0);
    assert!(AGENT.len() < 3 * 1024 * 1024, "{}", AGENT.len());
}

/// Prints what each way to a Python or Node handler takes, in client and agent together.
/// Run it by itself: `cargo nextest run -p vulcan-backend --run-ignored only --no-capture figures`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, claims nothing"]
async fn figures_of_reuse() {
    for (runtime, code) in [
        (Runtime::Python, "def handler(input, context): return input"),
        (Runtime::Node, "export default (input) => input;"),
    ] {
        println!("{runtime} cold     {}", fresh(runtime, code, false, 30).await);
        println!("{runtime} prepared {}", fresh(runtime, code, true, 30).await);
        for mode in [InvokeMode::Warm, InvokeMode::Forked] {
            if runtime == Runtime::Python || mode == InvokeMode::Warm {
                println!("{runtime} {mode:?}   {}", loaded(runtime, code, mode, 1000).await);
            }
        }
    }
}

async fn fresh(runtime: Runtime, code: &str, is_prepared: bool, count: usize) -> String {
    let mut took = Vec::new();
    for _ in 0..count {
        let guest = Guest::start().await;
        if is_prepared {
            guest.client.prepare(runtime, PATIENCE).await.unwrap();
        }
        took.push(timed(&guest, invocation(runtime, code, "1")).await);
    }
    figures(took)
}

async fn loaded(runtime: Runtime, code: &str, mode: InvokeMode, count: usize) -> String {
    let guest = Guest::start().await;
    let mut took = Vec::new();
    for _ in 0..count {
        let invocation = Invocation {
            mode,
            ..invocation(runtime, code, "1")
        };
        took.push(timed(&guest, invocation).await);
    }
    figures(took.split_off(1))
}

async fn timed(guest: &Guest, invocation: Invocation) -> Duration {
    let begun = tokio::time::Instant::now();
    let outcome = guest
        .client
        .invoke(invocation, mpsc::channel(10).0)
        .await
        .unwrap();
    assert_eq!(outcome.output, Some(json!(1)));
    begun.elapsed()
}

fn figures(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    format!("p50 {:?}, p95 {:?}, p99 {:?}", at(50), at(95), at(99))
}
