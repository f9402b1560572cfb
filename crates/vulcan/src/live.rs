//! Showing a workload while it runs and when it is over.
//!
//! Standard output carries the output and nothing else: what a script prints, as it prints it, or what a handler returns,
//! at the end. Everything else goes to standard error. Whether code has a handler is guessed before it runs (see
//! [`crate::mode`]); where the guess was wrong, the output is still printed, once.

use std::io;

use serde_json::Value;
use vulcan_api::{ErrorCode, LogLine, LogStream, Status, Workload};

use crate::{
    failure::Exit,
    mode::Mode,
    terminal::{Paint, Spinner, Terminal},
    units::millis_for_people,
};

/// How much of what a script printed is kept to see whether it was its output. More than that was a script's for sure.
const PRINTED_BYTES_MAX: usize = 4 << 20;

/// Where a program's standard output goes while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// To ours: it is the output.
    Stdout,
    /// To standard error: it is log.
    Stderr,
}

/// The display of one workload.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: Terminal,
    spinner: Option<Spinner>,
    sink: Sink,
    is_json: bool,
    /// Whether the program's own words on its failure were shown: then they are not said again.
    has_log: bool,
    printed: Option<String>,
}

impl Live {
    /// Starts to show. With `is_json` standard output is kept for the record.
    pub(crate) fn start(terminal: Terminal, mode: Mode, is_json: bool) -> Self {
        let sink = match mode {
            Mode::Script if !is_json => Sink::Stdout,
            Mode::Script | Mode::Handler => Sink::Stderr,
        };
        Self {
            terminal,
            spinner: Spinner::start(terminal, "running"),
            sink,
            is_json,
            has_log: true,
            printed: Some(String::new()),
        }
    }

    /// Starts to wait without the log: nothing of the output has been seen, whatever the code is.
    pub(crate) fn without_log(terminal: Terminal, is_json: bool) -> Self {
        Self {
            has_log: false,
            ..Self::start(terminal, Mode::Handler, is_json)
        }
    }

    /// Says what is waited for, where a person waits.
    pub(crate) fn say(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.say(text),
            None if self.terminal.is_stderr => self.terminal.err_line(text, Paint::Dim, true),
            None => {}
        }
    }

    /// Shows a line of the log.
    ///
    /// # Errors
    ///
    /// What writing to standard output brings.
    pub(crate) fn line(&mut self, line: &LogLine) -> io::Result<()> {
        let terminal = self.terminal;
        let has_end = !line.partial;
        let sink = match line.stream {
            LogStream::Stdout => self.sink,
            LogStream::Stderr | LogStream::System => Sink::Stderr,
        };
        if line.stream == LogStream::Stdout {
            self.remember(line);
        }
        let paint = match line.stream {
            LogStream::System => Paint::Dim,
            LogStream::Stdout | LogStream::Stderr => Paint::Plain,
        };
        // What the program prints is sign of life enough, and a spinner would wipe out a line that has no end yet.
        self.spinner = None;
        match sink {
            Sink::Stdout => terminal.out_line(&line.text, has_end),
            Sink::Stderr => {
                terminal.err_line(&line.text, paint, has_end);
                Ok(())
            }
        }
    }

    /// Shows how it ended, and returns the exit code.
    ///
    /// # Errors
    ///
    /// What writing to standard output brings.
    pub(crate) fn finish(mut self, workload: &Workload) -> io::Result<Exit> {
        self.spinner = None;
        if self.is_json {
            self.terminal.print_json(workload)?;
        } else if let Some(output) = &workload.output
            && !self.has_shown(output)
        {
            self.terminal.print_output(output)?;
        }
        self.explain(workload);
        Ok(exit_of(workload))
    }

    fn remember(&mut self, line: &LogLine) {
        let Some(printed) = &mut self.printed else { return };
        if printed.len() + line.text.len() > PRINTED_BYTES_MAX {
            self.printed = None;
            return;
        }
        printed.push_str(&line.text);
        if !line.partial {
            printed.push('\n');
        }
    }

    /// Returns whether the output is what went to standard output already.
    fn has_shown(&self, output: &Value) -> bool {
        if self.sink == Sink::Stderr {
            return false;
        }
        self.printed
            .as_ref()
            .is_none_or(|printed| serde_json::from_str::<Value>(printed).is_ok_and(|value| value == *output))
    }

    fn explain(&self, workload: &Workload) {
        let terminal = self.terminal;
        if workload.logs_truncated {
            terminal.err_line(
                "warning: the log reached its limit and was cut; a script's output goes through it",
                Paint::Dim,
                true,
            );
        }
        if let Some(error) = &workload.error
            && error.code != ErrorCode::ExitCode
        {
            if !self.has_log || workload.logs_truncated {
                for line in error.stack.iter().flat_map(|stack| stack.lines()) {
                    terminal.err_line(line, Paint::Plain, true);
                }
            }
            let text = format!("error: could not complete {}: {}", workload.id, error.message);
            for line in text.lines() {
                terminal.err_line(line, Paint::Error, true);
            }
            if let Some(hint) = hint(error.code) {
                terminal.err_line(&format!("hint: {hint}"), Paint::Plain, true);
            }
        }
        if terminal.is_stderr {
            terminal.err_line(&summary(workload), Paint::Dim, true);
        }
    }
}

