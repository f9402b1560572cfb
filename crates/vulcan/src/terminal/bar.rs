//! How far something is, on standard error, while somebody waits at a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Terminal, sanitized};

/// How often its clock moves.
const TICK: Duration = Duration::from_millis(250);

/// A bar on standard error, until it is dropped; nothing where no terminal is.
///
/// Nothing else may be written to the terminal while it lives.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Starts at nothing; `None` where no terminal is.
    pub(crate) fn start(terminal: Terminal) -> Option<Self> {
        if !terminal.is_stderr {
            return None;
        }
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {elapsed} {wide_msg}");
        let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        Some(Self(bar))
    }

    /// Shows how far it is, and what is being done.
    pub(crate) fn show(&self, done: u32, total: u32, what: &str) {
        self.0.set_length(u64::from(total.max(1)));
        self.0.set_position(u64::from(done));
        self.0.set_message(sanitized(what).into_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
