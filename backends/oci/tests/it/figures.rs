//! Figures beside those of the bare commands, for people: `cargo nextest run -p vulcan-backend-oci --run-ignored only figures`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vulcan_api::Runtime;
use vulcan_backend::{Backend as _, InvokeMode, StartRequest};
use vulcan_backend_oci::{ContainerRuntime, Options};

use crate::harness::{Busybox, Class, backend, command, leftovers, options, python_root, request, run};

const ROUNDS: usize = 20;

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let middle = times[times.len() / 2];
    println!("{what}: min {:.1} p50 {:.1} ms", millis(times[0]), millis(middle));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn cold_starts_beside_the_bare_commands() {
    let image = Busybox::new();
    for (name, args) in [
        ("runc", &["run"][..]),
        ("runsc", &["--network=none", "--ignore-cgroups", "run"][..]),
    ] {
        report(&format!("bare {name} run"), bare(image.path(), name, args));
    }
    for (class, runtime) in [
        (Class::Container, ContainerRuntime::Crun),
        (Class::Container, ContainerRuntime::Runc),
        (Class::Gvisor, ContainerRuntime::Any),
    ] {
        let backend = backend(class, Options { runtime, ..options() });
        let (mut starts, mut wholes) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let instance = backend.start(request(image.root())).await.unwrap();
            starts.push(begun.elapsed());
            run(&instance, command(&["true"]), InvokeMode::Once).await;
            wholes.push(begun.elapsed());
            instance.stop(Duration::ZERO).await.unwrap();
        }
        report(&format!("{class:?} {runtime:?} start"), starts);
        report(&format!("{class:?} {runtime:?} start and run"), wholes);
        backend.close().await;
    }
}

fn bare(image: &Path, name: &str, args: &[&str]) -> Vec<Duration> {
    let bundle = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"]},
        "root": {"path": image, "readonly": false},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}]},
    });
    fs::create_dir_all(image.join("proc")).unwrap();
    fs::write(bundle.path().join("config.json"), config.to_string()).unwrap();
    (0..ROUNDS)
        .map(|round| {
            let begun = Instant::now();
            let status = Command::new(name)
                .args(args)
                .arg("--bundle")
                .arg(bundle.path())
                .arg(format!("vulcan-figures-{}-{round}", std::process::id()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(status.success(), "{name} {status}");
            begun.elapsed()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn pooled_starts_warm_calls_and_memory() {
    for class in [Class::Container, Class::Gvisor] {
        let backend = backend(class, options());
        let root = python_root();
        let mut calls = Vec::new();
        for _ in 0..ROUNDS {
            let blank = StartRequest {
                prepare: Some(Runtime::Python),
                ..request(root.clone())
            };
            let instance = backend.start(blank).await.unwrap();
            let begun = Instant::now();
            run(&instance, handler(), InvokeMode::Once).await;
            calls.push(begun.elapsed());
            instance.stop(Duration::ZERO).await.unwrap();
        }
        report(&format!("{class:?} python in a blank instance"), calls);
        let instance = backend.start(request(root)).await.unwrap();
        let memory = instance.footprint().await.unwrap().unwrap();
        println!(
            "{class:?} idle: {} KiB private, {} KiB PSS",
            memory.private_bytes / 1024,
            memory.pss_bytes / 1024
        );
        run(&instance, handler(), InvokeMode::Warm).await;
        let mut calls = Vec::new();
        for _ in 0..10 * ROUNDS {
            let begun = Instant::now();
            run(&instance, handler(), InvokeMode::Warm).await;
            calls.push(begun.elapsed());
        }
        report(&format!("{class:?} python warm call"), calls);
        instance.stop(Duration::ZERO).await.unwrap();
        backend.close().await;
    }
}

fn handler() -> vulcan_api::Program {
    use vulcan_backend::conformance::{Act, python};

    python::program(&Act::EchoInput)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures"]
async fn a_hundred_containers_and_twenty_gvisors_at_once_leave_nothing() {
    let image = Busybox::new();
    for (class, count) in [(Class::Container, 100), (Class::Gvisor, 20)] {
        let options = Options {
            slots_max: 128,
            slots_idle_max: 0,
            ids_per_slot: 1024,
            start_deadline: Duration::from_secs(60),
            ..options()
        };
        let backend = Arc::new(backend(class, options.clone()));
        let begun = Instant::now();
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..count {
            let (backend, root) = (backend.clone(), image.root());
            starts.spawn(async move { backend.start(request(root)).await.unwrap() });
        }
        let instances = starts.join_all().await;
        println!(
            "{class:?}: {count} started at once in {:.0} ms",
            millis(begun.elapsed())
        );
        let mut runs = tokio::task::JoinSet::new();
        for instance in instances {
            runs.spawn(async move {
                let ran = run(&instance, command(&["true"]), InvokeMode::Once).await;
                assert_eq!(ran.outcome.error, None);
                instance.stop(Duration::ZERO).await.unwrap();
            });
        }
        runs.join_all().await;
        println!(
            "{class:?}: all run and stopped after {:.0} ms",
            millis(begun.elapsed())
        );
        backend.close().await;
        assert_eq!(leftovers(&options), Vec::<String>::new());
    }
}
