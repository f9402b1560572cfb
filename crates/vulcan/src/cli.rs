//! The command line: what can be asked, in which words.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use vulcan_api::{ImageName, Isolation, IsolationClass, Network, Reuse, Runtime, Status, WorkloadId};
use vulcan_client::Endpoint;

use crate::{
    commands::{BenchmarkArgs, ImageArgs},
    failure::EXIT_CODES,
    units,
};

/// Run code, isolated, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "vulcan", version, about = "Run code, isolated, on your own machine", after_help = EXIT_CODES)]
#[command(max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What is the same for all commands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is the same for all commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Talk to this server: http://HOST:PORT, or unix:/PATH [default: http://127.0.0.1:7070]
    #[arg(
        long,
        global = true,
        env = "VULCAN_SERVER",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) server: Option<Endpoint>,
    /// Print what the API answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run code and show what it gives back
    Run(Box<RunArgs>),
    /// Show a workload
    Status(StatusArgs),
    /// Show what a workload printed
    Logs(LogsArgs),
    /// List workloads, newest first
    Ls(LsArgs),
    /// Wait until a workload is over, and end as it did
    Wait(WaitArgs),
    /// Kill workloads
    Kill(KillArgs),
    /// List nodes
    Nodes,
    /// List what can isolate here, and whether it is ready
    Backends,
    /// Show the platform at a glance
    Stats,
    /// Measure what each class of isolation costs here, beside bare commands
    Benchmark(Box<BenchmarkArgs>),
    /// Get, build, list and remove images
    Image(Box<ImageArgs>),
    /// Look for what is missing on this machine, and fix it
    Doctor(DoctorArgs),
    /// Start the server: the API and one node
    Serve(Box<ServeArgs>),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RunArgs {
    /// The file or folder to run; its extension tells the runtime
    #[arg(value_name = "FILE", conflicts_with_all = ["file", "code", "archive"])]
    pub(crate) path: Option<PathBuf>,
    /// Run in this image: its own program where no code is given, or --cmd
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<ImageName>,
    /// The command to run in the image in place of its own program, in one text: --cmd "ls -l /"
    #[arg(long, value_name = "WORDS", requires = "image", conflicts_with_all = ["path", "file", "code", "archive", "runtime"], allow_hyphen_values = true)]
    pub(crate) cmd: Option<String>,
    /// What runs the code: python, node, typescript, bash, go, binary
    #[arg(long, short)]
    pub(crate) runtime: Option<Runtime>,
    /// Run this text
    #[arg(long, short, conflicts_with_all = ["file", "archive"])]
    pub(crate) code: Option<String>,
    /// Run this file
    #[arg(long, conflicts_with = "archive")]
    pub(crate) file: Option<PathBuf>,
    /// Run something out of this folder or tar.gz archive
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) archive: Option<PathBuf>,
    /// The file of the archive to run, relative to its root
    #[arg(long, value_name = "PATH")]
    pub(crate) entrypoint: Option<String>,
    /// The input: a JSON text, @FILE, or - for standard input
    #[arg(long, short, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// The class of isolation: auto, isolate, wasm, sandbox, container, gvisor, microvm
    #[arg(long, default_value = "auto")]
    pub(crate) isolation: Isolation,
    /// Set an environment variable; without a value it is passed on from here
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Processors, for example 0.5
    #[arg(long)]
    pub(crate) cpus: Option<f64>,
    /// Memory: MiB, or with a unit
    #[arg(long, short, value_name = "SIZE", value_parser = units::mebibytes)]
    pub(crate) mem: Option<u32>,
    /// Writable disk space: MiB, or with a unit
    #[arg(long, value_name = "SIZE", value_parser = units::mebibytes)]
    pub(crate) disk: Option<u32>,
    /// Processes and threads
    #[arg(long)]
    pub(crate) pids: Option<u32>,
    /// Time until it is killed: seconds, or with a unit
    #[arg(long, short, value_name = "TIME", value_parser = units::duration_or_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// What it may reach over the network
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    pub(crate) network: NetworkArg,
    /// A mark that is kept with the record
    #[arg(long = "label", short, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Print the id at once and do not wait
    #[arg(long = "async")]
    pub(crate) is_async: bool,
    /// Which instances may serve it: none (a fresh one), cold, forked or warm
    #[arg(long, value_name = "WHICH", default_value_t = Reuse::None)]
    pub(crate) reuse: Reuse,
    /// It may run again from its start when the server is restarted
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Run in this process even if a server is there
    #[arg(long, conflicts_with = "is_async")]
    pub(crate) embedded: bool,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// What a program may reach, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkArg {
    /// Nothing.
    None,
    /// The internet.
    Egress,
}

impl From<NetworkArg> for Network {
    fn from(network: NetworkArg) -> Self {
        match network {
            NetworkArg::None => Self::None,
            NetworkArg::Egress => Self::Egress,
        }
    }
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The workload
    pub(crate) id: WorkloadId,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The workload
    pub(crate) id: WorkloadId,
    /// Wait for more until the workload is over
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Show when each line came
    #[arg(long, short)]
    pub(crate) timestamps: bool,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only this status: pending, running, completed, failed, killed, timed_out
    #[arg(long)]
    pub(crate) status: Option<Status>,
    /// Only what ran under this class
    #[arg(long, value_parser = class)]
    pub(crate) isolation: Option<IsolationClass>,
    /// Only this runtime
    #[arg(long)]
    pub(crate) runtime: Option<Runtime>,
    /// The most workloads to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// List all of them
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The workload
    pub(crate) id: WorkloadId,
    /// How long to wait: seconds, or with a unit [default: until it is over]
    #[arg(long, short, value_name = "TIME", value_parser = units::duration_or_seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// Arguments of `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// The workloads
    #[arg(required = true)]
    pub(crate) ids: Vec<WorkloadId>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Install what is missing with the system's package manager, after asking
    #[arg(long)]
    pub(crate) fix: bool,
    /// Do not ask
    #[arg(long, short, requires = "fix")]
    pub(crate) yes: bool,
    /// Look at this machine even if a server is there
    #[arg(long)]
    pub(crate) embedded: bool,
}

