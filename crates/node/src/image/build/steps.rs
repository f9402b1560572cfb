//! What a build is made of, whatever file describes it: layers one after the other, each had from an earlier build where nothing
//! that it depends on has changed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use vulcan_api::{ImageConfig, ImageEvent, Problem, ProblemKind};
use vulcan_backend::Backend;
use vulcan_bus::ImageResult;

use super::{
    archive::{self, Kind},
    context::Context,
    copy::{self, CopyError, Owner, Target, Upper},
    merged::Merged,
    run::Run,
};
use crate::image::{
    Digest, Events, Images, Layer, LayerSource, Meaning, UnpackLimits,
    problem::{blocking, disk, is_full, problem, refuse, unpacking},
    unpack,
};

/// Changes when steps would be carried out differently: what was kept before then does not count.
const STEPS_VERSION: u32 = 1;
/// Where programs are looked for where an image does not say.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// The lowest first; none where nothing was written yet.
    pub(super) layers: Vec<Layer>,
    pub(super) config: ImageConfig,
}

/// One build.
pub(super) struct Bench<'a> {
    pub(super) images: &'a Images,
    pub(super) events: &'a Events,
    pub(super) context: &'a Context,
    /// Whether results of earlier builds count.
    pub(super) keeps: bool,
    backend: OnceCell<Arc<dyn Backend>>,
}

/// What is copied, and where to.
#[derive(Debug, Clone)]
pub(super) struct CopyJob {
    /// Folders that are one filesystem, the lowest first.
    pub(super) from: Vec<PathBuf>,
    pub(super) patterns: Vec<String>,
    /// Absolute.
    pub(super) to: PathBuf,
    pub(super) is_folder: bool,
    /// Whether owners are kept where none is given: between images, and not from a context.
    pub(super) keeps_owner: bool,
    pub(super) owner: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) unpacks: bool,
}

/// What a step's result depends on.
#[derive(Serialize)]
struct Key<'a> {
    version: u32,
    layers: Vec<&'a str>,
    step: KeyOf<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum KeyOf<'a> {
    Run {
        argv: &'a [String],
        env: &'a BTreeMap<String, String>,
        working_dir: &'a str,
        user: &'a str,
    },
    Copy {
        content: &'a str,
        /// Names count where files are put under theirs.
        chosen: Vec<String>,
        to: String,
        is_folder: bool,
        owner: Option<(u32, u32)>,
        mode: Option<u32>,
        unpacks: bool,
    },
}

impl<'a> Bench<'a> {
    pub(super) fn new(images: &'a Images, context: &'a Context, keeps: bool, events: &'a Events) -> Self {
        Self {
            images,
            events,
            context,
            keeps,
            backend: OnceCell::new(),
        }
    }

    pub(super) async fn tell(&self, text: impl Into<String>) {
        // Whoever listened may be gone.
        let _ = self.events.send(ImageEvent::Log { text: text.into() }).await;
    }

    pub(super) async fn tell_step(&self, text: impl Into<String>) {
        // Whoever listened may be gone.
        let _ = self.events.send(ImageEvent::Step { text: text.into() }).await;
    }

    /// Runs a command, and puts what it changed on top.
    pub(super) async fn run(
        &self,
        standing: &mut Standing,
        argv: Vec<String>,
        mut env: BTreeMap<String, String>,
    ) -> ImageResult<()> {
        if standing.layers.is_empty() {
            return refuse(
                ProblemKind::ImageBuildFailed,
                "there is nothing that could run on 'scratch': copy something first",
            );
        }
        env.entry("PATH".to_owned()).or_insert_with(|| PATH.to_owned());
        let config = &standing.config;
        let working_dir = if config.working_dir.is_empty() {
            "/"
        } else {
            &config.working_dir
        };
        let key = key(
            &standing.layers,
            KeyOf::Run {
                argv: &argv,
                env: &env,
                working_dir,
                user: &config.user,
            },
        )?;
        if let Some(layer) = self.kept(&key).await {
            return self.push(standing, layer);
        }
        let backend = self.backend.get_or_try_init(|| self.images.builder()).await?;
        let run = Run {
            argv,
            env,
            working_dir: working_dir.to_owned(),
            user: config.user.clone(),
            layers: &standing.layers,
        };
        let layer = self.images.run_step(run, backend.as_ref(), self.events).await?;
        self.images.keep_step(&key, &layer).await?;
        self.push(standing, layer)
    }

