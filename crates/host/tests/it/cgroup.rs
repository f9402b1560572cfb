//! Control groups of this host. As an ordinary user there are none to be had, and the tree says so.

use std::process::{Command, Stdio};

use vulcan_host::cgroup::{Group, Limits, Tree};

/// A tree of this test alone, removed at the end.
struct Own(Tree);

impl Own {
    fn new(test: &str) -> Self {
        Self(Tree::open(&format!("vulcan-test-{test}-{}", std::process::id())))
    }

    /// Makes a group; as root there must be one, otherwise the tree must tell what is missing.
    fn group(&self) -> Option<Group> {
        let group = self.0.create("group").unwrap();
        let is_root = rustix::process::geteuid().is_root();
        assert!(
            group.is_some() || !is_root,
            "root has control groups: {:?}",
            self.0.missing()
        );
        assert!(group.is_some() || !self.0.missing().is_empty());
        group
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.sweep().unwrap();
    }
}

const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    cpus: 0.5,
    pids: 10,
};

#[test]
fn an_attached_process_is_listed_and_measured() {
    let own = Own::new("attach");
    let Some(mut group) = own.group() else { return };
    group.begin(&LIMITS).unwrap();
    let mut child = Command::new("/usr/bin/cat")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();

    group.attach(child.id()).unwrap();

    assert_eq!(group.pids().unwrap(), [child.id()]);
    assert_eq!(group.usage().unwrap().oom_kills, 0);
    drop(child.stdin.take());
    child.wait().unwrap();
    group.remove().unwrap();
}

#[test]
fn a_sweep_kills_what_a_former_owner_left() {
    let own = Own::new("sweep");
    let Some(group) = own.group() else { return };
    let mut child = Command::new("/usr/bin/sleep").arg("1000").spawn().unwrap();
    group.attach(child.id()).unwrap();

    let swept = own.0.sweep().unwrap();

    assert_eq!(swept.into_iter().collect::<Vec<_>>(), [("group".to_owned(), 1)]);
    assert!(!child.wait().unwrap().success());
    assert_eq!(own.0.sweep().unwrap().len(), 0);
}

#[test]
fn removing_a_group_twice_is_harmless() {
    let own = Own::new("remove");
    let Some(group) = own.group() else { return };
    group.remove().unwrap();
    group.remove().unwrap();
}

#[test]
fn limits_may_go_up_and_down() {
    let own = Own::new("limits");
    let Some(mut group) = own.group() else { return };
    for megabytes in [64, 256, 32] {
        group
            .begin(&Limits {
                memory_bytes: megabytes << 20,
                ..LIMITS
            })
            .unwrap();
    }
}
