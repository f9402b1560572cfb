//! A sign of life on standard error while somebody waits at a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use super::Terminal;

/// How often it moves.
const TICK: Duration = Duration::from_millis(100);
/// What is over by then never shows it.
const DELAY: Duration = Duration::from_millis(300);

/// A line on standard error that shows what is waited for, until it is dropped; nothing where no terminal is.
///
/// Nothing else may be written to the terminal while it lives.
#[derive(Debug)]
pub(crate) struct Spinner {
    bar: ProgressBar,
    showing: JoinHandle<()>,
}

impl Spinner {
    /// Starts with a text; `None` where no terminal is.
    pub(crate) fn start(terminal: Terminal, text: &str) -> Option<Self> {
        if !terminal.is_stderr {
            return None;
        }
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
            .with_message(text.to_owned());
        let shown = bar.clone();
        let showing = tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
            shown.set_draw_target(ProgressDrawTarget::stderr());
            shown.enable_steady_tick(TICK);
        });
        Some(Self { bar, showing })
    }

    /// Shows another text.
    pub(crate) fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.showing.abort();
        self.bar.finish_and_clear();
    }
}
