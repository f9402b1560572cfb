//! Builds that need no instance: what of a context gets into an image, where, and what is refused.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc;
use vulcan_api::{Image, ImageBuild, ImageEvent, ImageName, ManualClock, Timestamp};
use vulcan_bus::UploadPiece;

use super::merged::Merged;
use crate::image::{ImageOptions, Images, Setup};

/// A store, and a context to fill.
struct Builds {
    folder: TempDir,
    images: Arc<Images>,
}

impl Builds {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("context")).unwrap();
        let images = Images::open(Setup {
            folder: folder.path().join("images"),
            options: ImageOptions::default(),
            node: "newt".parse().unwrap(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(2_000_000_000_000))),
            builders: Vec::new(),
        })
        .unwrap();
        Self { folder, images }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("context").join(path)
    }

    /// Writes a file of the context.
    fn with(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Builds a file of the context, and returns the image with what was told.
    async fn build(&self, build: ImageBuild) -> (Result<Image, String>, Vec<String>) {
        let mut tar = tar::Builder::new(Vec::new());
        tar.follow_symlinks(false);
        tar.append_dir_all("", self.folder.path().join("context"))
            .unwrap();
        let tar = Bytes::from(tar.into_inner().unwrap());
        let (pieces, context) = mpsc::channel(2);
        pieces.send(UploadPiece::Bytes(tar)).await.unwrap();
        pieces.send(UploadPiece::End).await.unwrap();
        let (events, mut told) = mpsc::channel(256);
        let built = self.images.build(&build, context, &events).await;
        drop(events);
        let mut lines = Vec::new();
        while let Some(event) = told.recv().await {
            match event {
                ImageEvent::Step { text } | ImageEvent::Log { text } => lines.push(text),
                other => panic!("{other:?}"),
            }
        }
        (built.map_err(|problem| problem.detail), lines)
    }

    async fn dockerfile(self, text: &str) -> Result<Built, String> {
        let builds = self.with("Dockerfile", text);
        let (image, _) = builds.build(named("Dockerfile")).await;
        Built::of(builds, image?).await
    }

    async fn refusal(self, text: &str) -> String {
        match self.dockerfile(text).await {
            Ok(built) => panic!("it was built: {:?}", built.image),
            Err(why) => why,
        }
    }
}

fn named(file: &str) -> ImageBuild {
    ImageBuild {
        name: "local/app".parse().unwrap(),
        file: file.to_owned(),
        args: BTreeMap::new(),
        target: None,
        no_cache: false,
    }
}

/// An image, and what it looks like.
struct Built {
    image: Image,
    layers: Vec<PathBuf>,
    merged: Merged,
    _builds: Builds,
}

impl Built {
    async fn of(builds: Builds, image: Image) -> Result<Self, String> {
        let name: &ImageName = &image.names[0];
        let ready = builds
            .images
            .ready(name)
            .await
            .map_err(|problem| problem.detail)?;
        let layers = ready.root.layers.clone();
        Ok(Self {
            merged: Merged::open(&layers).unwrap(),
            layers,
            image,
            _builds: builds,
        })
    }

    /// Returns the text of a file; links are followed within the image.
    fn text(&self, path: &str) -> Option<String> {
        super::context::read_text(&self.layers, path, 1 << 20).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        self.merged
            .find(Path::new(path))
            .unwrap()
            .unwrap()
            .permissions()
            .as_raw_mode()
    }