    /// Copies files, and puts them on top.
    pub(super) async fn copy(&self, standing: &mut Standing, job: CopyJob) -> ImageResult<()> {
        let below = folders(&standing.layers);
        let (job, plan) = blocking(move || {
            let plan = plan(&job, &below).map_err(|error| refused(&error))?;
            Ok((job, plan))
        })
        .await?;
        let key = key(
            &standing.layers,
            KeyOf::Copy {
                content: plan.content.as_str(),
                chosen: plan
                    .chosen
                    .iter()
                    .map(|path| path.to_string_lossy().into_owned())
                    .collect(),
                to: job.to.to_string_lossy().into_owned(),
                is_folder: job.is_folder,
                owner: match plan.target.owner {
                    Owner::Given(user, group) => Some((user, group)),
                    Owner::Kept => None,
                },
                mode: plan.target.mode,
                unpacks: job.unpacks,
            },
        )?;
        if let Some(layer) = self.kept(&key).await {
            return self.push(standing, layer);
        }
        let below = folders(&standing.layers);
        let limits = self.images.limits();
        let layer = self
            .make_layer(move |folder, upper| write(&job, plan, &below, (folder, upper), limits))
            .await?;
        self.images.keep_step(&key, &layer).await?;
        self.push(standing, layer)
    }

    /// Makes a folder where there is none, and puts it on top.
    pub(super) async fn make_folder(&self, standing: &mut Standing, path: &str) -> ImageResult<()> {
        let below = folders(&standing.layers);
        let path = PathBuf::from(path);
        let wanted = path.clone();
        let is_there = blocking(move || {
            let failed = |error: io::Error| disk("read", &wanted, &error);
            let below = Merged::open(&below).map_err(failed)?;
            let resolved = below.resolve(&wanted).map_err(failed)?;
            let found = below.find(&resolved).map_err(failed)?;
            Ok(resolved.as_os_str().is_empty() || found.is_some_and(|found| found.is_folder()))
        })
        .await?;
        if is_there {
            return Ok(());
        }
        let below = folders(&standing.layers);
        let layer = self
            .make_layer(move |_, upper| {
                let below = Merged::open(&below).map_err(|error| disk("read", &path, &error))?;
                Upper::open(upper, &below)
                    .and_then(|upper| upper.folder(&path))
                    .map_err(|error| refused(&error))?;
                Ok(())
            })
            .await?;
        self.push(standing, layer)
    }

    /// Puts a layer on top of others.
    pub(super) fn push(&self, standing: &mut Standing, layer: Layer) -> ImageResult<()> {
        standing.layers.push(layer);
        let layers_max = self.images.setup.options.build.layers_max;
        if standing.layers.len() > layers_max {
            return refuse(
                ProblemKind::ImageBuildFailed,
                format!("the image becomes more than {layers_max} layers: join steps with &&"),
            );
        }
        Ok(())
    }

    /// Makes a layer out of what is written into an empty folder; it lies in a folder of the step's own.
    pub(super) async fn make_layer(
        &self,
        write: impl FnOnce(&Path, &Path) -> ImageResult<()> + Send + 'static,
    ) -> ImageResult<Layer> {
        let scratch = self.images.scratch()?;
        let (scratch, upper) = blocking(move || {
            let upper = scratch.path().join("upper");
            fs::create_dir(&upper).map_err(|error| disk("make", &upper, &error))?;
            write(scratch.path(), &upper)?;
            Ok((scratch, upper))
        })
        .await?;
        let layer = self
            .images
            .add_layer(LayerSource::Folder(upper), self.images.setup.clock.now())
            .await;
        drop(scratch);
        layer
    }

    async fn kept(&self, key: &Digest) -> Option<Layer> {
        let layer = self.keeps.then(|| self.images.step(key)).flatten()?;
        self.tell("kept from an earlier build").await;
        Some(layer)
    }
}

pub(super) fn folders(layers: &[Layer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| layer.folder.clone()).collect()
}

