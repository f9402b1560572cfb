//! `image export`.

use std::{io, path::Path};

use serde::Serialize;
use tempfile::NamedTempFile;
use vulcan_api::ImageArchive;

use super::args::ExportArgs;
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Paint,
    units::bytes_for_people,
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    image: String,
    file: &'a Path,
    bytes: u64,
}

pub(super) async fn export(context: &Context, args: &ExportArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let action = format!("export {}", args.image);
    let archive = if args.docker {
        ImageArchive::Docker
    } else {
        ImageArchive::Oci
    };
    if args.output == Path::new("-") {
        if context.terminal.is_stdout {
            return Err(Failure::usage(format!(
                "could not {action}: an archive is nothing for a terminal"
            ))
            .hint("name a file with --output, or redirect standard output"));
        }
        let sent = client
            .image_export(&args.image, archive, tokio::io::stdout())
            .await;
        sent.map_err(|error| Failure::client(&action, &error))?;
        return Ok(Exit::OK);
    }
    let failed = |error: io::Error| {
        Failure::from_error(Exit::USAGE, &format!("write {}", args.output.display()), &error)
    };
    // A half archive never has the name of a whole one.
    let folder = args
        .output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let writer = tokio::fs::File::from_std(file.reopen().map_err(failed)?);
    let bytes = client
        .image_export(&args.image, archive, writer)
        .await
        .map_err(|error| Failure::client(&action, &error))?;
    file.persist(&args.output).map_err(|error| failed(error.error))?;
    let exported = Exported {
        image: args.image.to_string(),
        file: &args.output,
        bytes,
    };
    if context.global.json {
        context.terminal.print_json(&exported)?;
    } else {
        let text = format!("{}: {}", args.output.display(), bytes_for_people(bytes));
        context.terminal.err_line(&text, Paint::Plain, true);
    }
    Ok(Exit::OK)
}