    fn owner(&self, path: &str) -> (u32, u32) {
        let stat = self.merged.find(Path::new(path)).unwrap().unwrap().stat;
        (stat.st_uid, stat.st_gid)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let names = self.merged.list(Path::new(path)).unwrap().into_keys();
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

#[tokio::test]
async fn files_and_folders_go_where_docker_puts_them() {
    let builds = Builds::new()
        .with("a.txt", "a")
        .with("b.txt", "b")
        .with("tree/deep/c.txt", "c")
        .with("tree/d.md", "d");
    fs::set_permissions(builds.path("a.txt"), fs::Permissions::from_mode(0o751)).unwrap();
    symlink("deep/c.txt", builds.path("tree/link")).unwrap();

    let built = builds
        .dockerfile(
            "FROM scratch\nCOPY a.txt /renamed\nCOPY a.txt /folder/\nCOPY *.txt /all/\nCOPY tree /tree\nWORKDIR /work/here\nCOPY a.txt b.txt ./\nCOPY [\"a.txt\", \"with blank\"]\nCOPY --chmod=600 --chown=12:34 b.txt /owned\n",
        )
        .await
        .unwrap();

    assert_eq!(built.text("renamed").as_deref(), Some("a"));
    assert_eq!(built.mode("renamed"), 0o751);
    assert_eq!(built.text("folder/a.txt").as_deref(), Some("a"));
    assert_eq!(built.names("all"), ["a.txt", "b.txt"]);
    assert_eq!(built.names("tree"), ["d.md", "deep", "link"]);
    assert_eq!(built.text("tree/link").as_deref(), Some("c"));
    assert_eq!(built.names("work/here"), ["a.txt", "b.txt", "with blank"]);
    assert_eq!(built.image.config.working_dir, "/work/here");
    assert_eq!(built.mode("owned"), 0o600);
    if rustix::process::geteuid().is_root() {
        assert_eq!(built.owner("owned"), (12, 34));
        assert_eq!(built.owner("renamed"), (0, 0));
    }
}

#[tokio::test]
async fn what_an_image_says_of_itself_is_set_by_its_file() {
    let builds = Builds::new().with("x", "");

    let built = builds
        .dockerfile(
            "ARG version=1.0\nFROM scratch\nARG version\nARG other=def\nENV A=one B=\"$A $version\" C=${none:-$other}\nENV D=${A}/x\nLABEL org.x=\"a b\"\nMAINTAINER me\nUSER 7:8\nEXPOSE 80\nSHELL [\"/bin/sx\", \"-e\"]\nCMD echo hi\nENTRYPOINT [\"/x\", \"-v\"]\nCOPY x /x\n",
        )
        .await
        .unwrap();

    let config = &built.image.config;
    let env: Vec<(&str, &str)> = config
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // As in Docker, a line sees the values of the lines before it.
    assert_eq!(env, [("A", "one"), ("B", " 1.0"), ("C", "def"), ("D", "one/x")]);
    assert_eq!(config.entrypoint, ["/x", "-v"]);
    assert_eq!(config.command, ["/bin/sx", "-e", "echo hi"]);
    assert_eq!(config.user, "7:8");
    assert_eq!(config.labels["org.x"], "a b");
    assert_eq!(config.labels["maintainer"], "me");
}

#[tokio::test]
async fn stages_lend_files_and_only_those_that_are_needed_are_built() {
    let builds = Builds::new().with("x", "first").with(
        "Dockerfile",
        "FROM scratch AS base\nCOPY x /x\nENV FROM=base\nFROM scratch AS unneeded\nCOPY missing /\nFROM base AS second\nCOPY --from=0 /x /again\nFROM scratch\nCOPY --from=second /again /x /out/\n",
    );

    let (image, told) = builds.build(named("Dockerfile")).await;

    let built = Built::of(builds, image.unwrap()).await.unwrap();
    assert_eq!(built.names("out"), ["again", "x"]);
    assert_eq!(built.text("out/again").as_deref(), Some("first"));
    assert!(built.image.config.env.is_empty());
    assert!(told.iter().all(|line| !line.contains("missing")), "{told:?}");
}

#[tokio::test]
async fn a_target_ends_the_build_at_its_stage() {
    let builds = Builds::new().with("x", "first").with(
        "Dockerfile",
        "FROM scratch AS one\nCOPY x /one\nFROM one AS two\nCOPY x /two\n",
    );
    let target = |target: &str| ImageBuild {
        target: Some(target.to_owned()),
        ..named("Dockerfile")
    };

    let (none, _) = builds.build(target("three")).await;
    let (image, _) = builds.build(target("ONE")).await;

    assert!(none.unwrap_err().contains("no stage 'three'"));
    let built = Built::of(builds, image.unwrap()).await.unwrap();
    assert_eq!(built.names(""), ["one"]);
}

#[tokio::test]
async fn an_equal_step_is_had_from_an_earlier_build_and_a_changed_one_is_not() {
    let builds = Builds::new()
        .with("x", "one")
        .with("Dockerfile", "FROM scratch\nCOPY x /x\n");
    let is_kept = |told: &[String]| told.iter().any(|line| line == "kept from an earlier build");

    let (first, told) = builds.build(named("Dockerfile")).await;
    assert!(!is_kept(&told));
    let first = first.unwrap();
    // Only the time of the file changes.
    let builds = builds.with("x", "one");
    let (second, told) = builds.build(named("Dockerfile")).await;
    assert!(is_kept(&told), "{told:?}");
    assert_eq!(second.unwrap().digest, first.digest);
    let (_, told) = builds
        .build(ImageBuild {
            no_cache: true,
            ..named("Dockerfile")
        })
        .await;
    assert!(!is_kept(&told));
    let builds = builds.with("x", "two");
    let (third, told) = builds.build(named("Dockerfile")).await;
    assert!(!is_kept(&told));
    assert_ne!(third.unwrap().digest, first.digest);
}

#[tokio::test]
async fn an_archive_is_unpacked_by_add_and_copied_by_copy() {
    let builds = Builds::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    tar.append_data(&mut header, "inner/file", &b"hi"[..]).unwrap();
    fs::write(builds.path("a.tar"), tar.into_inner().unwrap()).unwrap();

    let built = builds
        .dockerfile("FROM scratch\nADD a.tar /added\nCOPY a.tar /copied/\n")
        .await
        .unwrap();

    assert_eq!(built.text("added/inner/file").as_deref(), Some("hi"));
    assert_eq!(built.mode("added/inner/file"), 0o640);
    assert_eq!(built.names("copied"), ["a.tar"]);
}

#[tokio::test]
async fn links_of_the_base_lead_within_the_image_and_stay() {
    let outside = tempfile::tempdir().unwrap();
    let builds = Builds::new()
        .with("file", "mine")
        .with("root/lib/new", "n")
        .with("root/usr/lib/old", "o");
    fs::create_dir(builds.path("base")).unwrap();
    symlink("usr/lib", builds.path("base/lib")).unwrap();
    fs::create_dir_all(builds.path("base/usr/lib")).unwrap();
    fs::create_dir_all(builds.path("base/etc")).unwrap();
    symlink(outside.path(), builds.path("base/out")).unwrap();
    symlink("../../../../../../etc", builds.path("base/up")).unwrap();

    let built = builds
        .dockerfile("FROM scratch\nCOPY base /\nCOPY root /\nCOPY file /out/file\nCOPY file /up/passwd\nCOPY file /up/\n")
        .await
        .unwrap();

    assert_eq!(built.names("usr/lib"), ["new", "old"]);
    assert_eq!(built.text("lib/new").as_deref(), Some("n"));
    assert_eq!(built.names("etc"), ["file", "passwd"]);
    assert_eq!(
        fs::read_dir(outside.path()).unwrap().count(),
        0,
        "something was written outside of the image"
    );
    assert_eq!(
        built
            .text(outside.path().join("file").to_str().unwrap())
            .as_deref(),
        Some("mine")
    );
}

#[tokio::test]
async fn links_of_a_context_do_not_lead_to_the_hosts_files() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "secret").unwrap();
    let inode = fs::metadata(secret.path()).unwrap().ino();
    let builds = Builds::new().with("folder/x", "x");
    symlink(secret.path(), builds.path("file")).unwrap();
    symlink("/", builds.path("all")).unwrap();
    let path = secret.path().to_str().unwrap().to_owned();

