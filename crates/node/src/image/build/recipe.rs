//! Recipes: `vulcan.toml`, an image in a few fields.

use std::collections::BTreeMap;

use serde::Deserialize;
use vulcan_api::{ImageBuild, Problem, ProblemKind};
use vulcan_bus::ImageResult;

use super::steps::{Bench, CopyJob, Standing, folders};
use crate::image::{
    Layer, LayerSource,
    bootstrap::{packages, settle, tree::Place},
    problem::{blocking, disk, problem, refuse},
};

/// An image, in fields. They are carried out in this order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// An image, or `scratch`.
    base: String,
    /// Debian packages, unpacked with what they depend on; none of their scripts is run.
    #[serde(default)]
    packages: Vec<String>,
    /// Files of the context.
    #[serde(default)]
    files: Vec<Files>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Absolute; made where it is missing.
    workdir: Option<String>,
    /// Commands for the shell of the image, each in an instance without a network, as root of the image.
    #[serde(default)]
    run: Vec<String>,
    /// Whom the image's program runs as.
    user: Option<String>,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What is copied out of the context.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    /// A pattern, as in a Dockerfile's COPY.
    from: String,
    /// Absolute; a folder where it ends with a slash.
    to: String,
    /// Octal digits.
    mode: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; root where it is left out.
    owner: Option<String>,
}

impl Recipe {
    fn parse(text: &str) -> Result<Self, String> {
        let recipe: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let absolute = |field: &str, path: &str| {
            if path.starts_with('/') {
                Ok(())
            } else {
                Err(format!("{field} is '{path}', and must be an absolute path"))
            }
        };
        for (index, files) in recipe.files.iter().enumerate() {
            absolute(&format!("files[{index}].to"), &files.to)?;
        }
        if let Some(workdir) = &recipe.workdir {
            absolute("workdir", workdir)?;
        }
        if recipe.base == "scratch" && !recipe.packages.is_empty() {
            return Err(
                "packages need a base of Debian, vulcan/minimal for example; base is 'scratch'".to_owned(),
            );
        }
        Ok(recipe)
    }
}

