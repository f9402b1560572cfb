//! Attacks that only these classes give a way to: from user 0 of an image, on the agent, the runtime and the layers. The suite
//! has those that every class meets.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use vulcan_api::{Program, Resources};
use vulcan_backend::{Backend as _, BackendError, InvokeMode, StartRequest};

use crate::harness::{Busybox, Class, backend, command, options, request, root_of, run, run_alone};

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
    root_of_an_image_cannot_mount_or_make_devices
    root_of_an_image_cannot_change_the_agent_on_the_host
    root_of_an_image_reads_nothing_of_the_agents_memory
    a_set_uid_program_of_an_image_gives_no_rights
    a_layer_with_mount_points_as_links_leads_nowhere
    a_fork_bomb_of_an_image_ends_with_its_instance
}

/// As user 0 of the image, which has most rights in there.
fn as_root(script: &str) -> Program {
    command(&["sh", "-c", script])
}

async fn root_of_an_image_cannot_mount_or_make_devices(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    // Below /dev too, where a kernel of the guest's own would take them.
    let script = "busybox mount -t tmpfs none /tmp && echo mounted; busybox mount -t proc none /bin && echo mounted; \
                  busybox mknod /disk b 254 0 && echo made; busybox mknod /mem c 1 1 && echo made; \
                  busybox chroot / /bin/true && echo rooted; busybox hostname other && echo named; \
                  busybox unshare -m true && echo unshared; echo done";

    let ran = run_alone(&backend, image.root(), as_root(script)).await;

    assert_eq!(ran.stdout, "done\n", "{ran:?}");
    backend.close().await;
}

async fn root_of_an_image_cannot_change_the_agent_on_the_host(class: Class) {
    let options = options();
    let backend = backend(class, options.clone());
    let image = Busybox::new();
    let script = "for file in /.vulcan/agent /proc/1/exe /proc/self/exe; do (echo x > $file) 2>/dev/null; done; \
                  rm -rf /.vulcan; busybox mv /.vulcan /elsewhere; echo done";

    let before = agent_of(&options);
    let first = run_alone(&backend, image.root(), as_root(script)).await;
    let second = run_alone(&backend, image.root(), as_root("echo fine")).await;

    assert_eq!(second.stdout, "fine\n", "{first:?} {second:?}");
    assert_eq!(agent_of(&options), before);
    backend.close().await;
}

/// The agent's file on the host; nothing before the first start.
fn agent_of(options: &vulcan_backend_oci::Options) -> Vec<u8> {
    let folders = fs::read_dir(&options.run_dir).unwrap().flatten();
    let ours = folders.filter(|folder| folder.file_name().to_string_lossy().contains(&options.owner));
    let agents: Vec<Vec<u8>> = ours
        .filter_map(|folder| fs::read(folder.path().join("top/.vulcan/agent")).ok())
        .collect();
    agents
        .into_iter()
        .next()
        .unwrap_or_else(|| vulcan_backend::AGENT.to_vec())
}

const SIGNALS: &str = "for signal in 1 2 3 9 15 19; do kill -$signal 1 2>/dev/null; done; echo alive";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_of_an_image_cannot_end_the_agent() {
    let backend = backend(Class::Container, options());
    let image = Busybox::new();

    let ran = run_alone(&backend, image.root(), as_root(SIGNALS)).await;

    assert_eq!(ran.stdout, "alive\n", "{ran:?}");
    backend.close().await;
}