    let why = builds.refusal("FROM scratch\nCOPY file /file\n").await;
    assert!(
        why.contains("line 2") && why.contains("'file' is not there"),
        "{why}"
    );

    let builds = Builds::new().with("folder/x", "x");
    symlink("/", builds.path("all")).unwrap();
    let why = builds
        .refusal(&format!("FROM scratch\nCOPY all{path} /file\n"))
        .await;
    assert!(why.contains("is not there"), "{why}");
    assert_eq!(fs::metadata(secret.path()).unwrap().ino(), inode);
}

#[tokio::test]
async fn a_link_and_a_write_through_it_in_one_step_stay_in_the_image() {
    let outside = tempfile::tempdir().unwrap();
    let builds = Builds::new().with("second/x/file", "through");
    fs::create_dir(builds.path("first")).unwrap();
    symlink(outside.path(), builds.path("first/x")).unwrap();

    let built = builds
        .dockerfile("FROM scratch\nCOPY first second /both/\n")
        .await;

    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(built.is_err_and(|why| why.contains("both/x")));
}

#[tokio::test]
async fn what_is_ignored_is_not_there() {
    let builds = Builds::new()
        .with(".dockerignore", "secret*\nlogs\n!logs/kept\n")
        .with("secret.key", "s")
        .with("logs/a", "a")
        .with("logs/kept", "k")
        .with("app", "p");

    let built = builds.dockerfile("FROM scratch\nCOPY . /all/\n").await.unwrap();

    assert_eq!(built.names("all"), [".dockerignore", "Dockerfile", "app", "logs"]);
    assert_eq!(built.names("all/logs"), ["kept"]);
}

