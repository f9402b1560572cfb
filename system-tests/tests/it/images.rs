//! Images through the API, and workloads in them: under containers and gVisor, where this machine has them.
//!
//! The image is made by the test: a static BusyBox of Debian's package busybox-static, in an archive as `docker save` writes it.

use std::{io::Write, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vulcan_api::{
    ErrorCode, Image, ImageArchive, ImageName, ImagePrune, ImagesRemoved, IsolationClass, Status, Workload,
};
use vulcan_client::ClientError;

use crate::fixture::{Fixture, archive, slug, spec};

const BUSYBOX: &str = "/bin/busybox";
const NAME: &str = "box:1";
const APPLETS: [&str; 8] = ["sh", "cat", "echo", "id", "sleep", "env", "touch", "ls"];

/// A platform that has the image, and the classes that can run it here.
struct Stage {
    fixture: Fixture,
    classes: Vec<IsolationClass>,
}

impl Stage {
    /// Starts the platform; `None`, said aloud, where nothing here stands on images.
    async fn start() -> Option<Self> {
        let fixture = Fixture::start().await;
        let list = fixture.backends().await;
        let stands =
            |class: IsolationClass| matches!(class, IsolationClass::Container | IsolationClass::Gvisor);
        let classes: Vec<IsolationClass> = list
            .iter()
            .filter(|backend| stands(backend.isolation) && backend.readiness.is_usable())
            .map(|backend| backend.isolation)
            .collect();
        if classes.is_empty() || !Path::new(BUSYBOX).is_file() {
            eprintln!("skipped: there is neither container nor gvisor here, or no busybox-static");
            fixture.end().await;
            return None;
        }
        let stage = Self { fixture, classes };
        stage.import().await;
        Some(stage)
    }

    async fn import(&self) -> Image {
        let name: ImageName = NAME.parse().unwrap();
        let archive = std::io::Cursor::new(docker_archive());
        let events = self.fixture.client().image_import(Some(&name), archive).await;
        events.unwrap().finish().await.unwrap().remove(0)
    }

    async fn run(&self, class: IsolationClass, more: Value) -> Workload {
        self.fixture.run(&spec(body(class, more))).await
    }
}

fn body(class: IsolationClass, more: Value) -> Value {
    let mut body = json!({"image": NAME, "isolation": class.as_str()});
    if let Value::Object(more) = more {
        body.as_object_mut().unwrap().extend(more);
    }
    body
}

/// Writes an image with BusyBox: `docker save` without its history.
fn docker_archive() -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut file = |name: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        layer.append_data(&mut header, name, content).unwrap();
    };
    file("bin/busybox", 0o755, &std::fs::read(BUSYBOX).unwrap());
    file(
        "etc/passwd",
        0o644,
        b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n",
    );
    file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\n");
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let digest: String = Sha256::digest(&layer)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sh", "-c", "echo \"{\\\"said\\\": \\\"$1 $GREETING $(id -un) $PWD\\\"}\"", "sh"],
            "Cmd": ["default"],
            "Env": ["PATH=/bin", "GREETING=hi"],
            "User": "app",
            "WorkingDir": "/srv",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["box:old"], "Layers": ["layer.tar"]}]);
    let mut whole = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("manifest.json", manifest.to_string().into_bytes()),
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        whole.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    whole.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_runs_its_own_program_with_its_environment_its_user_and_its_folder() {
    let Some(stage) = Stage::start().await else { return };
    for class in &stage.classes {
        let own = stage.run(*class, json!({})).await;
        assert_eq!(
            own.output,
            Some(json!({"said": "default hi app /srv"})),
            "{class}: {:?}",
            own.error
        );
        assert_eq!((own.isolation_used, own.image), (Some(*class), NAME.parse().ok()));

        let given = stage
            .run(*class, json!({"args": ["given"], "env": {"GREETING": "bye"}}))
            .await;
        assert_eq!(
            given.output,
            Some(json!({"said": "given bye app /srv"})),
            "{class}"
        );
    }
    let auto = stage.fixture.run(&spec(json!({"image": NAME}))).await;
    let strongest = stage.classes.iter().max_by_key(|class| class.strength());
    assert_eq!(auto.isolation_used.as_ref(), strongest);
    stage.fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_its_input_and_gives_back_json_and_its_exit_code() {
    let Some(stage) = Stage::start().await else { return };
    let input = json!({"a": [1, "ü"]});
    for class in &stage.classes {
        let echoed = stage
            .run(*class, json!({"command": ["cat"], "input": input}))
            .await;
        assert_eq!(
            echoed.output.as_ref(),
            Some(&input),
            "{class}: {:?}",
            echoed.error
        );

        let failed = stage
            .run(
                *class,
                json!({"command": ["sh", "-c"], "args": ["echo no; exit 7"]}),
            )
            .await;
        assert_eq!(
            (failed.status, failed.exit_code),
            (Status::Failed, Some(7)),
            "{class}"
        );
        let log = stage.fixture.log(failed.id).await;
        assert_eq!(log[0].text, "no");

        let missing = stage.run(*class, json!({"command": ["/nosuch"]})).await;
        assert_eq!(missing.status, Status::Failed, "{class}");
        assert!(missing.error.unwrap().message.contains("/nosuch"));
    }
    stage.fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_runs_on_an_image_that_is_named() {
    let Some(stage) = Stage::start().await else { return };
    // Called by the name of an applet, BusyBox is that.
    let files: [(&str, &[u8]); 1] = [("echo", &std::fs::read(BUSYBOX).unwrap())];
    let code = json!({
        "runtime": "binary", "code_archive": archive(&files), "entrypoint": "echo", "args": ["[5]"],
    });
    for class in &stage.classes {
        let workload = stage.run(*class, code.clone()).await;
        assert_eq!(workload.output, Some(json!([5])), "{class}: {:?}", workload.error);
    }
    stage.fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_ends_when_it_is_killed_and_at_its_limit_and_uses_its_image_until_then() {
    let Some(stage) = Stage::start().await else { return };
    let client = stage.fixture.client();
    let image = NAME.parse().unwrap();
    for class in &stage.classes {
        let sleep = json!({"command": ["sleep", "1000"], "resources": {"timeout_s": 1.0}});
        let late = stage.run(*class, sleep).await;
        assert_eq!(late.status, Status::TimedOut, "{class}: {:?}", late.error);

        let endless = spec(body(
            *class,
            json!({"command": ["sh", "-c", "echo up; sleep 1000"]}),
        ));
        let id = stage.fixture.submit(&endless).await;
        let mut tail = client.logs(id, vulcan_client::LogOptions::default());
        assert_eq!(tail.next().await.unwrap().unwrap().text, "up");
        let refused = client.image_remove(&image).await;
        let Err(ClientError::Problem(problem)) = refused else {
            panic!("{class}: {refused:?}");
        };
        assert_eq!(problem.slug(), "image-in-use");
        client.kill(id).await.unwrap();
        let killed = stage.fixture.wait_for(id, Status::is_final).await;
        assert_eq!(killed.status, Status::Killed, "{class}");
    }
    stage.fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_out_comes_back_and_is_removed() {
    let Some(stage) = Stage::start().await else { return };
    let client = stage.fixture.client();
    let name = NAME.parse().unwrap();
    let made = client.image(&name).await.unwrap();
    for shape in [ImageArchive::Oci, ImageArchive::Docker] {
        let mut exported = Vec::new();
        client.image_export(&name, shape, &mut exported).await.unwrap();
        let removed = stage.remove().await;
        assert_eq!(removed.names, [NAME.parse().unwrap()]);
        client.image_prune(&ImagePrune { all: true }).await.unwrap();
        assert!(client.images().await.unwrap().images.is_empty());

        let archive = std::io::Cursor::new(exported);
        let imported = client
            .image_import(None, archive)
            .await
            .unwrap()
            .finish()
            .await
            .unwrap();

        assert_eq!(imported[0].config, made.config, "{shape:?}");
        assert_eq!(imported[0].names, made.names, "{shape:?}");
        let class = stage.classes[0];
        let workload = stage.run(class, json!({})).await;
        assert_eq!(workload.status, Status::Completed, "{:?}", workload.error);
    }
    stage.fixture.end().await;
}

impl Stage {
    /// Removes the image once the instances that ran are gone.
    async fn remove(&self) -> ImagesRemoved {
        let name = NAME.parse().unwrap();
        let removing = async {
            loop {
                match self.fixture.client().image_remove(&name).await {
                    Err(ClientError::Problem(problem)) if problem.slug() == "image-in-use" => {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    removed => return removed.unwrap(),
                }
            }
        };
        tokio::time::timeout(crate::fixture::LIMIT, removing)
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_or_cannot_go_together_is_said_in_words() {
    let Some(stage) = Stage::start().await else { return };
    let class = stage.classes[0];
    // Nothing listens on port 1; the platform's own images are asked of no registry.
    for (image, words) in [
        ("127.0.0.1:1/nosuch:1", "127.0.0.1:1"),
        ("vulcan/python", "image bootstrap"),
    ] {
        let workload = stage.run(class, json!({"image": image})).await;
        let error = workload.error.unwrap();
        assert_eq!(error.code, ErrorCode::ImageUnavailable, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
    for more in [
        json!({"reuse": "warm"}),
        json!({"code": "x"}),
        json!({"isolation": "sandbox"}),
    ] {
        let refused = stage.fixture.try_run(&spec(body(class, more.clone()))).await;
        assert_eq!(slug(refused), "invalid-field", "{more}");
    }
    stage.fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_none_is_refused_and_leaves_nothing() {
    let fixture = Fixture::start().await;
    let mut cut = docker_archive_or_nothing();
    cut.truncate(cut.len() / 2);
    for bytes in [cut, b"no archive".to_vec(), Vec::new()] {
        let archive = std::io::Cursor::new(bytes);
        let refused = match fixture.client().image_import(None, archive).await {
            Ok(events) => events.finish().await.map(drop),
            Err(error) => Err(error),
        };
        let Err(ClientError::Problem(problem)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(problem.slug(), "image-invalid", "{problem:?}");
    }
    assert!(fixture.client().images().await.unwrap().images.is_empty());
    fixture.end().await;
}

/// The archive, or something as long where there is no BusyBox.
fn docker_archive_or_nothing() -> Vec<u8> {
    if Path::new(BUSYBOX).is_file() {
        return docker_archive();
    }
    let mut bytes = Vec::new();
    bytes.write_all(&[7; 10_000]).unwrap();
    bytes
}
