//! `vulcan logs`: shows what a workload printed, all of it on standard output.

use std::io;

use vulcan_api::{LogLine, LogStream};
use vulcan_client::LogOptions;

use super::Context;
use crate::{
    cli::LogsArgs,
    failure::{CommandResult, Exit, Failure},
    server,
    terminal::Terminal,
};

pub(super) async fn run(context: &Context, args: &LogsArgs) -> CommandResult {
    let client = server::named_or_default(context.global.server.as_ref())?;
    let options = LogOptions {
        follow: args.follow,
        ..LogOptions::default()
    };
    let mut tail = client.logs(args.id, options);
    let mut is_line_start = true;
    while let Some(line) = tail.next().await {
        let line = line.map_err(|error| Failure::client(&format!("show the log of {}", args.id), &error))?;
        if context.global.json {
            context.terminal.print(&format!(
                "{}\n",
                serde_json::to_string(&line).map_err(io::Error::from)?
            ))?;
        } else {
            show(context.terminal, &line, args.timestamps && is_line_start)?;
            is_line_start = !line.partial;
        }
    }
    Ok(Exit::OK)
}

fn show(terminal: Terminal, line: &LogLine, has_time: bool) -> io::Result<()> {
    let mark = match line.stream {
        LogStream::System => "vulcan: ",
        LogStream::Stdout | LogStream::Stderr => "",
    };
    let text = if has_time {
        format!("{} {:6} {}", line.time, line.stream.as_str(), line.text)
    } else {
        format!("{mark}{}", line.text)
    };
    terminal.out_line(&text, !line.partial)
}
