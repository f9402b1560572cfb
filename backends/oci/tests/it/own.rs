//! What is the classes' own: roots, users, quotas, runtimes.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use vulcan_api::{Program, Readiness, Resources};
use vulcan_backend::{Backend as _, BackendError, ExecRequest, ExitStatus, InvokeMode, StartRequest, Upper};
use vulcan_backend_oci::{ContainerRuntime, Options};

use crate::harness::{
    Busybox, Class, backend, command, leftovers, options, python_root, request, root_of, run, run_alone,
    with_image,
};

macro_rules! for_both_classes {
    ($($name:ident)+) => {
        mod container {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Class::Container).await; })+
        }
        mod gvisor {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Class::Gvisor).await; })+
        }
    };
}

for_both_classes! {
    a_command_of_the_image_runs
    programs_start_threads
    a_command_has_the_images_user_folder_environment_and_input
    a_user_that_is_not_there_is_refused_by_name
    a_command_that_is_not_there_is_refused_by_name
    a_command_beside_runs_as_whoever_is_named
    changes_reach_neither_the_layers_nor_the_next_instance
    upper_layers_hide_and_replace_what_is_below
    an_upper_folder_gets_the_changes_as_a_layer
    the_quota_of_space_and_of_files_bites
    an_image_keeps_its_layers_until_the_instance_is_over
}

fn shell(script: &str) -> Program {
    command(&["sh", "-c", script])
}

async fn a_command_of_the_image_runs(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();

    let ran = run_alone(
        &backend,
        image.root(),
        shell("echo hello; echo oh >&2; id; exit 7"),
    )
    .await;

    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("hello\nuid=0(root) gid=0(root) groups=0(root)\n", "oh\n")
    );
    assert_eq!(ran.outcome.status, ExitStatus::Code(7));
    backend.close().await;
}

async fn programs_start_threads(class: Class) {
    let backend = backend(class, options());
    let script = "import threading\nfor i in range(8):\n    thread = threading.Thread(target=print, args=(i,))\n    \
                  thread.start()\n    thread.join()";

    let ran = run_alone(&backend, python_root(), command(&["python3", "-c", script])).await;

    assert_eq!(ran.stdout, "0\n1\n2\n3\n4\n5\n6\n7\n", "{}", ran.stderr);
    backend.close().await;
}

async fn a_command_has_the_images_user_folder_environment_and_input(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    fs::create_dir(image.path().join("etc")).unwrap();
    fs::write(
        image.path().join("etc/passwd"),
        "ann:x:1234:50::/home/ann:/bin/sh\n",
    )
    .unwrap();
    fs::write(image.path().join("etc/group"), "staff:x:50:\nwheel:x:10:ann\n").unwrap();
    let mut program = with_image(shell("id; pwd; env; cat"), |image| {
        image.user = "ann".to_owned();
        image.working_dir = "/not/there/yet".to_owned();
    });
    program.env.insert("COLOUR".to_owned(), "blue".to_owned());
    program.env.insert("PATH".to_owned(), "/bin".to_owned());
    program.input = Bytes::from_static(b"\"the input\"");

    let ran = run_alone(&backend, image.root(), program).await;

    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines[2..].sort_unstable();
    let expected = [
        "uid=1234(ann) gid=50(staff) groups=10(wheel),50(staff)",
        "/not/there/yet",
        "\"the input\"",
        "COLOUR=blue",
        "HOME=/home/ann",
        "PATH=/bin",
        "PWD=/not/there/yet",
        "SHLVL=1",
    ];
    assert_eq!(lines, expected, "{ran:?}");
    backend.close().await;
}

async fn a_user_that_is_not_there_is_refused_by_name(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();

    let program = with_image(shell("id"), |image| image.user = "eve".to_owned());
    let ran = run_alone(&backend, image.root(), program).await;

    let error = ran.outcome.error.unwrap();
    assert!(error.message.contains("no user 'eve'"), "{error:?}");
    backend.close().await;
}

async fn a_command_that_is_not_there_is_refused_by_name(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();

    let ran = run_alone(&backend, image.root(), command(&["frobnicate"])).await;

    let error = ran.outcome.error.unwrap();
    assert!(error.message.contains("no program 'frobnicate'"), "{error:?}");
    assert_eq!(ran.outcome.status, ExitStatus::Code(127));
    backend.close().await;
}

