//! `image rm` and `image prune`.

use vulcan_api::{ImagePrune, ImagesRemoved};

use super::{
    args::{PruneArgs, RemoveArgs},
    list::short_digest,
};
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::sanitized_text,
    units::bytes_for_people,
};

pub(super) async fn remove(context: &Context, args: &RemoveArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let mut removed = ImagesRemoved::default();
    for image in &args.images {
        let gone = client.image_remove(image).await;
        let gone = gone.map_err(|error| Failure::client(&format!("remove {image}"), &error))?;
        removed.names.extend(gone.names);
        removed.digests.extend(gone.digests);
        removed.freed_bytes += gone.freed_bytes;
    }
    show(context, &removed)
}

pub(super) async fn prune(context: &Context, args: &PruneArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let gone = client.image_prune(&ImagePrune { all: args.all }).await;
    let removed = gone.map_err(|error| Failure::client("remove what nobody needs", &error))?;
    show(context, &removed)
}

fn show(context: &Context, removed: &ImagesRemoved) -> CommandResult {
    if context.global.json {
        context.terminal.print_json(removed)?;
        return Ok(Exit::OK);
    }
    let mut text = String::new();
    for name in &removed.names {
        text.push_str(&format!("{name}\n"));
    }
    for digest in &removed.digests {
        text.push_str(&format!("{}\n", short_digest(digest)));
    }
    text.push_str(&format!(
        "{} are free again\n",
        bytes_for_people(removed.freed_bytes)
    ));
    context.terminal.print(&sanitized_text(&text))?;
    Ok(Exit::OK)
}
