//! A sign of life on standard error while somebody waits at a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Terminal;

/// How often it moves.
const TICK: Duration = Duration::from_millis(100);

/// A line on standard error that shows what is waited for; invisible where no terminal is.
#[derive(Debug)]
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Starts with a text; the first tick draws it, so that what is quick shows nothing.
    pub(crate) fn start(terminal: Terminal, text: &str) -> Self {
        let target = if terminal.is_stderr {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target).with_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(text.to_owned());
        if terminal.is_stderr {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// Shows another text.
    pub(crate) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    /// Takes the line away while `write` writes.
    pub(crate) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.0.is_hidden() {
            return write();
        }
        self.0.suspend(write)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