async fn a_command_beside_runs_as_whoever_is_named(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    let instance = backend.start(request(image.root())).await.unwrap();

    let mut found = Vec::new();
    for user in ["", "0", "77:88"] {
        let (sink, mut logs) = tokio::sync::mpsc::channel(16);
        let request = ExecRequest {
            argv: vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                "echo $(id -u):$(id -g)".to_owned(),
            ],
            env: std::collections::BTreeMap::new(),
            cwd: "/".to_owned(),
            stdin: Bytes::new(),
            user: user.to_owned(),
        };
        let status = instance.exec().unwrap().run(request, sink).await.unwrap();
        assert_eq!(status, ExitStatus::Code(0));
        found.push(String::from_utf8(logs.recv().await.unwrap().bytes.to_vec()).unwrap());
    }

    assert_eq!(found, ["1000:1000\n", "0:0\n", "77:88\n"]);
    instance.stop(Duration::ZERO).await.unwrap();
    backend.close().await;
}

async fn changes_reach_neither_the_layers_nor_the_next_instance(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    fs::write(image.path().join("kept"), "as it was").unwrap();
    let before = listing(image.path());
    let script =
        "echo new > /new; echo changed > /kept; rm /bin/touch; mkdir /etc/x; chmod 777 /bin; cat /kept";

    let first = run_alone(&backend, image.root(), shell(script)).await;
    let second = run_alone(
        &backend,
        image.root(),
        shell("cat /kept; ls /new /bin/touch /etc/x"),
    )
    .await;

    assert_eq!((first.stdout.as_str(), first.stderr.as_str()), ("changed\n", ""));
    assert_eq!(second.stdout, "as it was/bin/touch\n", "{second:?}");
    assert_eq!(listing(image.path()), before);
    backend.close().await;
}

async fn upper_layers_hide_and_replace_what_is_below(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    fs::create_dir(image.path().join("folder")).unwrap();
    for name in ["removed", "replaced", "folder/hidden"] {
        fs::write(image.path().join(name), "below\n").unwrap();
    }
    let upper = tempfile::tempdir().unwrap();
    fs::set_permissions(upper.path(), fs::Permissions::from_mode(0o755)).unwrap();
    whiteout(&upper.path().join("removed"));
    fs::write(upper.path().join("replaced"), "above\n").unwrap();
    fs::create_dir(upper.path().join("folder")).unwrap();
    fs::write(upper.path().join("folder/shown"), "").unwrap();
    let opaque = upper.path().join("folder");
    rustix::fs::setxattr(
        &opaque,
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();

    let layers = vec![image.path().to_owned(), upper.path().to_owned()];
    let ran = run_alone(
        &backend,
        root_of(layers),
        shell("cat /replaced; ls /folder; ls /removed"),
    )
    .await;

    assert_eq!(ran.stdout, "above\nshown\n", "{ran:?}");
    backend.close().await;
}

async fn an_upper_folder_gets_the_changes_as_a_layer(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    let place = tempfile::tempdir().unwrap();
    let upper = place.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let start = StartRequest {
        upper: Upper::Folder(upper.clone()),
        ..request(image.root())
    };
    let script = "mkdir /made; echo text > /made/file; chown 5:6 /made/file; rm /bin/true; echo x > /tmp/x";

    let instance = backend.start(start).await.unwrap();
    let ran = run(&instance, shell(script), InvokeMode::Once).await;
    instance.stop(Duration::ZERO).await.unwrap();

    assert_eq!(ran.stderr, "");
    let file = upper.join("made/file");
    let owner = fs::metadata(&file).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (5, 6), "ids are those of the image");
    assert_eq!(fs::read_to_string(&file).unwrap(), "text\n");
    let removed = fs::symlink_metadata(upper.join("bin/true")).unwrap();
    assert!(
        removed.file_type().is_char_device() && removed.rdev() == 0,
        "{removed:?}"
    );
    let mut names: Vec<String> = names_in(&upper)
        .into_iter()
        .filter(|name| name != "tmp")
        .collect();
    names.sort();
    assert_eq!(names, ["bin", "made"], "nothing of ours is in it");
    assert_eq!(names_in(place.path()), ["upper"], "overlayfs' own folder is gone");
    // What was built is a layer of the next.
    let layers = vec![image.path().to_owned(), upper];
    let ran = run_alone(&backend, root_of(layers), shell("cat /made/file; ls /bin/true")).await;
    assert_eq!(ran.stdout, "text\n");
    backend.close().await;
}

async fn the_quota_of_space_and_of_files_bites(class: Class) {
    let options = Options {
        inodes_per_mb: 16,
        ..options()
    };
    let backend = backend(class, options);
    let image = Busybox::new();
    let resources = Resources {
        disk_mb: 16,
        ..Resources::default()
    };
    let script = "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null; stat -c %s /big; rm /big; \
                  i=0; while touch /small-$i 2>/dev/null; do i=$((i+1)); done; echo $i";

    let start = StartRequest {
        resources,
        ..request(image.root())
    };
    let instance = backend.start(start).await.unwrap();
    let ran = run(&instance, shell(script), InvokeMode::Once).await;
    instance.stop(Duration::ZERO).await.unwrap();

    let numbers: Vec<u64> = ran.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!((1 << 20..=16 << 20).contains(&numbers[0]), "{numbers:?}");
    assert!((1..=256).contains(&numbers[1]), "{numbers:?}");
    backend.close().await;
}

