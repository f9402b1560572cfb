//! `image ls` and `image inspect`.

use vulcan_api::{Clock, Image, ImageLayer, ImageList, SystemClock, Timestamp};

use super::args::OneArgs;
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::{Table, fields},
    units::bytes_for_people,
};

/// How much of a digest is shown: what names the image all the same.
const DIGEST_CHARS: usize = "sha256:".len() + vulcan_api::IMAGE_DIGEST_DIGITS_MIN;

pub(super) async fn list(context: &Context) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let images = client.images().await;
    let list = images.map_err(|error| Failure::client("list the images", &error))?;
    if context.global.json {
        context.terminal.print_json(&list)?;
        return Ok(Exit::OK);
    }
    context.terminal.print_table(table(&list, SystemClock.now()))?;
    if context.terminal.is_stdout {
        context.terminal.print(&format!(
            "{} of {} in use\n",
            bytes_for_people(list.disk_bytes),
            bytes_for_people(list.disk_bytes_max)
        ))?;
    }
    Ok(Exit::OK)
}

pub(super) async fn inspect(context: &Context, args: &OneArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let image = client.image(&args.image).await;
    let image = image.map_err(|error| Failure::client(&format!("show {}", args.image), &error))?;
    if context.global.json {
        context.terminal.print_json(&image)?;
    } else {
        context.terminal.print_table(shown(&image))?;
    }
    Ok(Exit::OK)
}

/// Cuts a digest down to what is needed.
pub(super) fn short_digest(digest: &str) -> &str {
    digest.get(..DIGEST_CHARS).unwrap_or(digest)
}

fn table(list: &ImageList, now: Timestamp) -> Table {
    let mut table = Table::new(&["IMAGE", "DIGEST", "SIZE", "LAYERS", "LAST USED", "IN USE"]);
    for image in &list.images {
        let names: Vec<String> = match image.names.as_slice() {
            [] => vec!["-".to_owned()],
            names => names.iter().map(ToString::to_string).collect(),
        };
        for name in names {
            table.row([
                name,
                short_digest(&image.digest).to_owned(),
                bytes_for_people(image.unpacked_bytes),
                image.layers.len().to_string(),
                crate::commands::ls::age(image.used_at, now),
                image.in_use.to_string(),
            ]);
        }
    }
    table
}

fn shown(image: &Image) -> Table {
    let words = |words: &[String]| (!words.is_empty()).then(|| serde_json::Value::from(words).to_string());
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let config = &image.config;
    let mut table = fields([
        ("digest", Some(image.digest.clone())),
        ("platform", Some(image.platform.clone())),
        ("node", Some(image.node.to_string())),
        ("size", Some(bytes_for_people(image.unpacked_bytes))),
        ("packed", Some(bytes_for_people(image.packed_bytes))),
        ("made", image.created_at.map(|at| at.to_string())),
        ("here since", Some(image.added_at.to_string())),
        ("last used", Some(image.used_at.to_string())),
        ("in use", Some(format!("{} instances", image.in_use))),
        ("entrypoint", words(&config.entrypoint)),
        ("command", words(&config.command)),
        ("folder", text(&config.working_dir)),
        ("user", text(&config.user)),
    ]);
    let names = image.names.iter().map(ToString::to_string);
    let pair = |(name, value): (&String, &String)| format!("{name}={value}");
    let layer = |layer: &ImageLayer| {
        format!(
            "{} {}",
            short_digest(&layer.digest),
            bytes_for_people(layer.unpacked_bytes)
        )
    };
    rows(&mut table, "names", names);
    rows(&mut table, "env", config.env.iter().map(pair));
    rows(&mut table, "labels", config.labels.iter().map(pair));
    rows(&mut table, "layers", image.layers.iter().map(layer));
    table
}

/// Adds a row per value, the first one with the name.
fn rows(table: &mut Table, name: &str, values: impl Iterator<Item = String>) {
    for (index, value) in values.enumerate() {
        let name = if index == 0 { name } else { "" };
        table.row([name.to_owned(), value]);
    }
}
