//! Showing how an image is made: bars for a person, lines for everybody else, until it is done.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vulcan_api::{Image, ImageEvent};
use vulcan_client::{ClientError, ImageEvents};

use super::list::short_digest;
use crate::{
    commands::Context,
    failure::{CommandResult, Exit, Failure},
    terminal::{Paint, Terminal, sanitized},
};

/// How often the bars move by themselves.
const TICK: Duration = Duration::from_millis(250);
/// The longest name of a bar, in characters.
const NAME_CHARS_MAX: usize = 26;

/// Follows a making to its end. `action` reads after "could not".
pub(super) async fn follow(context: &Context, action: &str, mut events: ImageEvents) -> CommandResult {
    let failed = |error: &ClientError| Failure::client(action, error);
    let mut show = Show::start(context.terminal);
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| failed(&error))?;
        if context.global.json {
            let mut line = serde_json::to_string(&event).expect("events have string keys");
            line.push('\n');
            context.terminal.print(&line)?;
        }
        match event {
            ImageEvent::Step { text } => show.line(&text, Paint::Plain),
            ImageEvent::Log { text } => show.line(&format!("  {text}"), Paint::Dim),
            ImageEvent::Progress {
                what,
                bytes,
                bytes_total,
            } => show.progress(&what, bytes, bytes_total),
            ImageEvent::Done { images } => {
                drop(show);
                if !context.global.json {
                    context.terminal.print(&made(&images))?;
                }
                return Ok(Exit::OK);
            }
            ImageEvent::Failed { problem } => {
                drop(show);
                return Err(failed(&ClientError::Problem(problem)));
            }
        }
    }
    Err(Failure::new(
        Exit::UNREACHABLE,
        format!("could not {action}: nothing was told of its end"),
    ))
}

fn made(images: &[Image]) -> String {
    let lines = images.iter().flat_map(|image| {
        let digest = short_digest(&image.digest);
        image.names.iter().map(move |name| format!("{name} {digest}\n"))
    });
    crate::terminal::sanitized_text(&lines.collect::<String>())
}

/// What is shown on standard error.
struct Show {
    terminal: Terminal,
    /// `None` where no person looks.
    bars: Option<MultiProgress>,
    named: HashMap<String, ProgressBar>,
}

impl Show {
    fn start(terminal: Terminal) -> Self {
        Self {
            terminal,
            bars: terminal.is_stderr.then(MultiProgress::new),
            named: HashMap::new(),
        }
    }

    fn line(&self, text: &str, paint: Paint) {
        match &self.bars {
            // What cannot be shown cannot be complained about either.
            Some(bars) => bars.suspend(|| self.terminal.err_line(text, paint, true)),
            None => self.terminal.err_line(text, paint, true),
        }
    }

    fn progress(&mut self, what: &str, bytes: u64, bytes_total: Option<u64>) {
        let Some(bars) = &self.bars else { return };
        let bar = self.named.entry(what.to_owned()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(bytes_total.unwrap_or(0)));
            let template = match bytes_total {
                Some(_) => "{prefix:26} {bar:30} {bytes:>10} of {total_bytes:10} {bytes_per_sec}",
                None => "{prefix:26} {spinner} {bytes:>10} {bytes_per_sec}",
            };
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            let name = sanitized(what).into_owned();
            bar.set_prefix(name.chars().take(NAME_CHARS_MAX).collect::<String>());
            bar.enable_steady_tick(TICK);
            bar
        });
        if let Some(total) = bytes_total {
            bar.set_length(total);
        }
        bar.set_position(bytes);
        if bytes_total == Some(bytes) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        for bar in self.named.values() {
            bar.finish_and_clear();
        }
    }
}