/// Returns the exit code that a workload's end gives the command.
pub(crate) fn exit_of(workload: &Workload) -> Exit {
    match workload.status {
        Status::Completed => Exit::OK,
        Status::TimedOut => Exit::TIMED_OUT,
        Status::Killed => Exit::KILLED,
        Status::Failed => failed_exit(workload),
        // Asked before its end: nothing failed.
        Status::Pending | Status::Running => Exit::OK,
    }
}

fn failed_exit(workload: &Workload) -> Exit {
    match workload.error.as_ref().map(|error| error.code) {
        Some(
            ErrorCode::StartFailed
            | ErrorCode::ImageUnavailable
            | ErrorCode::InstanceLost
            | ErrorCode::NodeRestarted,
        ) => Exit::LOST,
        Some(ErrorCode::OutOfMemory) => Exit::KILLED,
        Some(
            ErrorCode::Exception
            | ErrorCode::OutputInvalid
            | ErrorCode::OutputTooLarge
            | ErrorCode::CompileFailed
            | ErrorCode::ExitCode
            | ErrorCode::Signal
            | ErrorCode::Timeout
            | ErrorCode::Killed,
        )
        | None => {
            let code = workload.exit_code.and_then(|code| u8::try_from(code).ok());
            code.filter(|code| *code != 0).map_or(Exit::NO, Exit)
        }
    }
}

fn hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::OutOfMemory => Some("give it more memory: --mem 512MiB"),
        ErrorCode::Timeout => Some("give it more time: --timeout 5m"),
        ErrorCode::OutputTooLarge => {
            Some("return less, or print it: what is printed is not limited that way")
        }
        ErrorCode::ImageUnavailable => Some(
            "`vulcan image ls` shows what is here; `vulcan image pull` and `vulcan image bootstrap` get more",
        ),
        ErrorCode::StartFailed => Some("`vulcan doctor` shows what is missing on this machine"),
        ErrorCode::NodeRestarted => Some("run it again; with --idempotent the platform does so by itself"),
        ErrorCode::Exception
        | ErrorCode::ExitCode
        | ErrorCode::Signal
        | ErrorCode::Killed
        | ErrorCode::OutputInvalid
        | ErrorCode::CompileFailed
        | ErrorCode::InstanceLost => None,
    }
}

/// One line for people: how it ended, where, and where the time went.
fn summary(workload: &Workload) -> String {
    let mut words = vec![format!("{} {}", workload.id, workload.status)];
    if let Some(class) = workload.isolation_used {
        words.push(class.to_string());
    }
    if let Some(duration) = workload.duration_ms {
        words.push(millis_for_people(duration));
    }
    if let (Some(start), Some(run)) = (workload.start_ms, workload.run_ms) {
        words.push(format!(
            "start {}, run {}",
            millis_for_people(start),
            millis_for_people(run)
        ));
    }
    words.join(" · ")
}