impl Bench<'_> {
    /// Builds what a recipe says.
    pub(super) async fn recipe(&self, build: &ImageBuild) -> ImageResult<Standing> {
        let refused = |why: String| problem(ProblemKind::ImageBuildFailed, format!("{}: {why}", build.file));
        let recipe = Recipe::parse(&self.context.file).map_err(refused)?;
        if !build.args.is_empty() || build.target.is_some() {
            return Err(refused("a recipe has neither arguments nor stages".to_owned()));
        }
        let at = |field: String| move |problem: Box<Problem>| in_field(&build.file, &field, problem);
        self.tell_step(format!("base {}", recipe.base)).await;
        let mut standing = self.base(&recipe.base).await.map_err(at("base".to_owned()))?;
        if !recipe.packages.is_empty() {
            self.tell_step(format!("packages {}", recipe.packages.join(" ")))
                .await;
            let layer = self
                .unpack_packages(&standing, &recipe.packages)
                .await
                .map_err(at("packages".to_owned()))?;
            self.push(&mut standing, layer)?;
        }
        for (index, files) in recipe.files.iter().enumerate() {
            self.tell_step(format!("files {} to {}", files.from, files.to))
                .await;
            let job = CopyJob {
                from: vec![self.context.folder()],
                patterns: vec![files.from.clone()],
                to: files.to.clone().into(),
                is_folder: files.to.ends_with('/'),
                keeps_owner: false,
                owner: files.owner.clone(),
                mode: files.mode.clone(),
                unpacks: false,
            };
            self.copy(&mut standing, job)
                .await
                .map_err(at(format!("files[{index}]")))?;
        }
        standing.config.env.extend(recipe.env);
        if let Some(workdir) = recipe.workdir {
            self.make_folder(&mut standing, &workdir)
                .await
                .map_err(at("workdir".to_owned()))?;
            standing.config.working_dir = workdir;
        }
        let base_user = std::mem::take(&mut standing.config.user);
        for (index, command) in recipe.run.iter().enumerate() {
            self.tell_step(format!("run {command}")).await;
            let argv = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
            let env = standing.config.env.clone();
            self.run(&mut standing, argv, env)
                .await
                .map_err(at(format!("run[{index}]")))?;
        }
        let config = &mut standing.config;
        config.user = recipe.user.unwrap_or(base_user);
        if let Some(entrypoint) = recipe.entrypoint {
            config.entrypoint = entrypoint;
            // A command of the base was meant for the base's entrypoint.
            config.command.clear();
        }
        if let Some(command) = recipe.command {
            config.command = command;
        }
        config.labels.extend(recipe.labels);
        Ok(standing)
    }

    /// Unpacks packages on top of what is there.
    async fn unpack_packages(&self, standing: &Standing, names: &[String]) -> ImageResult<Layer> {
        let status = self.status_of(standing).await?;
        let Some(status) = status else {
            return refuse(
                ProblemKind::ImageBuildFailed,
                "the base has no list of Debian packages (/var/lib/dpkg/status): take vulcan/minimal, or an image of Debian",
            );
        };
        let (scratch, debs) = (self.images.scratch()?, self.images.scratch()?);
        let request = packages::Request {
            packages: names,
            status: &status,
            pretended: &[],
            scratch: scratch.path(),
            debs: debs.path(),
        };
        let unpacked = packages::unpack(request, self.events).await?;
        let (unpacked, newest) = settle(unpacked, &[], Place::Upper).await?;
        self.tell(format!("unpacked {}", unpacked.packages.join(", ")))
            .await;
        self.images
            .add_layer(LayerSource::Folder(unpacked.tree), newest)
            .await
    }

    /// Returns what the base says of its packages.
    async fn status_of(&self, standing: &Standing) -> ImageResult<Option<String>> {
        const STATUS: &str = "var/lib/dpkg/status";
        let layers = folders(&standing.layers);
        blocking(move || {
            super::context::read_text(&layers, STATUS, STATUS_BYTES_MAX)
                .map_err(|error| disk("read", std::path::Path::new(STATUS), &error))
        })
        .await
    }
}

/// The longest list of packages that is read, in bytes.
const STATUS_BYTES_MAX: u64 = 32 << 20;

fn in_field(file: &str, field: &str, mut problem: Box<Problem>) -> Box<Problem> {
    problem.detail = format!("{file}, {field}: {}", problem.detail);
    problem
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recipe_is_read_whole() {
        let recipe = Recipe::parse(
            "base = \"vulcan/minimal\"\npackages = [\"jq\"]\nworkdir = \"/srv\"\nrun = [\"true\"]\nuser = \"vulcan\"\nentrypoint = [\"/app\"]\ncommand = [\"-v\"]\nenv = { A = \"1\" }\nlabels = { b = \"2\" }\n[[files]]\nfrom = \"app\"\nto = \"/app\"\nmode = \"755\"\nowner = \"0:0\"\n",
        )
        .unwrap();

        assert_eq!(recipe.packages, ["jq"]);
        assert_eq!(recipe.files[0].mode.as_deref(), Some("755"));
        assert_eq!(recipe.env["A"], "1");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            "",
            "base = 1",
            "base = \"a\"\nbaze = \"b\"",
            "base = \"a\"\n[[files]]\nfrom = \"x\"\nto = \"y\"",
            "base = \"a\"\n[[files]]\nfrom = \"x\"\nto = \"/y\"\nmod = \"1\"",
            "base = \"a\"\nworkdir = \"x\"",
            "base = \"scratch\"\npackages = [\"jq\"]",
        ]
        .map(|text| Recipe::parse(text).unwrap_err());

        for (error, word) in
            table
                .iter()
                .zip(["base", "base", "baze", "files[0].to", "mod", "workdir", "scratch"])
        {
            assert!(error.contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            let _ = Recipe::parse(&text);
        }
    }
}
