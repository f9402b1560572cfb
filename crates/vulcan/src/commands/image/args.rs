//! The arguments of `vulcan image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vulcan_api::{ImageName, ImageReference};

/// Arguments of `image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images that are here
    Ls,
    /// Show an image: its layers, and what it says of its program
    Inspect(OneArgs),
    /// Get an image out of its registry
    Pull(PullArgs),
    /// Make the platform's own images out of Debian packages, once
    Bootstrap(BootstrapArgs),
    /// Build an image from a Dockerfile or a recipe
    Build(BuildArgs),
    /// Take an image in out of an archive: an OCI layout, or what `docker save` writes
    Import(ImportArgs),
    /// Write an image into an archive
    Export(ExportArgs),
    /// Remove images, by name or digest
    Rm(RemoveArgs),
    /// Remove what no image needs any more
    Prune(PruneArgs),
}

/// One image that is here.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// A name, or sha256: and at least 12 digits
    pub(crate) image: ImageReference,
}

/// Arguments of `image pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// [host[:port]/]repository[:tag][@sha256:digest]
    pub(crate) image: ImageName,
    /// Whom to pull as, this time [default: what the server's configuration says]
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password or token from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
}

/// Arguments of `image bootstrap`.
#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// Which ones, as vulcan/python [default: all]
    pub(crate) names: Vec<ImageName>,
}

/// Arguments of `image build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// What the image is to be called
    #[arg(long, short, value_name = "NAME")]
    pub(crate) tag: ImageName,
    /// The Dockerfile, or the recipe, whose name ends with vulcan.toml [default: CONTEXT/Dockerfile, CONTEXT/vulcan.toml]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Set an ARG of the Dockerfile; without a value it is passed on from here
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) args: Vec<String>,
    /// Stop after this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Run every step, also those whose result is kept
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// The folder that files are copied from
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
}

/// Arguments of `image import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The archive, with gzip or without; - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What it is to be called [default: the names that the archive has]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) tag: Option<ImageName>,
}

/// Arguments of `image export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A name, or sha256: and at least 12 digits
    pub(crate) image: ImageReference,
    /// Where to write it; - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write what `docker load` reads, in place of an OCI layout
    #[arg(long)]
    pub(crate) docker: bool,
}

/// Arguments of `image rm`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Names, or sha256: and at least 12 digits
    #[arg(required = true)]
    pub(crate) images: Vec<ImageReference>,
}

/// Arguments of `image prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Every image that no instance uses and no default of a runtime names
    #[arg(long)]
    pub(crate) all: bool,
}
