//! Builds through the bus, whose `RUN` steps run in real containers.

use std::{
    fs,
    path::Path,
    process::Command as Program,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use vulcan_api::{
    Code, Image, ImageBuild, ImageEvent, ImageProgram, IsolationClass, Problem, Runtime, Status,
};
use vulcan_backend_oci::{Oci, Options};
use vulcan_bus::{Assignment, Command, ImageCommand, ImageMaking, UploadPiece};

use crate::harness::{Bench, PATIENCE, program, texts};

/// Makes of busybox alone what a Dockerfile can stand on.
const BASE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"mkdir\", \"-p\", \"/etc\", \"/tmp\"]\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY passwd /etc/passwd\nENV PATH=/bin\n";

/// Why containers cannot be tested here; said aloud.
fn lacks() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new("/usr/sbin/runc").exists() {
        "runc"
    } else if !Path::new("/bin/busybox").exists() {
        "busybox-static"
    } else {
        return false;
    };
    assert!(std::env::var_os("CI").is_none(), "steps of builds need {missing}");
    eprintln!("skipped: steps of builds need {missing}");
    true
}

fn container() -> Oci {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    Oci::container(Options {
        run_dir: std::env::temp_dir(),
        slots_max: 16,
        slots_ready_min: 1,
        ..Options::new(format!("build-{}-{number}", std::process::id()))
    })
    .unwrap()
}

async fn bench() -> Bench {
    Bench::with(|options| options.backends = vec![std::sync::Arc::new(container())]).await
}

/// Ends a node, and with it what its backends keep.
async fn end_of(bench: Bench) {
    bench.handle.drain().await;
    bench.handle.join().await;
}

/// A context with busybox in it.
fn context(dockerfile: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy("/bin/busybox", folder.path().join("busybox")).unwrap();
    fs::write(
        folder.path().join("passwd"),
        "root:x:0:0::/root:/bin/sh\nada:x:1234:1235::/home/ada:/bin/sh\n",
    )
    .unwrap();
    fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    folder
}

fn build(name: &str) -> ImageBuild {
    ImageBuild {
        name: name.parse().unwrap(),
        file: "Dockerfile".to_owned(),
        args: [("given".to_owned(), "argument".to_owned())].into(),
        target: None,
        no_cache: false,
    }
}

/// Builds, and returns the end with what was told.
async fn built(bench: &Bench, folder: &Path, build: ImageBuild) -> (Result<Image, Problem>, Vec<String>) {
    let packed = Program::new("tar")
        .arg("-C")
        .arg(folder)
        .args(["-czf", "-", "."])
        .output()
        .unwrap();
    assert!(packed.status.success());
    let (pieces, context) = mpsc::channel(4);
    pieces
        .send(UploadPiece::Bytes(Bytes::from(packed.stdout)))
        .await
        .unwrap();
    pieces.send(UploadPiece::End).await.unwrap();
    let (made, lines) = made(bench, ImageMaking::Build { build, context }).await;
    (made.map(|mut images| images.remove(0)), lines)
}

/// Makes images, and returns the end with what was told.
async fn made(bench: &Bench, how: ImageMaking) -> (Result<Vec<Image>, Problem>, Vec<String>) {
    let (events, mut told) = mpsc::channel(16);
    bench
        .command(Command::Image(ImageCommand::Make { how, events }))
        .await;
    let mut lines = Vec::new();
    loop {
        match timeout(PATIENCE, told.recv())
            .await
            .unwrap()
            .expect("a making has an end")
        {
            ImageEvent::Step { text } | ImageEvent::Log { text } => lines.push(text),
            ImageEvent::Progress { .. } => {}
            ImageEvent::Done { images } => return (Ok(images), lines),
            ImageEvent::Failed { problem } => return (Err(*problem), lines),
        }
    }
}

/// A command in an image.
fn command(image: &str, argv: &[&str]) -> Assignment {
    let mut assignment = program("");
    assignment.isolation = IsolationClass::Container;
    assignment.program.image = Some(image.parse().unwrap());
    assignment.program.runtime = Runtime::Image;
    assignment.program.code = Code::Image(ImageProgram {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        ..ImageProgram::default()
    });
    assignment
}

#[tokio::test]
async fn steps_run_in_containers_and_their_changes_are_the_image() {
    if lacks() {
        return;
    }
    let mut bench = bench().await;
    let folder = context(&format!(
        "{BASE}ARG given=default\nENV greeting=hello\nWORKDIR /srv\nRUN echo \"$greeting $given\" > said && echo told\nRUN rm /etc/passwd && touch /etc/new\nUSER 1000:1000\nRUN id -u && pwd\nCMD [\"cat\", \"/srv/said\"]\n"
    ));

    let (image, told) = built(&bench, folder.path(), build("local/app")).await;

    let image = image.unwrap();
    assert!(told.iter().any(|line| line == "told"), "{told:?}");
    assert!(told.iter().any(|line| line == "1000"), "{told:?}");
    assert!(told.iter().any(|line| line == "/srv"), "{told:?}");
    assert_eq!(image.config.command, ["cat", "/srv/said"]);
    let workload = bench.assign(command("local/app", &[])).await;
    let end = bench.end(workload).await;
    assert_eq!(end.status, Status::Completed, "{end:?}");
    assert_eq!(texts(&bench.log(workload).await), ["hello argument"]);
    let workload = bench.assign(command("local/app", &["ls", "/etc", "/"])).await;
    bench.end(workload).await;
    let seen = bench.log(workload).await;
    assert!(
        texts(&seen).contains(&"new") && !texts(&seen).contains(&"passwd"),
        "{seen:?}"
    );
    end_of(bench).await;
}

