//! Which class of isolation a workload gets: one pure function.

use vulcan_api::{BackendInfo, Isolation, IsolationClass, Readiness, Runtime};

/// What a workload gets, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) class: IsolationClass,
    pub(super) reason: String,
}

/// Why it gets nothing, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) reason: String,
    pub(super) hint: String,
}

/// Chooses the class. An explicit one is never weakened; `auto` never goes below `floor`.
pub(super) fn choose(
    asked: Isolation,
    runtime: Runtime,
    floor: IsolationClass,
    backends: &[&BackendInfo],
) -> Result<Choice, Unavailable> {
    match asked.class() {
        Some(class) => explicit(class, runtime, backends),
        None => auto(runtime, floor, backends),
    }
}

fn explicit(
    class: IsolationClass,
    runtime: Runtime,
    backends: &[&BackendInfo],
) -> Result<Choice, Unavailable> {
    if is_offered(class, runtime, backends) {
        return Ok(Choice {
            class,
            reason: format!("{class} was asked for"),
        });
    }
    let (reason, hint) = explain(class, runtime, backends);
    Err(Unavailable {
        reason,
        hint: format!("{hint}, or ask for {}", alternatives(runtime, backends)),
    })
}

fn auto(runtime: Runtime, floor: IsolationClass, backends: &[&BackendInfo]) -> Result<Choice, Unavailable> {
    let preferred = preferred(runtime);
    let what = source(runtime);
    let may =
        |class: IsolationClass| class.strength() >= floor.strength() && is_offered(class, runtime, backends);
    if may(preferred) {
        return Ok(Choice {
            class: preferred,
            reason: format!("auto: {what}"),
        });
    }
    let strongest = IsolationClass::ALL
        .into_iter()
        .filter(|class| may(*class))
        .max_by_key(|class| class.strength());
    match strongest {
        Some(class) => Ok(Choice {
            class,
            reason: passed_over(runtime, (preferred, class), backends),
        }),
        None => Err(nothing(runtime, floor, backends)),
    }
}

/// Says in words which classes would have come before the one that was taken.
fn passed_over(
    runtime: Runtime,
    (preferred, taken): (IsolationClass, IsolationClass),
    backends: &[&BackendInfo],
) -> String {
    let mut before: Vec<IsolationClass> = IsolationClass::ALL
        .into_iter()
        .filter(|class| *class != preferred && can_run(*class, runtime))
        .filter(|class| class.strength() > taken.strength() && !is_offered(*class, runtime, backends))
        .collect();
    before.sort_by_key(|class| std::cmp::Reverse(class.strength()));
    if preferred.strength() != taken.strength() && !is_offered(preferred, runtime, backends) {
        before.insert(0, preferred);
    }
    let names: Vec<&str> = before.into_iter().map(IsolationClass::as_str).collect();
    let (list, verb) = match names.as_slice() {
        [] => {
            return format!(
                "auto: {}; {taken} is the strongest that is offered",
                source(runtime)
            );
        }
        [one] => ((*one).to_owned(), "is"),
        [head @ .., last] => (format!("{} and {last}", head.join(", ")), "are"),
    };
    format!(
        "auto: {}; {list} {verb} not offered {}, {taken} is the strongest that is",
        source(runtime),
        place(backends)
    )
}

fn nothing(runtime: Runtime, floor: IsolationClass, backends: &[&BackendInfo]) -> Unavailable {
    let whys: Vec<String> = IsolationClass::ALL
        .into_iter()
        .filter(|class| {
            can_run(*class, runtime) && backends.iter().any(|backend| backend.isolation == *class)
        })
        .map(|class| {
            if is_offered(class, runtime, backends) {
                format!("{class} is weaker than the operator's floor, {floor}")
            } else {
                let (reason, hint) = explain(class, runtime, backends);
                format!("{reason} ({hint})")
            }
        })
        .collect();
    let reason = if whys.is_empty() {
        format!("no node offers a class that can run {runtime}")
    } else {
        format!("nothing that may be used can run {runtime}: {}", whys.join("; "))
    };
    Unavailable {
        reason,
        hint: "vulcan doctor says what is missing and how to get it".to_owned(),
    }
}