async fn an_image_keeps_its_layers_until_the_instance_is_over(class: Class) {
    struct Told(tokio::sync::watch::Sender<bool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send_replace(true);
        }
    }
    let backend = backend(class, options());
    let image = Busybox::new();
    let (sender, released) = tokio::sync::watch::channel(false);
    let mut root = Arc::into_inner(image.root()).unwrap();
    root.lease = Box::new(Told(sender));

    let instance = backend.start(request(Arc::new(root))).await.unwrap();
    assert!(!*released.borrow(), "it is in use");
    instance.stop(Duration::ZERO).await.unwrap();

    assert!(*released.borrow(), "nobody uses it any more");
    backend.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_runtime_starts_containers() {
    let image = Busybox::new();
    for runtime in [ContainerRuntime::Crun, ContainerRuntime::Runc] {
        let backend = backend(Class::Container, Options { runtime, ..options() });
        let filter = "while read name value; do case $name in Seccomp:|NoNewPrivs:|CapBnd:) echo $name $value;; esac; done";
        let ran = run_alone(
            &backend,
            image.root(),
            shell(&format!("{filter} < /proc/self/status")),
        )
        .await;
        // chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service (linux/capability.h).
        let expected = "CapBnd: 00000000000004fb\nNoNewPrivs: 1\nSeccomp: 2\n";
        assert_eq!(ran.stdout, expected, "{runtime:?}: {ran:?}");
        backend.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_runtime_says_how_to_get_it() {
    let nowhere = Options {
        crun: "/nowhere/crun".into(),
        runc: "/nowhere/runc".into(),
        runsc: "/nowhere/runsc".into(),
        ..options()
    };
    for (class, package) in [(Class::Container, "runc"), (Class::Gvisor, "runsc")] {
        let backend = backend(class, nowhere.clone());
        match backend.probe().await.readiness {
            Readiness::Unfit { reasons } => {
                assert!(reasons[0].contains("apt-get install"), "{reasons:?}");
                assert!(reasons[0].contains(package), "{reasons:?}");
            }
            other => panic!("{other:?}"),
        }
        backend.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_an_image_is_refused() {
    let backend = backend(Class::Container, options());
    let image = Busybox::new();
    let without = StartRequest {
        root: None,
        ..request(image.root())
    };
    let error = backend.start(without).await.err().unwrap();
    assert!(matches!(error, BackendError::StartFailed { .. }), "{error:?}");

    let missing = root_of(vec!["/nowhere/layer".into()]);
    let error = backend.start(request(missing)).await.err().unwrap();
    assert!(error.to_string().contains("/nowhere/layer"), "{error}");
    backend.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_leaves_is_swept() {
    let options = options();
    let test = std::env::current_exe().unwrap();
    let mut server = tokio::process::Command::new(test)
        .args([
            "--exact",
            "own::a_server_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("VULCAN_TEST_OWNER", &options.owner)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let stdout = server.stdout.take().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("instances run") {
            break;
        }
    }

    server.kill().await.unwrap();

    for class in [Class::Container, Class::Gvisor] {
        let backend = backend(class, options.clone());
        let swept = backend.sweep(&[]).await.unwrap();
        assert!(!swept.removed.is_empty(), "{class:?}: {swept:?}");
        let second = backend.sweep(&[]).await.unwrap();
        assert!(second.removed.is_empty(), "{class:?}: {second:?}");
        backend.close().await;
    }
    assert_eq!(leftovers(&options), Vec::<String>::new());
    let folders = names_in(&options.run_dir);
    assert!(
        !folders.iter().any(|name| name.contains(&options.owner)),
        "{folders:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that another test kills"]
async fn a_server_that_is_killed() {
    let owner = std::env::var("VULCAN_TEST_OWNER").unwrap();
    let image = Busybox::new();
    let mut instances = Vec::new();
    for class in [Class::Container, Class::Gvisor] {
        let backend = backend(
            class,
            Options {
                owner: owner.clone(),
                ..options()
            },
        );
        instances.push(backend.start(request(image.root())).await.unwrap());
        std::mem::forget(backend);
    }
    println!("{} instances run", instances.len());
    std::future::pending::<()>().await;
}

fn whiteout(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Everything in a folder, with its kind, its owner and its size.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for name in names_in(&folder) {
            let path = folder.join(name);
            let data = fs::symlink_metadata(&path).unwrap();
            found.push(format!(
                "{} {:o} {} {}",
                path.display(),
                data.mode(),
                data.uid(),
                data.len()
            ));
            if data.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}