#[tokio::test]
async fn a_second_build_runs_nothing_and_one_without_the_cache_runs_all() {
    if lacks() {
        return;
    }
    let bench = bench().await;
    let folder = context(&format!("{BASE}RUN echo ran\n"));
    let ran = |told: &[String]| told.iter().filter(|line| *line == "ran").count();

    let (first, told) = built(&bench, folder.path(), build("local/app")).await;
    let (second, told_again) = built(&bench, folder.path(), build("local/app")).await;
    let again = ImageBuild {
        no_cache: true,
        ..build("local/app")
    };
    let (_, told_anew) = built(&bench, folder.path(), again).await;

    assert_eq!((ran(&told), ran(&told_again), ran(&told_anew)), (1, 0, 1));
    assert_eq!(first.unwrap().digest, second.unwrap().digest);
    end_of(bench).await;
}

#[tokio::test]
async fn a_step_that_fails_is_named_with_its_last_lines_and_leaves_no_image() {
    if lacks() {
        return;
    }
    let bench = bench().await;
    let folder = context(&format!("{BASE}RUN echo before; \\\n  echo broken >&2; exit 7\n"));

    let (image, _) = built(&bench, folder.path(), build("local/app")).await;

    let problem = image.unwrap_err();
    assert!(problem.kind.ends_with("image-build-failed"), "{problem:?}");
    for words in ["Dockerfile, line 7, RUN echo before;", "7", "broken"] {
        assert!(problem.detail.contains(words), "{words}: {}", problem.detail);
    }
    let (reply, list) = tokio::sync::oneshot::channel();
    bench.command(Command::Image(ImageCommand::List { reply })).await;
    let list = timeout(PATIENCE, list).await.unwrap();
    assert!(list.is_err() || list.unwrap().unwrap().images.is_empty());
    end_of(bench).await;
}

#[tokio::test]
async fn a_step_reaches_neither_the_hosts_files_nor_a_network() {
    if lacks() {
        return;
    }
    let bench = bench().await;
    let mark = tempfile::tempdir().unwrap();
    let path = mark.path().join("mark").display().to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = context(&format!(
        "{BASE}RUN mkdir -p {} && echo x > {path} && test -e {path}\nRUN ! nc -w 2 127.0.0.1 {port} </dev/null && echo closed\n",
        mark.path().display()
    ));

    let (image, told) = built(&bench, folder.path(), build("local/app")).await;

    image.unwrap();
    assert!(told.iter().any(|line| line == "closed"), "{told:?}");
    assert!(!Path::new(&path).exists(), "a step wrote to the host");
    end_of(bench).await;
}

#[tokio::test]
async fn a_step_that_writes_too_much_or_takes_too_long_is_ended() {
    if lacks() {
        return;
    }
    let change = |options: &mut vulcan_node::Options, disk_mb, timeout_s| {
        options.backends = vec![std::sync::Arc::new(container())];
        options.images.build.step_disk_mb = disk_mb;
        options.images.build.step_timeout_s = timeout_s;
    };
    let bench_small = Bench::with(|options| change(options, 8, 20)).await;
    let folder = context(&format!(
        "{BASE}RUN dd if=/dev/zero of=/big bs=1M count=200; sleep 30\n"
    ));
    let (image, _) = built(&bench_small, folder.path(), build("local/app")).await;
    let detail = image.unwrap_err().detail;
    assert!(detail.contains("wrote more than 8 MiB"), "{detail}");
    end_of(bench_small).await;

    let bench_short = Bench::with(|options| change(options, 100, 1)).await;
    let folder = context(&format!("{BASE}RUN sleep 60\n"));
    let (image, _) = built(&bench_short, folder.path(), build("local/app")).await;
    let detail = image.unwrap_err().detail;
    assert!(detail.contains("longer than 1s"), "{detail}");
    end_of(bench_short).await;
}

#[tokio::test]
async fn the_examples_are_built_on_the_platforms_images_and_run() {
    if lacks() {
        return;
    }
    let mut bench = bench().await;
    let names = ["vulcan/minimal", "vulcan/python"]
        .map(|name| name.parse().unwrap())
        .to_vec();
    let (bootstrapped, told) = made(&bench, ImageMaking::Bootstrap { names }).await;
    assert!(bootstrapped.is_ok(), "{bootstrapped:?} {told:?}");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/images");
    let recipe = ImageBuild {
        file: "vulcan.toml".to_owned(),
        args: [].into(),
        ..build("local/total")
    };
    let dockerfile = ImageBuild {
        args: [("version".to_owned(), "2".to_owned())].into(),
        ..build("local/words")
    };

    let (total, told) = built(&bench, &examples.join("recipe"), recipe).await;
    assert!(total.is_ok(), "{total:?} {told:?}");
    let (words, told) = built(&bench, &examples.join("dockerfile"), dockerfile).await;
    assert_eq!(
        words.unwrap().config.labels["org.opencontainers.image.version"],
        "2"
    );
    assert!(told.iter().any(|line| line == "words are counted"), "{told:?}");

    for (image, input, output) in [
        (
            "local/total",
            r#"[{"price": 3}, {"price": 4.5}]"#,
            serde_json::json!({"total": 7.5}),
        ),
        (
            "local/words",
            "the cat and the dog and the end",
            serde_json::json!({"the": 3, "and": 2, "cat": 1}),
        ),
    ] {
        let mut assignment = command(image, &[]);
        assignment.program.input = Bytes::from_static(input.as_bytes());
        let workload = bench.assign(assignment).await;
        let end = bench.end(workload).await;
        assert_eq!(
            end.output,
            Some(output),
            "{end:?} {:?}",
            bench.log(workload).await
        );
    }
    end_of(bench).await;
}
