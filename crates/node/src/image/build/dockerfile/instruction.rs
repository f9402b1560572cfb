//! What a Dockerfile says, as data. Words are as they are written: variables are put in when their values are known.

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::image::build) struct Dockerfile {
    /// `ARG`s before the first stage.
    pub(in crate::image::build) args: Vec<Argument>,
    /// At least one.
    pub(in crate::image::build) stages: Vec<Stage>,
}

/// `FROM`, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image::build) struct Stage {
    /// What other stages call it.
    pub(in crate::image::build) name: Option<String>,
    /// An image, a former stage, or `scratch`.
    pub(in crate::image::build) base: String,
    pub(in crate::image::build) platform: Option<String>,
    pub(in crate::image::build) line: usize,
    pub(in crate::image::build) steps: Vec<Step>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image::build) struct Step {
    pub(in crate::image::build) line: usize,
    /// As it is written, on one line.
    pub(in crate::image::build) text: String,
    pub(in crate::image::build) instruction: Instruction,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image::build) enum Instruction {
    Run(CommandLine),
    Copy(Copy),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Arg(Vec<Argument>),
    Workdir(String),
    User(String),
    Entrypoint(CommandLine),
    Cmd(CommandLine),
    /// In place of `/bin/sh -c`.
    Shell(Vec<String>),
    /// Known, and without a meaning here: told, and passed over.
    Nothing {
        /// Why, in words.
        why: &'static str,
    },
}

/// A command, in one of two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image::build) enum CommandLine {
    /// A text for the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::image::build) struct Copy {
    /// A stage or an image; the context where it is left out.
    pub(in crate::image::build) from: Option<String>,
    pub(in crate::image::build) chown: Option<String>,
    pub(in crate::image::build) chmod: Option<String>,
    /// At least one; patterns.
    pub(in crate::image::build) sources: Vec<String>,
    pub(in crate::image::build) to: String,
    /// Whether archives are unpacked: `ADD`.
    pub(in crate::image::build) unpacks: bool,
}

/// A name that `ARG` declares, with the value that it has where nobody gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::image::build) struct Argument {
    pub(in crate::image::build) name: String,
    pub(in crate::image::build) default: Option<String>,
}
