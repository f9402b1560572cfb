//! Debian's docker-registry on loopback, with images that skopeo and umoci make.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use vulcan_api::{ImageEvent, RegistryCredentials};

use super::stage::{Stage, pull_of};
use crate::harness::until;

pub(super) struct Registry {
    child: Child,
    pub(super) host: String,
    _folder: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Registry {
    pub(super) async fn start() -> Self {
        Self::at(TempDir::new().unwrap(), "").await
    }

    /// A registry that is closed to all but `alice`, whose password is `secret`.
    async fn closed() -> Self {
        let folder = TempDir::new().unwrap();
        let passwords = folder.path().join("passwords");
        run(Command::new("htpasswd")
            .args(["-cbB"])
            .arg(&passwords)
            .args(["alice", "secret"]));
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            passwords.display()
        );
        Self::at(folder, &auth).await
    }

    async fn at(folder: TempDir, auth: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n{auth}",
            folder.path().join("store").display()
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            child,
            host,
            _folder: folder,
        };
        until("a registry that answers", || {
            TcpStream::connect(&registry.host).is_ok()
        })
        .await;
        registry
    }

    /// Pushes the image `image` of an OCI layout as `app:<tag>`.
    pub(super) fn push(&self, layout: &Path, tag: &str, credentials: Option<&str>) -> String {
        let name = format!("{}/app:{tag}", self.host);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]);
        if let Some(credentials) = credentials {
            skopeo.args(["--dest-creds", credentials]);
        }
        run(skopeo
            .arg(format!("oci:{}:image", layout.display()))
            .arg(format!("docker://{name}")));
        name
    }
}

/// An OCI layout with an image of two layers, by umoci: the upper one removes files of the lower one.
pub(super) fn layout(folder: &Path) {
    let layout = folder.join("layout");
    let image = format!("{}:image", layout.display());
    let umoci = |arguments: &[&str]| run(Command::new("umoci").args(arguments));
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    let tree = folder.join("tree");
    for path in ["bin", "etc", "var/old"] {
        fs::create_dir_all(tree.join(path)).unwrap();
    }
    fs::write(tree.join("bin/hello"), "#!/bin/sh\n").unwrap();
    fs::hard_link(tree.join("bin/hello"), tree.join("bin/same")).unwrap();
    fs::write(tree.join("etc/gone"), "").unwrap();
    fs::write(tree.join("var/old/file"), "").unwrap();
    let archive = folder.join("layer.tar");
    run(Command::new("tar")
        .args(["--owner=1000", "--group=1001", "--mode=u+s", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&tree)
        .arg("."));
    umoci(&["raw", "add-layer", "--image", &image, archive.to_str().unwrap()]);
    let upper = super::made::tar(&[
        ("etc/.wh.gone", b""),
        ("var/old/.wh..wh..opq", b""),
        ("etc/new", b"new"),
    ]);
    fs::write(&archive, upper).unwrap();
    umoci(&["raw", "add-layer", "--image", &image, archive.to_str().unwrap()]);
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.env=GREETING=hello",
        "--config.cmd=/bin/hello",
        "--config.user=1000",
        "--config.workingdir=/var",
    ]);
}

