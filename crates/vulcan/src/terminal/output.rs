//! What standard output and standard error are, and writing to them.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::Value;

use super::{Table, sanitized, sanitized_text};

/// Where words get a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// In the background: what the platform says beside the program.
    Dim,
    /// A failure.
    Error,
}

/// Standard output and standard error, and what may be written to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether a person reads standard output.
    pub(crate) is_stdout: bool,
    /// Whether a person reads standard error.
    pub(crate) is_stderr: bool,
    has_stdout_colour: bool,
    has_stderr_colour: bool,
}

impl Terminal {
    /// Looks at both; `NO_COLOR`, `CLICOLOR` and `TERM=dumb` are respected.
    pub(crate) fn detect() -> Self {
        let may = |choice| choice != anstream::ColorChoice::Never;
        Self {
            is_stdout: io::stdout().is_terminal(),
            is_stderr: io::stderr().is_terminal(),
            has_stdout_colour: io::stdout().is_terminal() && may(anstream::AutoStream::choice(&io::stdout())),
            has_stderr_colour: io::stderr().is_terminal() && may(anstream::AutoStream::choice(&io::stderr())),
        }
    }

    /// Writes one line of foreign text to standard output, harmless if a person reads it.
    pub(crate) fn out_line(self, text: &str, has_end: bool) -> io::Result<()> {
        let text = if self.is_stdout {
            sanitized(strip_return(text))
        } else {
            text.into()
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if has_end {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Writes one line of foreign text to standard error, harmless if a person reads it. Errors are not to be had.
    pub(crate) fn err_line(self, text: &str, paint: Paint, has_end: bool) {
        let text = if self.is_stderr {
            sanitized(strip_return(text))
        } else {
            text.into()
        };
        let end = if has_end { "\n" } else { "" };
        // There is nowhere left to complain.
        io::stderr()
            .lock()
            .write_all(format!("{}{end}", self.painted(&text, paint)).as_bytes())
            .ok();
    }

    /// Writes text of ours to standard output.
    pub(crate) fn print(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a table.
    pub(crate) fn print_table(self, table: Table) -> io::Result<()> {
        self.print(&table.render(self.is_stdout.then(width).flatten(), self.has_stdout_colour))
    }

    /// Writes a value as the API has it, on several lines.
    pub(crate) fn print_json(self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.print(&text)
    }

    /// Writes a workload's output: a text as it is, everything else as JSON.
    pub(crate) fn print_output(self, output: &Value) -> io::Result<()> {
        match output {
            Value::String(text) if self.is_stdout => self.print(&format!("{}\n", sanitized_text(text))),
            Value::String(text) => self.print(&format!("{text}\n")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                // JSON escapes C0 controls by itself; the others are left.
                let text = serde_json::to_string_pretty(output)?;
                let text = if self.is_stdout {
                    sanitized_text(&text)
                } else {
                    text
                };
                self.print(&format!("{text}\n"))
            }
        }
    }

    fn painted(self, text: &str, paint: Paint) -> String {
        use owo_colors::OwoColorize;
        if !self.has_stderr_colour {
            return text.to_owned();
        }
        match paint {
            Paint::Plain => text.to_owned(),
            Paint::Dim => text.dimmed().to_string(),
            Paint::Error => text.red().to_string(),
        }
    }
}

/// Lines of DOS programs end with a carriage return that says nothing.
fn strip_return(text: &str) -> &str {
    text.strip_suffix('\r').unwrap_or(text)
}

fn width() -> Option<u16> {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 20)
}