/// gVisor's kernel lets user 0 end the first process. It is the end of the instance, and of nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_of_an_image_in_gvisor_ends_its_own_instance_alone() {
    let options = options();
    let backend = backend(Class::Gvisor, options.clone());
    let image = Busybox::new();
    let (first, other) = tokio::join!(
        backend.start(request(image.root())),
        backend.start(request(image.root()))
    );
    let (first, other) = (first.unwrap(), other.unwrap());

    let (sink, _logs) = tokio::sync::mpsc::channel(16);
    let ended = first
        .invoke(
            crate::harness::invocation(as_root(SIGNALS), InvokeMode::Once),
            sink,
        )
        .await;
    assert!(matches!(ended, Err(BackendError::Lost { .. })), "{ended:?}");
    first.stop(Duration::ZERO).await.unwrap();

    assert_eq!(
        run(&other, as_root("echo fine"), InvokeMode::Once).await.stdout,
        "fine\n"
    );
    other.stop(Duration::ZERO).await.unwrap();
    assert_eq!(crate::harness::leftovers(&options), Vec::<String>::new());
    backend.close().await;
}

async fn root_of_an_image_reads_nothing_of_the_agents_memory(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    // The channel to the host is descriptor 3.
    let script = "dd if=/proc/1/mem bs=1 count=1 skip=65536 of=/memory 2>/dev/null; stat -c %s /memory; \
                  (echo forged > /proc/1/fd/3) 2>/dev/null && echo forged; cat /proc/1/fd/3 2>/dev/null && echo read; echo done";

    let ran = run_alone(&backend, image.root(), as_root(script)).await;

    let lines: Vec<&str> = ran.stdout.lines().filter(|line| *line != "0").collect();
    assert_eq!(lines, ["done"], "{ran:?}");
    backend.close().await;
}

async fn a_set_uid_program_of_an_image_gives_no_rights(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    let program = image.path().join("bin/rise");
    fs::copy("/bin/busybox", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let ran = run_alone(
        &backend,
        image.root(),
        crate::harness::with_image(command(&["/bin/rise", "id", "-u"]), |image| {
            image.user = "1000".to_owned();
        }),
    )
    .await;

    assert_ne!(ran.stdout, "0\n", "{ran:?}");
    backend.close().await;
}

async fn a_layer_with_mount_points_as_links_leads_nowhere(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();
    let outside = tempfile::tempdir().unwrap();
    let layer = tempfile::tempdir().unwrap();
    fs::set_permissions(layer.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // CVE-2019-19921, CVE-2021-30465: where a runtime mounts, the image has links out.
    for name in ["proc", "dev", "sys", ".vulcan"] {
        std::os::unix::fs::symlink(outside.path(), layer.path().join(name)).unwrap();
    }
    let root = root_of(vec![image.path().to_owned(), layer.path().to_owned()]);

    let ran = run_alone(
        &backend,
        root,
        as_root("stat -c %F /proc /dev /sys; cat /proc/self/comm"),
    )
    .await;

    assert_eq!(ran.stdout, "directory\ndirectory\ndirectory\ncat\n", "{ran:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    backend.close().await;
}

async fn a_fork_bomb_of_an_image_ends_with_its_instance(class: Class) {
    let options = options();
    let backend = backend(class, options.clone());
    let image = Busybox::new();
    let start = StartRequest {
        resources: Resources {
            pids: 64,
            ..Resources::default()
        },
        ..request(image.root())
    };
    let instance = backend.start(start).await.unwrap();
    let bomb = as_root("bomb() { bomb | bomb & }; bomb; sleep 60");
    let bombed = {
        let instance = instance.clone();
        tokio::spawn(async move {
            let (sink, _logs) = tokio::sync::mpsc::channel(1);
            // However it ends, it must not outlive the stop.
            instance
                .invoke(crate::harness::invocation(bomb, InvokeMode::Once), sink)
                .await
                .is_ok()
        })
    };
    tokio::time::timeout(Duration::from_millis(300), instance.wait())
        .await
        .ok();

    instance.stop(Duration::ZERO).await.unwrap();
    bombed.await.unwrap();

    assert_eq!(crate::harness::leftovers(&options), Vec::<String>::new());
    let next = backend.start(request(image.root())).await.unwrap();
    let ran = run(&next, as_root("echo fine"), InvokeMode::Once).await;
    assert_eq!(ran.stdout, "fine\n");
    next.stop(Duration::ZERO).await.unwrap();
    backend.close().await;
}