#[tokio::test]
async fn an_image_of_a_registry_is_pulled_and_unpacked() {
    let (stage, registry, folder) = (
        Stage::new().await,
        Registry::start().await,
        TempDir::new().unwrap(),
    );
    layout(folder.path());
    let name = registry.push(&folder.path().join("layout"), "1", None);

    let (pulled, told) = stage.pull_told(pull_of(&name)).await;

    let image = pulled.unwrap();
    assert_eq!(
        image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [name]
    );
    assert_eq!(image.layers.len(), 2);
    assert_eq!(
        (
            image.config.env,
            image.config.command,
            image.config.user,
            image.config.working_dir
        ),
        (
            BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]),
            vec!["/bin/hello".to_owned()],
            "1000".to_owned(),
            "/var".to_owned()
        )
    );
    assert!(told.iter().any(|event| matches!(event, ImageEvent::Progress { bytes, bytes_total, .. } if Some(*bytes) == *bytes_total)));
    let layers = stage.layers();
    let lower = layers.iter().find(|layer| layer.join("bin").exists()).unwrap();
    let upper = layers.iter().find(|layer| !layer.join("bin").exists()).unwrap();
    let hello = fs::metadata(lower.join("bin/hello")).unwrap();
    assert_eq!((hello.nlink(), hello.mode() & 0o4000), (2, 0o4000));
    if rustix::process::geteuid().is_root() {
        assert_eq!((hello.uid(), hello.gid()), (1000, 1001));
    }
    assert!(
        fs::symlink_metadata(upper.join("etc/gone"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(fs::read_to_string(upper.join("etc/new")).unwrap(), "new");
    stage.assert_nothing_half_made().await;
}

#[tokio::test]
async fn what_is_here_is_not_pulled_again_and_shared_layers_count_once() {
    let (stage, registry, folder) = (
        Stage::new().await,
        Registry::start().await,
        TempDir::new().unwrap(),
    );
    layout(folder.path());
    let one = registry.push(&folder.path().join("layout"), "1", None);
    stage.pull(&one).await.unwrap();
    let before = stage.list().await.disk_bytes;
    let image = format!("{}:image", folder.path().join("layout").display());
    run(Command::new("umoci").args(["config", "--image", &image, "--config.user=7"]));
    let two = registry.push(&folder.path().join("layout"), "2", None);

    let (pulled, told) = stage.pull_told(pull_of(&two)).await;

    assert_eq!(pulled.unwrap().config.user, "7");
    assert!(
        !told
            .iter()
            .any(|event| matches!(event, ImageEvent::Progress { .. }))
    );
    let list = stage.list().await;
    assert_eq!((list.images.len(), list.disk_bytes), (2, before));
}

#[tokio::test]
async fn a_closed_registry_opens_to_the_right_name_and_password() {
    let registry = Registry::closed().await;
    let folder = TempDir::new().unwrap();
    layout(folder.path());
    let name = registry.push(&folder.path().join("layout"), "1", Some("alice:secret"));
    let credentials = |password: &str| RegistryCredentials {
        username: "alice".into(),
        password: password.into(),
    };
    let asking = |password| vulcan_api::ImagePull {
        credentials: Some(credentials(password)),
        ..pull_of(&name)
    };

    let stage = Stage::new().await;
    let anonymous = stage.pull(&name).await.unwrap_err();
    let wrong = stage.pull_told(asking("wrong")).await.0.unwrap_err();
    for problem in [anonymous, wrong] {
        assert_eq!(problem.slug(), "image-unauthorized");
        assert!(
            problem.detail.contains(&name) && !problem.detail.contains("wrong:"),
            "{}",
            problem.detail
        );
    }
    stage.pull_told(asking("secret")).await.0.unwrap();

    let host = registry.host.clone();
    let configured = Stage::with(|options| {
        options.images.credentials.insert(host, credentials("secret"));
    })
    .await;
    configured.pull(&name).await.unwrap();

    let docker = folder.path().join("config.json");
    // alice:secret
    let text = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"YWxpY2U6c2VjcmV0\"}}}}}}",
        registry.host
    );
    fs::write(&docker, text).unwrap();
    let of_docker = Stage::with(|options| options.images.docker_config = Some(docker)).await;
    of_docker.pull(&name).await.unwrap();
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_not_found() {
    let (stage, registry) = (Stage::new().await, Registry::start().await);
    let name = format!("{}/nothing/here:7", registry.host);
    let problem = stage.pull(&name).await.unwrap_err();
    assert_eq!(problem.slug(), "image-not-found");
    assert!(problem.detail.contains(&name), "{}", problem.detail);

    let own = stage.pull("vulcan/python").await.unwrap_err();
    assert_eq!(own.slug(), "image-not-found");
    assert!(own.detail.contains("vulcan image bootstrap"), "{}", own.detail);
}
