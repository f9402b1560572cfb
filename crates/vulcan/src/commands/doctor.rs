//! `vulcan doctor`: says for each backend whether it is ready and what is missing, and installs it.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    os::fd::AsFd,
    process::Stdio,
};

use tokio::process::Command;
use vulcan_api::{BackendInfo, BackendList, IsolationClass, Readiness};
use vulcan_client::Endpoint;

use super::{
    Context,
    backends::{reasons, state},
    missing::Missing,
};
use crate::{
    backends,
    cli::DoctorArgs,
    embedded::{Slot, config_of_environment},
    failure::{CommandResult, Exit, Failure},
    paths, platform, server,
    terminal::Table,
};

pub(super) async fn run(context: &Context, args: &DoctorArgs) -> CommandResult {
    let (mut list, place) = look(context, args).await?;
    if args.fix {
        let fixer = Fixer {
            server: match place {
                Place::Alone => None,
                Place::Here(server) => Some(server),
                Place::Elsewhere => {
                    return Err(Failure::usage(
                        "could not fix another machine: the server that is named is not on this one",
                    )
                    .hint("run `vulcan doctor --fix` there"));
                }
            },
            is_sure: args.yes,
        };
        if fixer.fix(&list).await? {
            // The server's own look may be up to half a minute old: what was installed shows here at once.
            list = probe().await?;
        }
    }
    show(context, &list)?;
    Ok(verdict(&list))
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// This machine, without a server.
    Alone,
    /// This machine, by its server.
    Here(Endpoint),
    /// The machine of another server.
    Elsewhere,
}

async fn look(context: &Context, args: &DoctorArgs) -> Result<(BackendList, Place), Failure> {
    let found = if args.embedded {
        None
    } else {
        server::named_or_found(context.global.server.as_ref()).await?
    };
    let Some(client) = found else {
        return Ok((probe().await?, Place::Alone));
    };
    let list = client
        .backends()
        .await
        .map_err(|error| Failure::client("ask for the backends", &error))?;
    let place = if client.endpoint().is_local() {
        Place::Here(client.endpoint().clone())
    } else {
        Place::Elsewhere
    };
    Ok((list, place))
}

/// Looks at this machine without a server.
async fn probe() -> Result<BackendList, Failure> {
    let config = config_of_environment()?;
    // Whatever a probe tries is told apart from what runs elsewhere on this machine.
    let cache_dir = paths::cache_dir_of(&config)?;
    let slot = Slot::take(&cache_dir)
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "make a place to look from", &error))?;
    let backends = backends::all(&config, &slot.owner, &cache_dir)
        .map_err(|error| Failure::from_error(Exit::PLATFORM, "set up the backends", &error))?;
    let node = platform::node_name(&config);
    let mut list = BackendList { backends: Vec::new() };
    for backend in backends {
        let probe = backend.probe().await;
        let capabilities = backend.capabilities();
        list.backends.push(BackendInfo {
            pools: Vec::new(),
            isolation: capabilities.isolation,
            node: node.clone(),
            readiness: probe.readiness,
            runtimes: probe.runtimes,
            abilities: capabilities
                .abilities
                .iter()
                .map(|ability| ability.as_str().to_owned())
                .collect(),
        });
        backend.close().await;
    }
    Ok(list)
}

fn show(context: &Context, list: &BackendList) -> Result<(), Failure> {
    if context.global.json {
        return Ok(context.terminal.print_json(list)?);
    }
    for backend in &list.backends {
        context.terminal.print(&heading(backend))?;
        context.terminal.print_table(table(backend))?;
    }
    let missing = Missing::of(list);
    let commands = missing.commands()?;
    let mut commands: Vec<String> = commands.iter().map(|command| command.join(" ")).collect();
    // The images are made by a server, once it runs.
    commands.extend(missing.bootstrap());
    if !commands.is_empty() {
        context.terminal.print(&format!(
            "\nto get what is missing:  {}\nor let vulcan do it:     vulcan doctor --fix\n",
            commands.join("\n                         ")
        ))?;
    }
    Ok(())
}