/// Says why a class cannot be had, and what would change that.
fn explain(class: IsolationClass, runtime: Runtime, backends: &[&BackendInfo]) -> (String, String) {
    let doctor = "run vulcan doctor on the node".to_owned();
    let Some(backend) = backends
        .iter()
        .filter(|backend| backend.isolation == class)
        .max_by_key(|backend| backend.readiness.is_usable())
    else {
        return (format!("no node offers {class}"), doctor);
    };
    if let Readiness::Unfit { reasons } = &backend.readiness {
        return (
            format!(
                "{class} cannot be used on node {}: {}",
                backend.node,
                reasons.join("; ")
            ),
            doctor,
        );
    }
    let info = backend.runtimes.iter().find(|info| info.runtime == runtime);
    let Some(info) = info else {
        return (
            format!("{class} cannot run {runtime}"),
            "choose another class".to_owned(),
        );
    };
    let hint = if info.packages.is_empty() {
        doctor
    } else {
        format!(
            "install it on the node with apt-get install {}",
            info.packages.join(" ")
        )
    };
    (
        format!(
            "{class} on node {} cannot run {runtime}: {}",
            backend.node, info.detail
        ),
        hint,
    )
}

fn alternatives(runtime: Runtime, backends: &[&BackendInfo]) -> String {
    let offered: Vec<&str> = IsolationClass::ALL
        .into_iter()
        .filter(|class| is_offered(*class, runtime, backends))
        .map(IsolationClass::as_str)
        .collect();
    if offered.is_empty() {
        "another runtime".to_owned()
    } else {
        format!("auto or {}", offered.join(", "))
    }
}

fn is_offered(class: IsolationClass, runtime: Runtime, backends: &[&BackendInfo]) -> bool {
    backends.iter().any(|backend| {
        backend.isolation == class
            && backend.readiness.is_usable()
            && backend
                .runtimes
                .iter()
                .any(|info| info.runtime == runtime && info.available)
    })
}

/// What `auto` wants first.
const fn preferred(runtime: Runtime) -> IsolationClass {
    match runtime {
        Runtime::Node | Runtime::Typescript => IsolationClass::Isolate,
        Runtime::Wasm => IsolationClass::Wasm,
        Runtime::Image => IsolationClass::Gvisor,
        Runtime::Python | Runtime::Bash | Runtime::Go | Runtime::Binary => IsolationClass::Microvm,
    }
}

/// Whether a class could run a runtime at all.
const fn can_run(class: IsolationClass, runtime: Runtime) -> bool {
    match class {
        IsolationClass::Isolate => matches!(runtime, Runtime::Node | Runtime::Typescript),
        IsolationClass::Wasm => matches!(runtime, Runtime::Wasm),
        IsolationClass::Sandbox => !matches!(runtime, Runtime::Wasm | Runtime::Image),
        IsolationClass::Container | IsolationClass::Gvisor | IsolationClass::Microvm => {
            !matches!(runtime, Runtime::Wasm)
        }
    }
}

const fn source(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Python => "Python source",
        Runtime::Node => "JavaScript source",
        Runtime::Typescript => "TypeScript source",
        Runtime::Bash => "Bash source",
        Runtime::Go => "Go source",
        Runtime::Binary => "an executable",
        Runtime::Wasm => "a WebAssembly module",
        Runtime::Image => "an image",
    }
}

fn place(backends: &[&BackendInfo]) -> &'static str {
    let is_one = backends.windows(2).all(|pair| pair[0].node == pair[1].node);
    if is_one { "on this node" } else { "on any node" }
}

#[cfg(test)]
mod tests {
    use vulcan_api::RuntimeInfo;

    use super::*;

    fn backend(isolation: IsolationClass) -> BackendInfo {
        BackendInfo {
            pools: Vec::new(),
            isolation,
            node: "newt".parse().unwrap(),
            readiness: Readiness::Ready,
            runtimes: Runtime::ALL
                .into_iter()
                .filter(|runtime| can_run(isolation, *runtime))
                .map(|runtime| RuntimeInfo {
                    runtime,
                    available: runtime != Runtime::Go,
                    detail: if runtime == Runtime::Go {
                        "go is not installed"
                    } else {
                        "1.0"
                    }
                    .to_owned(),
                    packages: if runtime == Runtime::Go {
                        vec!["golang-go".to_owned()]
                    } else {
                        Vec::new()
                    },
                })
                .collect(),
            abilities: Vec::new(),
        }
    }

    fn unfit(isolation: IsolationClass) -> BackendInfo {
        BackendInfo {
            pools: Vec::new(),
            readiness: Readiness::Unfit {
                reasons: vec!["/dev/kvm is missing".to_owned()],
            },
            ..backend(isolation)
        }
    }

    fn row(asked: Isolation, runtime: Runtime, floor: IsolationClass, backends: &[BackendInfo]) -> String {
        let offered: Vec<&str> = backends
            .iter()
            .map(|backend| backend.isolation.as_str())
            .collect();
        let all: Vec<&BackendInfo> = backends.iter().collect();
        let result = match choose(asked, runtime, floor, &all) {
            Ok(choice) => format!("{} | {}", choice.class, choice.reason),
            Err(no) => format!("- | {} | {}", no.reason, no.hint),
        };
        format!(
            "{asked} {runtime} floor={floor} [{}] → {result}",
            offered.join(" ")
        )
    }

