//! How a command ends: its exit codes, and the one way in which errors are shown.

use std::{error::Error, fmt::Write as _, io, process::ExitCode};

use vulcan_client::ClientError;

/// The exit codes of `vulcan`, as `--help` and the documentation list them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0      it went well
  1      the handler or the program failed; `doctor`: something is unfit
  2      the command line, a file, the configuration or the request is wrong
  3      no server could be reached, or it did not answer as one
  4      the server failed or is at its limit; `serve`: it could not start
  124    the workload was stopped at its time limit; `wait`: time is over
  125    the platform could not start the workload, or lost it
  130    interrupted by a second Ctrl-C
  137    the workload was killed, or needed more memory than it had
  other  the exit code of the program";

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// It went well.
    pub(crate) const OK: Self = Self(0);
    /// What was asked for is not so.
    pub(crate) const NO: Self = Self(1);
    /// The input cannot be used.
    pub(crate) const USAGE: Self = Self(2);
    /// There is no server.
    pub(crate) const UNREACHABLE: Self = Self(3);
    /// The platform failed.
    pub(crate) const PLATFORM: Self = Self(4);
    /// A time limit was reached.
    pub(crate) const TIMED_OUT: Self = Self(124);
    /// The platform lost the workload.
    pub(crate) const LOST: Self = Self(125);
    /// The user left.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// The workload was killed.
    pub(crate) const KILLED: Self = Self(137);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// What a command returns.
pub(crate) type CommandResult = Result<Exit, Failure>;

/// Why a command could not do what it was asked, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    details: Vec<String>,
    hints: Vec<String>,
    exit: Exit,
    is_silent: bool,
}

impl Failure {
    /// Makes a failure of the user's input. `message` begins with "could not".
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::USAGE, message)
    }

    /// Makes a failure. `message` begins with "could not".
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            details: Vec::new(),
            hints: Vec::new(),
            exit,
            is_silent: false,
        }
    }

    /// Makes a failure from an error and everything below it. `action` reads after "could not".
    pub(crate) fn from_error(exit: Exit, action: &str, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, format!("could not {action}: {}", chain(error)))
    }

    /// Makes a failure of a request. `action` reads after "could not".
    pub(crate) fn client(action: &str, error: &ClientError) -> Self {
        let exit = match error {
            ClientError::Problem(problem) if problem.status >= 500 => Exit::PLATFORM,
            ClientError::Problem(_) | ClientError::Endpoint(_) => Exit::USAGE,
            ClientError::Unreachable { .. }
            | ClientError::Interrupted { .. }
            | ClientError::Timeout { .. }
            | ClientError::Malformed { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Setup { .. } => Exit::UNREACHABLE,
            ClientError::Write { .. } => Exit::PLATFORM,
        };
        let mut failure = Self::new(exit, format!("could not {action}: {error}"));
        // Between the two the libraries only say in other words that a request failed.
        if let Some(root) = root(error) {
            failure.message = format!("{}: {root}", failure.message);
        }
        if let Some(problem) = error.problem() {
            for field in &problem.errors {
                let value = field
                    .value
                    .as_ref()
                    .map(|value| format!(" is {value};"))
                    .unwrap_or_default();
                failure
                    .details
                    .push(format!("{}{value} allowed: {}", field.field, field.allowed));
            }
            failure
                .hints
                .push(format!("see docs/problems/{}.md", problem.slug()));
        }
        failure.hints.extend(error.hint());
        failure
    }

    /// Adds what the user can do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns the exit code.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns whether standard output was closed by its reader: nothing to complain about.
    pub(crate) const fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Writes the failure as people get it. Whatever came from a guest or a server shows as plain text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        for detail in &self.details {
            writeln!(text, "  {detail}").expect("a String takes everything");
        }
        for hint in &self.hints {
            writeln!(text, "hint: {hint}").expect("a String takes everything");
        }
        crate::terminal::sanitized_text(&text)
    }
}

/// An error of writing to standard output; a closed one ends the command in peace.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                is_silent: true,
                ..Self::new(Exit::OK, "")
            };
        }
        Self::from_error(Exit::PLATFORM, "write to standard output", &error)
    }
}

/// Returns the innermost cause.
fn root<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let mut root = error.source()?;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    Some(root)
}

/// Joins an error and its causes; a cause that the line before already told is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            write!(text, ": {words}").expect("a String takes everything");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use vulcan_api::{Problem, ProblemKind};

    use super::*;

    #[test]
    fn a_problem_shows_its_fields_its_page_and_what_to_do() {
        let problem = Problem::new(ProblemKind::LimitExceeded, "2 values lie outside of their limits")
            .with_field("resources.mem_mb", serde_json::json!(99_999), "8 to 16384")
            .with_field("resources.pids", None, "4 to 4096");
        let failure = Failure::client("run main.py", &ClientError::Problem(Box::new(problem)));
        insta::assert_snapshot!(failure.text(), @r"
        error: could not run main.py: 2 values lie outside of their limits
          resources.mem_mb is 99999; allowed: 8 to 16384
          resources.pids allowed: 4 to 4096
        hint: see docs/problems/limit-exceeded.md
        ");
        assert_eq!(failure.exit(), Exit::USAGE);
    }

    #[test]
    fn a_refusal_for_lack_of_room_is_the_platforms() {
        let problem = Problem::new(ProblemKind::Overloaded, "the queue is full").with_retry_after_s(1);
        let failure = Failure::client("run main.py", &ClientError::Problem(Box::new(problem)));
        assert_eq!(failure.exit(), Exit::PLATFORM);
        assert!(failure.text().ends_with("hint: try again in 1 s\n"));
    }

    #[test]
    fn a_closed_standard_output_is_silent() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_silent());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_silent());
    }
}