#[tokio::test]
async fn refusals_name_the_line_and_what_to_do() {
    for (text, words) in [
        (
            "FROM scratch\nRUN true",
            "line 2, RUN true: there is nothing that could run on 'scratch'",
        ),
        ("FROM vulcan/minimal", "line 1, FROM: "),
        (
            "FROM scratch\nCOPY ../up /",
            "'../up' leads out of where it is copied from",
        ),
        (
            "FROM scratch\nCOPY none* /",
            "line 2, COPY none* /: 'none*' is not there",
        ),
        (
            "FROM scratch\nCOPY --chown=alice file /",
            "no user or group 'alice'",
        ),
        ("FROM scratch\nCOPY --chmod=u+x file /", "'u+x' is no mode"),
        (
            "FROM scratch\nCOPY file /x\nCOPY file /x/y",
            "/x is no folder in the image",
        ),
        (
            "FROM scratch\nCOPY folder /x\nCOPY file /y\nCOPY folder /y",
            "/y is no folder in the image",
        ),
        (
            "FROM --platform=linux/s390x scratch",
            "builds nothing for linux/s390x",
        ),
        ("FROM ${none}", "comes to nothing"),
        ("FROM scratch\nENV A=${x?needed}", "x has no value: needed"),
        ("FROM scratch\nFLY", "Dockerfile: line 2, column 1"),
    ] {
        let builds = Builds::new().with("file", "f").with("folder/inner", "i");
        let why = builds.refusal(text).await;
        assert!(why.contains(words), "{text:?}: {why}");
    }
}

#[tokio::test]
async fn a_context_that_breaks_off_or_lacks_the_file_is_refused() {
    let builds = Builds::new();
    let (pieces, context) = mpsc::channel(1);
    drop(pieces);
    let (events, _told) = mpsc::channel(1);
    let broken = builds.images.build(&named("Dockerfile"), context, &events).await;
    assert!(broken.unwrap_err().detail.contains("broke off"));

    let (missing, _) = builds.build(named("other/Dockerfile")).await;
    assert!(missing.unwrap_err().contains("no file 'other/Dockerfile'"));
}

#[tokio::test]
async fn a_recipe_without_packages_needs_no_network() {
    let builds = Builds::new().with("app/run.sh", "#!/bin/sh\n").with(
        "vulcan.toml",
        "base = \"scratch\"\nworkdir = \"/app\"\nuser = \"1000\"\ncommand = [\"/app/run.sh\"]\nenv = { A = \"1\" }\n[[files]]\nfrom = \"app/*\"\nto = \"/app/\"\nmode = \"755\"\n",
    );

    let (image, _) = builds.build(named("vulcan.toml")).await;

    let built = Built::of(builds, image.unwrap()).await.unwrap();
    assert_eq!(built.mode("app/run.sh"), 0o755);
    assert_eq!(built.image.config.command, ["/app/run.sh"]);
    assert_eq!(built.image.config.user, "1000");
    let builds = Builds::new().with("vulcan.toml", "base = \"scratch\"\nworkdir = \"x\"\n");
    let (refused, _) = builds.build(named("vulcan.toml")).await;
    assert!(refused.unwrap_err().contains("workdir is 'x'"));
}
