//! What brings images here: `image pull`, `bootstrap`, `build`, `import`.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
};

use vulcan_api::{ImageBootstrap, ImageBuild, ImagePull, RegistryCredentials};

use super::{
    args::{BootstrapArgs, BuildArgs, ImportArgs, PullArgs},
    context,
    follow::follow,
};
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    server,
};

/// The longest password; tokens of cloud registries take some thousand bytes.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

pub(super) async fn pull(context: &Context, args: &PullArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let action = format!("pull {}", args.image);
    if args.image.is_own() {
        return Err(Failure::usage(format!("could not {action}: no registry has it"))
            .hint(format!("it is made here: vulcan image bootstrap {}", args.image)));
    }
    let pull = ImagePull {
        image: args.image.clone(),
        credentials: credentials(args)?,
    };
    let events = client.image_pull(&pull).await;
    let events = events.map_err(|error| Failure::client(&action, &error))?;
    follow(context, &action, events).await
}

fn credentials(args: &PullArgs) -> Result<Option<RegistryCredentials>, Failure> {
    let Some(username) = &args.username else {
        return Ok(None);
    };
    let mut password = String::new();
    io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX)
        .read_to_string(&mut password)
        .map_err(|error| Failure::from_error(Exit::USAGE, "read the password", &error))?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Failure::usage(
            "could not read the password: standard input is empty",
        ));
    }
    Ok(Some(RegistryCredentials {
        username: username.clone(),
        password,
    }))
}

pub(super) async fn bootstrap(context: &Context, args: &BootstrapArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    if let Some(foreign) = args.names.iter().find(|name| !name.is_own()) {
        return Err(Failure::usage(format!(
            "could not make {foreign}: it is not one of the platform's own"
        ))
        .hint("those are vulcan/minimal, vulcan/python, vulcan/node and vulcan/go; others are pulled"));
    }
    let bootstrap = ImageBootstrap {
        names: args.names.clone(),
    };
    let action = "make the images";
    let events = client.image_bootstrap(&bootstrap).await;
    let events = events.map_err(|error| Failure::client(action, &error))?;
    follow(context, action, events).await
}

pub(super) async fn build(context: &Context, args: &BuildArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let action = format!("build {}", args.tag);
    let file = context::file(&args.context, args.file.as_deref())?;
    let build = ImageBuild {
        name: args.tag.clone(),
        args: values(&args.args)?,
        target: args.target.clone(),
        no_cache: args.no_cache,
        file: file.clone(),
    };
    let folder = args.context.clone();
    let packing = tokio::task::spawn_blocking(move || context::pack(&folder, &file));
    let packed = packing
        .await
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "pack the context", &error))?;
    let archive = packed.map_err(|error| Failure::from_error(Exit::USAGE, "pack the context", &error))?;
    let events = client
        .image_build(&build, tokio::fs::File::from_std(archive))
        .await;
    let events = events.map_err(|error| Failure::client(&action, &error))?;
    follow(context, &action, events).await
}

/// Reads `--build-arg`: `NAME=VALUE`, or `NAME` for the value that it has here.
fn values(entries: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let value = |entry: &String| match entry.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match std::env::var(entry) {
            Ok(value) => Ok((entry.clone(), value)),
            Err(_) => Err(Failure::usage(format!(
                "could not pass on --build-arg {entry}: it is not set here, or is no UTF-8"
            ))
            .hint(format!("give it a value: --build-arg {entry}=VALUE"))),
        },
    };
    entries.iter().map(value).collect()
}

pub(super) async fn import(context: &Context, args: &ImportArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let action = format!("import {}", args.file.display());
    let events = if args.file == Path::new("-") {
        client.image_import(args.tag.as_ref(), tokio::io::stdin()).await
    } else {
        let file = tokio::fs::File::open(&args.file).await;
        let file = file.map_err(|error| Failure::from_error(Exit::USAGE, &action, &error))?;
        client.image_import(args.tag.as_ref(), file).await
    };
    let events = events.map_err(|error| Failure::client(&action, &error))?;
    follow(context, &action, events).await
}