fn key(layers: &[Layer], step: KeyOf<'_>) -> ImageResult<Digest> {
    let key = Key {
        version: STEPS_VERSION,
        layers: layers.iter().map(|layer| layer.diff_id.as_str()).collect(),
        step,
    };
    let text = serde_json::to_vec(&key)
        .map_err(|error| problem(ProblemKind::Internal, format!("a step has no key: {error}")))?;
    Ok(Digest::of(&text))
}

/// What a copy comes down to.
struct Plan {
    chosen: Vec<PathBuf>,
    content: Digest,
    target: Target,
}

fn plan(job: &CopyJob, below: &[PathBuf]) -> Result<Plan, CopyError> {
    let opened = |folders: &[PathBuf]| Merged::open(folders).map_err(|error| CopyError::disk(&job.to, error));
    let (from, below) = (opened(&job.from)?, opened(below)?);
    let owner = match &job.owner {
        Some(text) => {
            let (user, group) = copy::owner(&below, text)?;
            Owner::Given(user, group)
        }
        None if job.keeps_owner => Owner::Kept,
        None => Owner::Given(0, 0),
    };
    let chosen = copy::choose(&from, &job.patterns)?;
    Ok(Plan {
        content: copy::fingerprint(&from, &chosen, owner)?,
        chosen,
        target: Target {
            to: job.to.clone(),
            is_folder: job.is_folder,
            owner,
            mode: job.mode.as_deref().map(copy::mode).transpose()?,
        },
    })
}

/// Writes what a plan says into `upper`; `folder`, which it is in, is ours as well.
fn write(
    job: &CopyJob,
    plan: Plan,
    below: &[PathBuf],
    (folder, upper): (&Path, &Path),
    limits: UnpackLimits,
) -> ImageResult<()> {
    let failed = |error: io::Error| disk("read", &job.to, &error);
    let (from, below) = (
        Merged::open(&job.from).map_err(failed)?,
        Merged::open(below).map_err(failed)?,
    );
    let upper = Upper::open(upper, &below).map_err(|error| refused(&error))?;
    let mut files = Vec::new();
    for (index, path) in plan.chosen.into_iter().enumerate() {
        let archive = if job.unpacks {
            archive_at(&from, &path)?
        } else {
            None
        };
        let Some(archive) = archive else {
            files.push(path);
            continue;
        };
        let unpacked = folder.join(format!("unpacked-{index}"));
        fs::create_dir(&unpacked).map_err(|error| disk("make", &unpacked, &error))?;
        unpack(
            archive,
            &unpacked,
            Meaning::Plain,
            limits,
            &CancellationToken::new(),
        )
        .map_err(|error| unpacking(path.display(), &error))?;
        let target = Target {
            owner: Owner::Kept,
            mode: None,
            is_folder: true,
            ..plan.target.clone()
        };
        let unpacked = Merged::open(&[unpacked]).map_err(failed)?;
        upper
            .copy(&unpacked, &[PathBuf::new()], &target)
            .map_err(|error| refused(&error))?;
    }
    upper
        .copy(&from, &files, &plan.target)
        .map_err(|error| refused(&error))
}

/// Opens a file that is an archive to be unpacked.
fn archive_at(from: &Merged, path: &Path) -> ImageResult<Option<fs::File>> {
    let failed = |error: io::Error| disk("read", path, &error);
    let Some(found) = from
        .find(path)
        .map_err(failed)?
        .filter(|found| found.kind().is_file())
    else {
        return Ok(None);
    };
    let mut file = from.read(&found).map_err(failed)?;
    match archive::kind(&mut file).map_err(failed)? {
        Kind::Tar => Ok(Some(file)),
        Kind::File => Ok(None),
        Kind::Other(how) => refuse(
            ProblemKind::ImageBuildFailed,
            format!(
                "'{}' is packed with {how}, and only gzip and zstd are unpacked; COPY takes it as it is",
                path.display()
            ),
        ),
    }
}

/// Says why something was not copied.
fn refused(error: &CopyError) -> Box<Problem> {
    match error {
        CopyError::Disk { source, .. } if is_full(source) => disk("write", Path::new("a layer"), source),
        _ => problem(ProblemKind::ImageBuildFailed, error.to_string()),
    }
}