    #[test]
    fn the_table_of_the_choice() {
        use IsolationClass as C;
        let sandbox = [backend(C::Sandbox)];
        let many = [
            backend(C::Container),
            backend(C::Sandbox),
            backend(C::Gvisor),
            unfit(C::Microvm),
        ];
        let all: Vec<BackendInfo> = C::ALL.into_iter().map(backend).collect();
        let rows = [
            row(Isolation::Auto, Runtime::Python, C::Sandbox, &sandbox),
            row(Isolation::Auto, Runtime::Node, C::Sandbox, &sandbox),
            row(Isolation::Auto, Runtime::Go, C::Sandbox, &sandbox),
            row(Isolation::Auto, Runtime::Python, C::Gvisor, &sandbox),
            row(Isolation::Auto, Runtime::Python, C::Sandbox, &[]),
            row(
                Isolation::Auto,
                Runtime::Python,
                C::Sandbox,
                &[backend(C::Container)],
            ),
            row(
                Isolation::Auto,
                Runtime::Python,
                C::Container,
                &[backend(C::Container)],
            ),
            row(Isolation::Auto, Runtime::Bash, C::Sandbox, &many),
            row(Isolation::Auto, Runtime::Typescript, C::Sandbox, &many),
            row(Isolation::Auto, Runtime::Python, C::Sandbox, &all),
            row(Isolation::Auto, Runtime::Node, C::Sandbox, &all),
            row(Isolation::Auto, Runtime::Node, C::Microvm, &all),
            row(Isolation::Sandbox, Runtime::Python, C::Sandbox, &sandbox),
            row(Isolation::Sandbox, Runtime::Go, C::Sandbox, &sandbox),
            row(Isolation::Microvm, Runtime::Python, C::Sandbox, &sandbox),
            row(Isolation::Microvm, Runtime::Python, C::Sandbox, &many),
            row(Isolation::Isolate, Runtime::Python, C::Sandbox, &all),
        ];
        insta::assert_snapshot!(rows.join("\n"), @r"
        auto python floor=sandbox [sandbox] → sandbox | auto: Python source; microvm and gvisor are not offered on this node, sandbox is the strongest that is
        auto node floor=sandbox [sandbox] → sandbox | auto: JavaScript source; isolate, microvm and gvisor are not offered on this node, sandbox is the strongest that is
        auto go floor=sandbox [sandbox] → - | nothing that may be used can run go: sandbox on node newt cannot run go: go is not installed (install it on the node with apt-get install golang-go) | vulcan doctor says what is missing and how to get it
        auto python floor=gvisor [sandbox] → - | nothing that may be used can run python: sandbox is weaker than the operator's floor, gvisor | vulcan doctor says what is missing and how to get it
        auto python floor=sandbox [] → - | no node offers a class that can run python | vulcan doctor says what is missing and how to get it
        auto python floor=sandbox [container] → - | nothing that may be used can run python: container is weaker than the operator's floor, sandbox | vulcan doctor says what is missing and how to get it
        auto python floor=container [container] → container | auto: Python source; microvm, gvisor and sandbox are not offered on this node, container is the strongest that is
        auto bash floor=sandbox [container sandbox gvisor microvm] → gvisor | auto: Bash source; microvm is not offered on this node, gvisor is the strongest that is
        auto typescript floor=sandbox [container sandbox gvisor microvm] → gvisor | auto: TypeScript source; isolate and microvm are not offered on this node, gvisor is the strongest that is
        auto python floor=sandbox [isolate wasm sandbox container gvisor microvm] → microvm | auto: Python source
        auto node floor=sandbox [isolate wasm sandbox container gvisor microvm] → isolate | auto: JavaScript source
        auto node floor=microvm [isolate wasm sandbox container gvisor microvm] → microvm | auto: JavaScript source; microvm is the strongest that is offered
        sandbox python floor=sandbox [sandbox] → sandbox | sandbox was asked for
        sandbox go floor=sandbox [sandbox] → - | sandbox on node newt cannot run go: go is not installed | install it on the node with apt-get install golang-go, or ask for another runtime
        microvm python floor=sandbox [sandbox] → - | no node offers microvm | run vulcan doctor on the node, or ask for auto or sandbox
        microvm python floor=sandbox [container sandbox gvisor microvm] → - | microvm cannot be used on node newt: /dev/kvm is missing | run vulcan doctor on the node, or ask for auto or sandbox, container, gvisor
        isolate python floor=sandbox [isolate wasm sandbox container gvisor microvm] → - | isolate cannot run python | choose another class, or ask for auto or sandbox, container, gvisor, microvm
        ");
    }
}
