//! What a rule wants a program to do, whatever language the class runs.

/// One of a program's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Returns the stream's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What a program does. A harness translates it into a program of its class, or says that the class cannot.
///
/// Unless an act says otherwise, the program ends with exit code 0 afterwards. Every act that goes on for ever writes the
/// line `ready` to its standard output as soon as it is under way. Acts that report something print a single JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Ends with this exit code.
    Exit(i32),
    /// Ends itself by this signal.
    Signal(i32),
    /// Writes the lines `line 0` to `line n-1`, each to both streams.
    PrintOrdered {
        /// How many.
        lines: u32,
    },
    /// Writes this many bytes, byte `i` being `i % 251`, and ends at once.
    Flood {
        /// How many.
        bytes: usize,
        /// Where to.
        stream: Output,
    },
    /// Writes exactly these bytes.
    PrintRaw {
        /// Which.
        bytes: Vec<u8>,
        /// Where to.
        stream: Output,
    },
    /// Writes lines for ever.
    EndlessLines,
    /// Writes one line that never ends.
    EndlessLine,
    /// Has a handler that returns its input.
    EchoInput,
    /// The same, for an input that only holds where integers are more than doubles.
    EchoIntegers,
    /// Has no handler; copies standard input to standard output.
    CopyInput,
    /// Has a handler that fails with this message.
    Raise(String),
    /// Is not a program at all: its source does not parse.
    Unparsable,
    /// Has a handler that returns a text of this length.
    ReturnText {
        /// How long, in bytes.
        bytes: usize,
    },
    /// Has a handler that returns a value that JSON has no word for (not a number).
    ReturnNan,
    /// Has a handler that returns an integer of this many decimal digits.
    ReturnDigits(u32),
    /// Has a handler that returns lists nested this deep.
    ReturnNested(u32),
    /// Has a handler that returns a text with a lone surrogate, which UTF-8 cannot hold.
    ReturnSurrogate,
    /// Writes lists nested this deep to standard output as a script.
    PrintNested(u32),
    /// Says `ready`, then waits for ever.
    Sleep,
    /// Waits this long, then ends.
    SleepFor {
        /// Milliseconds.
        millis: u64,
    },
    /// Says `ready`, then computes for ever and ignores every signal that can be ignored.
    SpinIgnoringSigterm,
    /// Uses this much processor time, then ends.
    SpinFor {
        /// Milliseconds of processor time.
        cpu_millis: u64,
    },
    /// Allocates this much in small pieces and touches all of it.
    AllocateHeap {
        /// How much.
        mib: u32,
    },
    /// Allocates this much at once and touches all of it.
    AllocateAtOnce {
        /// How much.
        mib: u32,
    },
    /// Writes one file of this size in this folder; prints how many MiB were taken.
    FillFolder {
        /// Absolute in the guest.
        folder: String,
        /// How much to try.
        mib: u32,
    },
    /// Fills an anonymous file in memory (`memfd_create`).
    Memfd {
        /// How much.
        mib: u32,
    },
    /// Fills System V shared memory, which no process needs to hold; prints how many MiB were taken.
    SystemVMemory {
        /// How much to try.
        mib: u32,
    },
    /// Makes children that wait until no more can be made; prints how many there were.
    CountForks,
    /// Makes threads until no more can be made; prints how many there were.
    CountThreads,
    /// Says `ready`, then doubles itself for ever.
    ForkBomb,
    /// Makes this many orphans, one after another, each dead at once; prints how many could be made.
    Orphans(u32),
    /// Leaves children unreaped until no more can be made; prints how many there were.
    Zombies,
    /// Starts a child in a session of its own, twice removed, that computes for ever, ignores signals and holds both
    /// streams open; then ends.
    LeaveDetachedChild,
    /// Starts such a child, says `ready`, and does the same itself.
    SpinWithDetachedChildren,
    /// Opens files until no more can be opened; prints how many there were.
    CountOpenFiles,
    /// Makes empty files in the working directory, at most so many; prints how many could be made.
    CountInodes {
        /// At most.
        most: u32,
    },
    /// Makes a file with a hole of this size; prints whether that went.
    SparseFile {
        /// How large.
        gib: u32,
    },
    /// Reserves space for a file of this size; prints whether that went.
    Fallocate {
        /// How large.
        mib: u32,
    },
    /// Makes folders inside folders, this deep, until one fails; prints how many were made.
    DeepFolders(u32),
    /// Writes a file.
    WriteFile {
        /// Absolute in the guest.
        path: String,
        /// Its content.
        text: String,
    },
    /// Prints a file's content.
    ReadFile {
        /// Absolute in the guest.
        path: String,
    },
    /// Prints the permission bits of a file as a number.
    FileMode {
        /// Absolute in the guest.
        path: String,
    },
    /// Makes a FIFO and a symbolic link that leads to `target`, then says `ready` and waits for ever.
    MakeOddFiles {
        /// Where the FIFO goes.
        fifo: String,
        /// Where the link goes.
        link: String,
        /// Where the link leads.
        target: String,
    },
    /// Leaves a file with this name wherever it can: in the working directory, /tmp, /var/tmp, /dev/shm, /run.
    LeaveTraces {
        /// The file's name.
        name: String,
    },
    /// Prints a list of all paths under which a file with this name is found in the same places.
    FindTraces {
        /// The file's name.
        name: String,
    },
    /// Prints its arguments as a list.
    PrintArgs(Vec<String>),
    /// Prints its whole environment as an object.
    PrintEnv,
    /// Prints what came on standard input, as a text, and the working directory: `{"stdin": …, "cwd": …}`.
    PrintStdinAndCwd,
    /// Talks to itself over the loopback interface; prints whether that went.
    UseLoopback,
    /// Offers everything that a neighbour could find (a TCP port, an abstract socket, SysV memory, files), prints one line
    /// of JSON with the names, as an environment for the attack `neighbour`, and waits for ever.
    OfferToNeighbours,
    /// Writes bytes that look like frames of the guest protocol to every open descriptor, then ends as told.
    ForgeFrames(Ending),
    /// Writes a forged handler result to every descriptor beyond the standard ones, then ends as told.
    ForgeResult(Ending),
    /// Sends SIGKILL to every process that it may signal.
    KillEverything,
    /// Writes the line `loaded`, and then has a handler for calls whose input is a text. Every call writes the text as a line
    /// to standard output; then `raise` throws, `hang` goes on for ever, and any other text returns how many calls it has
    /// answered so far, this one included.
    Serve,
    /// Performs an attack by name and prints `{"contained": bool, "tried": text, "detail": text}`.
    Attack(&'static str),
}

/// How a program ends after a forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By SIGSEGV.
    Crash,
    /// With exit code 7.
    Seven,
}

impl Act {
    /// Returns what `Flood` writes.
    #[must_use]
    pub fn flood(bytes: usize) -> Vec<u8> {
        (0..=250_u8).cycle().take(bytes).collect()
    }
}