fn heading(backend: &BackendInfo) -> String {
    let mut text = format!("{}: {}\n", backend.isolation, state(&backend.readiness));
    for reason in reasons(&backend.readiness) {
        text.push_str(&format!("  - {}\n", crate::terminal::sanitized(reason)));
    }
    text
}

fn table(backend: &BackendInfo) -> Table {
    let mut table = Table::new(&["  RUNTIME", "STATE", "DETAIL", "PACKAGES"]);
    for info in &backend.runtimes {
        let fix = if info.available {
            String::new()
        } else {
            info.packages.join(" ")
        };
        table.row([
            format!("  {}", info.runtime),
            if info.available { "ready" } else { "missing" }.to_owned(),
            info.detail.clone(),
            fix,
        ]);
    }
    table
}

/// Something is unfit when a backend cannot start anything.
fn verdict(list: &BackendList) -> Exit {
    let is_fit = |backend: &BackendInfo| match backend.readiness {
        Readiness::Ready | Readiness::Degraded { .. } => true,
        Readiness::Unfit { .. } => false,
    };
    if list.backends.iter().all(is_fit) {
        Exit::OK
    } else {
        Exit::NO
    }
}

/// Installs what is missing.
struct Fixer {
    /// This machine's server, which makes the images; `None` where it has none.
    server: Option<Endpoint>,
    /// Whether nobody is to be asked.
    is_sure: bool,
}

impl Fixer {
    /// Returns whether something was done.
    async fn fix(&self, list: &BackendList) -> Result<bool, Failure> {
        let missing = Missing::of(list);
        // A server's answer is not trusted with a root shell.
        if let Some(bad) = missing.bad_name() {
            return Err(Failure::usage(format!(
                "could not install '{bad}': that is no name of a package"
            )));
        }
        let mut commands = missing.commands()?;
        commands.extend(self.bootstrap(missing.images())?);
        if commands.is_empty() || !self.is_sure && !agreed(&commands)? {
            return Ok(false);
        }
        for command in &commands {
            execute(command).await?;
        }
        if self.server.is_none() && list.backends.iter().any(stands_on_images) {
            let advice = "the platform's own images are made by a server: vulcan serve, and then vulcan image bootstrap\n";
            io::stderr().write_all(advice.as_bytes())?;
        }
        Ok(true)
    }

    /// Returns how this very program has the server make images.
    fn bootstrap(&self, images: &[String]) -> Result<Option<Vec<String>>, Failure> {
        let Some(server) = self.server.as_ref().filter(|_| !images.is_empty()) else {
            return Ok(None);
        };
        let own = std::env::current_exe()?.display().to_string();
        let words = ["--server".to_owned(), server.to_string(), "image".to_owned()];
        let mut command = vec![own];
        command.extend(words);
        command.extend(["bootstrap".to_owned(), "--".to_owned()]);
        command.extend(images.iter().cloned());
        Ok(Some(command))
    }
}

fn stands_on_images(backend: &BackendInfo) -> bool {
    matches!(
        backend.isolation,
        IsolationClass::Container | IsolationClass::Gvisor
    )
}

fn agreed(commands: &[Vec<String>]) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("could not ask whether to install: standard input is no terminal")
                .hint("agree beforehand: vulcan doctor --fix --yes"),
        );
    }
    let mut question = String::from("this will run\n");
    for command in commands {
        question.push_str(&format!("  {}\n", command.join(" ")));
    }
    question.push_str("go on? [y/N] ");
    let failed = |error: io::Error| Failure::from_error(Exit::USAGE, "ask", &error);
    io::stderr().write_all(question.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn execute(command: &[String]) -> Result<(), Failure> {
    let text = command.join(" ");
    let [program, args @ ..] = command else {
        return Ok(());
    };
    // What it prints is for people: standard output is kept for the result.
    let mut child = Command::new(program)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::from_error(Exit::PLATFORM, &format!("run {program}"), &error)
                .hint(format!("run it yourself: {text}"))
        })?;
    let status = child
        .wait()
        .await
        .map_err(|error| Failure::from_error(Exit::PLATFORM, &format!("wait for {program}"), &error))?;
    if status.success() {
        return Ok(());
    }
    let hint = hint(command);
    Err(Failure::new(Exit::PLATFORM, format!("could not run {text}: {status}")).hint(hint))
}

