//! `vulcan serve`: the server in the foreground.
//!
//! The first signal drains, the second aborts. What the start found, and where the server listens, goes to standard
//! output; the log goes to standard error.

use std::time::Duration;

use serde::Serialize;
use vulcan_api::{BackendInfo, BackendList};

use super::{
    Context,
    backends::{reasons, state},
    missing::Missing,
};
use crate::{
    cli::ServeArgs,
    config::{self, Config},
    embedded::{config_failure, utf8},
    failure::{CommandResult, Exit, Failure},
    paths,
    platform::{Listen, Platform, PlatformError, PlatformOptions},
    signals::Signals,
    terminal::Paint,
};

/// How long the node's first report may take before the start is shown without it.
const BACKENDS_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked for.
const BACKENDS_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn run(context: &Context, args: &ServeArgs) -> CommandResult {
    let config = configuration(args)?;
    if args.print_config {
        context.terminal.print(&config.to_toml())?;
        return Ok(Exit::OK);
    }
    let mut signals = Signals::listen()
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "listen for signals", &error))?;
    let drain_timeout = config.server.drain_timeout;
    let platform = Platform::start(options(config)?)
        .await
        .map_err(|error| failure(&error))?;
    // A reader that does not want to hear more is no reason to stop serving.
    announce(context, &platform).await.ok();
    let signal = signals.next().await;
    shut_down(context, platform, &mut signals, (signal, drain_timeout)).await
}

/// What `--json` prints once the server serves.
#[derive(Debug, Serialize)]
struct Started<'a> {
    url: String,
    node: &'a str,
    swept: &'a [String],
    unfinished: &'a [String],
    backends: &'a [BackendInfo],
}

async fn announce(context: &Context, platform: &Platform) -> std::io::Result<()> {
    let summary = platform.summary();
    let backends = first_backends(platform).await;
    let url = summary.endpoint.to_string();
    if context.global.json {
        return context.terminal.print_json(&Started {
            url,
            node: summary.node.as_str(),
            swept: &summary.swept,
            unfinished: &summary.unfinished,
            backends: &backends,
        });
    }
    let mut text = format!("vulcan {} · node {}\n", env!("CARGO_PKG_VERSION"), summary.node);
    for line in summary.swept.iter().chain(&summary.unfinished) {
        text.push_str(&format!("found: {line}\n"));
    }
    if summary.swept.is_empty() && summary.unfinished.is_empty() {
        text.push_str("found: nothing left over from a former run\n");
    }
    for backend in &backends {
        text.push_str(&backend_line(backend));
    }
    let list = BackendList { backends };
    if let Some(command) = Missing::of(&list).bootstrap() {
        text.push_str(&format!("images are missing, which are made once: {command}\n"));
    }
    text.push_str(&format!("listening on {url}\n"));
    context.terminal.print(&crate::terminal::sanitized_text(&text))
}

fn backend_line(backend: &BackendInfo) -> String {
    let runtimes: Vec<&str> = backend
        .runtimes
        .iter()
        .filter(|info| info.available)
        .map(|info| info.runtime.as_str())
        .collect();
    let mut line = format!(
        "{}: {}; runs {}\n",
        backend.isolation,
        state(&backend.readiness),
        if runtimes.is_empty() {
            "nothing".to_owned()
        } else {
            runtimes.join(", ")
        }
    );
    for reason in reasons(&backend.readiness) {
        line.push_str(&format!("  - {reason}\n"));
    }
    line
}

/// Asks the server itself until its node has reported.
async fn first_backends(platform: &Platform) -> Vec<BackendInfo> {
    let asking = async {
        loop {
            match platform.client().backends().await {
                Ok(list) if !list.backends.is_empty() => return list.backends,
                Ok(_) | Err(_) => tokio::time::sleep(BACKENDS_EVERY).await,
            }
        }
    };
    tokio::time::timeout(BACKENDS_LIMIT, asking)
        .await
        .unwrap_or_default()
}

async fn shut_down(
    context: &Context,
    platform: Platform,
    signals: &mut Signals,
    (signal, drain_timeout): (&str, Duration),
) -> CommandResult {
    let say = |text: &str| context.terminal.err_line(text, Paint::Plain, true);
    say(&format!(
        "{signal}: waiting for {} workloads; a second signal stops them",
        platform.unfinished()
    ));
    // Cancel-safe: a drain may be dropped, and an abort follows.
    let is_drained = tokio::select! {
        () = platform.drain() => true,
        name = signals.next() => {
            say(&format!("{name}: stopping {} workloads", platform.unfinished()));
            false
        }
        () = tokio::time::sleep(drain_timeout) => {
            say(&format!("{drain_timeout:?} are over: stopping {} workloads", platform.unfinished()));
            false
        }
    };
    if !is_drained {
        platform.abort().await;
    }
    if platform.join().await {
        say("stopped");
        return Ok(Exit::OK);
    }
    Err(Failure::new(
        Exit::PLATFORM,
        "could not stop in order: some requests or records were still in use",
    )
    .hint("nothing that was acknowledged is lost; the next start takes it up"))
}

fn configuration(args: &ServeArgs) -> Result<Config, Failure> {
    let flag = |key: &str, value: Option<String>, name: &str| {
        value.map(|value| (key.to_owned(), value, name.to_owned()))
    };
    let data_dir = args.data_dir.as_ref().map(|path| path.display().to_string());
    let named = [
        flag("server.listen", args.listen.clone(), "--listen"),
        flag("server.data_dir", data_dir, "--data-dir"),
    ];
    let settings = args
        .settings
        .iter()
        .map(|(key, value)| (key.clone(), value.clone(), "--set".to_owned()));
    config::load(
        args.config.as_deref(),
        std::env::vars_os().filter_map(utf8),
        settings.chain(named.into_iter().flatten()),
    )
    .map_err(|error| config_failure(&error))
}

fn options(config: Config) -> Result<PlatformOptions, Failure> {
    let listen = Listen::parse(&config.server.listen).map_err(|error| failure(&error))?;
    let data_dir = paths::data_dir_of(&config)?;
    let cache_dir = paths::cache_dir_of(&config)?;
    Ok(PlatformOptions {
        config,
        ..PlatformOptions::new(data_dir, cache_dir, listen)
    })
}

fn failure(error: &PlatformError) -> Failure {
    let exit = if error.is_usage() {
        Exit::USAGE
    } else {
        Exit::PLATFORM
    };
    let failure = Failure::from_error(exit, "start the server", error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