/// Arguments of `serve`: each overrides its key of the configuration.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen: HOST:PORT; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where records and logs are kept [default: /var/lib/vulcan for root, otherwise the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A configuration file
    #[arg(long, env = "VULCAN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration, for example --set limits.max.mem=4GiB
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) settings: Vec<(String, String)>,
    /// Print the configuration that results, documented, and end
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: Shell,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE".to_owned()),
    }
}

/// Reads the name of a class.
pub(crate) fn class(text: &str) -> Result<IsolationClass, String> {
    IsolationClass::ALL
        .into_iter()
        .find(|class| class.as_str() == text)
        .ok_or_else(|| {
            let names = IsolationClass::ALL.map(IsolationClass::as_str).join(", ");
            format!("unknown isolation class '{text}': use one of {names}")
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Command {
        Cli::try_parse_from(line.split_whitespace()).unwrap().command
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plain_run_takes_every_default() {
        insta::assert_debug_snapshot!(parsed("vulcan run hello.py"));
    }

    #[test]
    fn every_flag_of_run_has_its_place() {
        insta::assert_debug_snapshot!(parsed(
            "vulcan run --runtime javascript --file a.mjs --entrypoint b --input -1 --isolation sandbox --env A=b=c \
             --env D --cpus 0.5 --mem 1GiB --disk 64 --pids 9 --timeout 1.5m --network egress --label k=v --async \
             --idempotent -- --json x"
        ));
    }

    #[test]
    fn every_flag_of_benchmark_has_its_place() {
        insta::assert_debug_snapshot!(parsed(
            "vulcan benchmark --quick --class isolate,wasm --class sandbox --work noop --samples 9 --html a.html --embedded"
        ), @r#"
        Benchmark(
            BenchmarkArgs {
                command: None,
                begin: BeginArgs {
                    quick: true,
                    classes: [
                        Isolate,
                        Wasm,
                        Sandbox,
                    ],
                    works: [
                        Noop,
                    ],
                    samples: Some(
                        9,
                    ),
                    html: Some(
                        "a.html",
                    ),
                    embedded: true,
                },
            },
        )
        "#);
        for line in [
            "--samples 0",
            "--samples 1001",
            "--class vm",
            "--work x",
            "--quick ls",
        ] {
            let line = format!("vulcan benchmark {line}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn benchmarks_are_compared_by_id_or_file() {
        insta::assert_debug_snapshot!(parsed(
            "vulcan benchmark compare bm_01JKQX7V8MZRN3B4HTGFWDCS9E after.json --json"
        ), @r#"
        Benchmark(
            BenchmarkArgs {
                command: Some(
                    Compare(
                        CompareArgs {
                            a: Id(
                                bm_01JKQX7V8MZRN3B4HTGFWDCS9E,
                            ),
                            b: File(
                                "after.json",
                            ),
                        },
                    ),
                ),
                begin: BeginArgs {
                    quick: false,
                    classes: [],
                    works: [],
                    samples: None,
                    html: None,
                    embedded: false,
                },
            },
        )
        "#);
    }

    #[test]
    fn code_comes_from_one_place() {
        for line in [
            "a.py --code 1",
            "a.py --file b.py",
            "a.py --archive d",
            "--code 1 --archive d",
            "--file a --code 1",
        ] {
            let line = format!("vulcan run {line}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_command_needs_an_image_and_no_code() {
        for line in [
            "--cmd ls",
            "--image a --cmd ls a.py",
            "--image a --cmd ls --code 1",
        ] {
            let line = format!("vulcan run {line}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
        for line in [
            "--image a",
            "--image a --cmd ls -- -l",
            "--image a -- -l",
            "--image a a.py",
        ] {
            let line = format!("vulcan run {line}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_arguments_of_image_have_their_places() {
        for line in [
            "ls",
            "inspect sha256:0123456789ab",
            "pull alpine",
            "pull alpine --username me --password-stdin",
            "bootstrap",
            "bootstrap vulcan/python vulcan/node",
            "build -t app .",
            "build -t app -f a/Dockerfile --build-arg A=1 --build-arg B --target x --no-cache .",
            "import -",
            "import a.tar -t app",
            "export alpine -o a.tar --docker",
            "rm alpine sha256:0123456789ab",
            "prune --all",
        ] {
            let line = format!("vulcan image {line} --json");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
        for line in [
            "pull",
            "pull alpine --username me",
            "pull alpine --password-stdin",
            "pull Alpine",
            "build .",
            "export alpine",
            "rm",
            "inspect sha256:01",
        ] {
            let line = format!("vulcan image {line}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_server_and_json_may_stand_anywhere() {
        let cli = Cli::try_parse_from(["vulcan", "ls", "--json", "--server", "unix:/run/v"]).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.server, Some(Endpoint::Unix("/run/v".into())));
    }

    #[test]
    fn nobody_agrees_to_what_is_not_asked() {
        assert!(Cli::try_parse_from(["vulcan", "doctor", "--yes"]).is_err());
    }
}
