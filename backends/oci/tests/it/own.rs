//! What is the classes' own: roots, users, quotas.

use vulcan_backend::{Backend as _, ExitStatus};

use crate::harness::{Busybox, Class, backend, command, options, run_alone};

macro_rules! for_both_classes {
    ($($(#[$doc:meta])* $name:ident)+) => {
        mod container {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Class::Container).await; })+
        }
        mod gvisor {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Class::Gvisor).await; })+
        }
    };
}

for_both_classes! {
    a_command_of_the_image_runs
}

async fn a_command_of_the_image_runs(class: Class) {
    let backend = backend(class, options());
    let image = Busybox::new();

    let ran = run_alone(
        &backend,
        image.root(),
        command(&["sh", "-c", "echo hello; id; exit 7"]),
    )
    .await;

    assert_eq!(
        ran.stdout, "hello\nuid=0(root) gid=0(root) groups=0(root)\n",
        "{ran:?}"
    );
    assert_eq!(ran.outcome.status, ExitStatus::Code(7));
    backend.close().await;
}