fn hint(command: &[String]) -> String {
    let is_apt = command.iter().any(|word| word == "apt-get");
    let of_release = command.iter().find_map(|word| word.split_once('/'));
    match of_release {
        Some((name, release)) if is_apt => format!(
            "see what it printed above; {name} comes from {release}, which scripts/setup adds to apt's sources"
        ),
        Some(_) | None => "see what it printed above".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use vulcan_api::{Runtime, RuntimeInfo};

    use super::*;

    fn list(readiness: Readiness) -> BackendList {
        let runtime = |runtime, available, packages: &[&str]| RuntimeInfo {
            runtime,
            available,
            detail: if available { "3.11" } else { "not installed" }.to_owned(),
            packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        };
        BackendList {
            backends: vec![BackendInfo {
                pools: Vec::new(),
                isolation: IsolationClass::Sandbox,
                node: "newt".parse().unwrap(),
                readiness,
                runtimes: vec![
                    runtime(Runtime::Python, true, &["python3"]),
                    runtime(Runtime::Node, false, &["nodejs"]),
                    runtime(Runtime::Typescript, false, &["nodejs"]),
                ],
                abilities: Vec::new(),
            }],
        }
    }

    #[test]
    fn only_what_is_missing_is_installed_and_once() {
        insta::assert_debug_snapshot!(Missing::of(&list(Readiness::Ready)), @r#"
        Missing {
            debian: [
                "nodejs",
            ],
            npm: [],
            images: [],
        }
        "#);
    }

    #[test]
    fn images_are_made_by_the_server_of_this_machine_alone() {
        let fixer = |server: Option<&str>| Fixer {
            server: server.map(|server| server.parse().unwrap()),
            is_sure: true,
        };
        let images = ["vulcan/python:latest".to_owned()];
        let command = fixer(Some("http://127.0.0.1:7071"))
            .bootstrap(&images)
            .unwrap()
            .unwrap();
        assert_eq!(
            command[1..].join(" "),
            "--server http://127.0.0.1:7071 image bootstrap -- vulcan/python:latest"
        );
        assert_eq!(fixer(Some("http://127.0.0.1:7071")).bootstrap(&[]).unwrap(), None);
        assert_eq!(fixer(None).bootstrap(&images).unwrap(), None);
    }

    #[test]
    fn a_package_of_another_release_that_cannot_be_had_says_what_adds_it() {
        let of = |text: &str| hint(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            of("sudo apt-get install -y crun runsc/bookworm-backports"),
            "see what it printed above; runsc comes from bookworm-backports, which scripts/setup adds to apt's sources"
        );
        assert_eq!(
            of("npm install --prefix /data/deno deno"),
            "see what it printed above"
        );
    }

    #[test]
    fn a_backend_that_starts_nothing_is_the_only_thing_unfit() {
        let reasons = || vec!["no user namespaces".to_owned()];
        assert_eq!(verdict(&list(Readiness::Ready)), Exit::OK);
        assert_eq!(
            verdict(&list(Readiness::Degraded { reasons: reasons() })),
            Exit::OK
        );
        assert_eq!(verdict(&list(Readiness::Unfit { reasons: reasons() })), Exit::NO);
    }

    #[test]
    fn a_backend_shows_its_reasons_and_its_runtimes() {
        let list = list(Readiness::Degraded {
            reasons: vec!["no cgroup \u{1b}: limits are weaker".to_owned()],
        });
        insta::assert_snapshot!(heading(&list.backends[0]), @r"
        sandbox: degraded
          - no cgroup ␛: limits are weaker
        ");
        let table = table(&list.backends[0]).render(None, false);
        assert!(table.contains("  node        missing  not installed"), "{table}");
    }
}
