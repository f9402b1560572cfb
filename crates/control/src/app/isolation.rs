//! Which class of isolation a workload gets: one pure function.

use vulcan_api::{BackendInfo, Isolation, IsolationClass, Readiness, Runtime, RuntimeInfo, WorkloadSpec};

use super::image_rules::stands_on_image;

/// How [`RuntimeInfo::packages`] marks a package of npm.
const NPM: &str = "npm:";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) isolation: Isolation,
    pub(super) runtime: Runtime,
    /// Whether an image is named.
    pub(super) has_image: bool,
}

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

impl Wanted {
    /// Returns what a request asks for.
    pub(super) const fn by(spec: &WorkloadSpec) -> Self {
        Self {
            isolation: spec.isolation,
            runtime: spec.runtime,
            has_image: spec.image.is_some(),
        }
    }

    /// Whether a class could run it at all.
    const fn can_run(self, class: IsolationClass) -> bool {
        can_run(class, self.runtime) && (!self.has_image || stands_on_image(class))
    }

    /// Whether a class runs it now, somewhere. An image that is named makes up for a default one that is missing.
    fn is_offered(self, class: IsolationClass, backends: &[&BackendInfo]) -> bool {
        self.can_run(class)
            && backends.iter().any(|backend| {
                let mut runtimes = backend.runtimes.iter();
                backend.isolation == class
                    && backend.readiness.is_usable()
                    && runtimes.any(|info| info.runtime == self.runtime && info.is_available(self.has_image))
            })
    }

    /// What `auto` wants first.
    const fn preferred(self) -> IsolationClass {
        if self.has_image {
            return IsolationClass::Gvisor;
        }
        match self.runtime {
            Runtime::Node | Runtime::Typescript => IsolationClass::Isolate,
            Runtime::Wasm => IsolationClass::Wasm,
            Runtime::Image => IsolationClass::Gvisor,
            Runtime::Python | Runtime::Bash | Runtime::Go | Runtime::Binary => IsolationClass::Microvm,
        }
    }

    /// What it is, for people.
    fn source(self) -> String {
        let source = source(self.runtime);
        if self.has_image && self.runtime != Runtime::Image {
            format!("{source} in an image")
        } else {
            source.to_owned()
        }
    }
}

/// Chooses the class. An explicit one is never weakened; `auto` never goes below `floor`.
pub(super) fn choose(
    wanted: Wanted,
    floor: IsolationClass,
    backends: &[&BackendInfo],
) -> Result<Choice, Unavailable> {
    match wanted.isolation.class() {
        Some(class) => explicit(class, wanted, backends),
        None => auto(wanted, floor, backends),
    }
}

fn explicit(class: IsolationClass, wanted: Wanted, backends: &[&BackendInfo]) -> Result<Choice, Unavailable> {
    if wanted.is_offered(class, backends) {
        return Ok(Choice {
            class,
            reason: format!("{class} was asked for"),
        });
    }
    let (reason, hint) = explain(class, wanted, backends);
    Err(Unavailable {
        reason,
        hint: format!("{hint}, or {}", alternatives(wanted, backends)),
    })
}

fn auto(wanted: Wanted, floor: IsolationClass, backends: &[&BackendInfo]) -> Result<Choice, Unavailable> {
    let preferred = wanted.preferred();
    let may =
        |class: IsolationClass| class.strength() >= floor.strength() && wanted.is_offered(class, backends);
    if may(preferred) {
        return Ok(Choice {
            class: preferred,
            reason: format!("auto: {}", wanted.source()),
        });
    }
    let strongest = IsolationClass::ALL
        .into_iter()
        .filter(|class| may(*class))
        .max_by_key(|class| class.strength());
    match strongest {
        Some(class) => Ok(Choice {
            class,
            reason: passed_over(wanted, (preferred, class), backends),
        }),
        None => Err(nothing(wanted, floor, backends)),
    }
}

/// Says in words which classes would have come before the one that was taken.
fn passed_over(
    wanted: Wanted,
    (preferred, taken): (IsolationClass, IsolationClass),
    backends: &[&BackendInfo],
) -> String {
    let mut before: Vec<IsolationClass> = IsolationClass::ALL
        .into_iter()
        .filter(|class| *class != preferred && wanted.can_run(*class))
        .filter(|class| class.strength() > taken.strength() && !wanted.is_offered(*class, backends))
        .collect();
    before.sort_by_key(|class| std::cmp::Reverse(class.strength()));
    if preferred.strength() != taken.strength() && !wanted.is_offered(preferred, backends) {
        before.insert(0, preferred);
    }
    let names: Vec<&str> = before.into_iter().map(IsolationClass::as_str).collect();
    let (list, verb) = match names.as_slice() {
        [] => {
            return format!(
                "auto: {}; {taken} is the strongest that is offered",
                wanted.source()
            );
        }
        [one] => ((*one).to_owned(), "is"),
        [head @ .., last] => (format!("{} and {last}", head.join(", ")), "are"),
    };
    format!(
        "auto: {}; {list} {verb} not offered {}, {taken} is the strongest that is",
        wanted.source(),
        place(backends)
    )
}

fn nothing(wanted: Wanted, floor: IsolationClass, backends: &[&BackendInfo]) -> Unavailable {
    let what = match (wanted.runtime, wanted.has_image) {
        (Runtime::Image, _) => "an image".to_owned(),
        (runtime, true) => format!("{runtime} in an image"),
        (runtime, false) => runtime.to_string(),
    };
    let whys: Vec<String> = IsolationClass::ALL
        .into_iter()
        .filter(|class| wanted.can_run(*class) && backends.iter().any(|backend| backend.isolation == *class))
        .map(|class| {
            if wanted.is_offered(class, backends) {
                format!("{class} is weaker than the operator's floor, {floor}")
            } else {
                let (reason, hint) = explain(class, wanted, backends);
                format!("{reason} ({hint})")
            }
        })
        .collect();
    let reason = if whys.is_empty() {
        format!("no node offers a class that can run {what}")
    } else {
        format!("nothing that may be used can run {what}: {}", whys.join("; "))
    };
    let below: Vec<&str> = IsolationClass::ALL
        .into_iter()
        .filter(|class| wanted.is_offered(*class, backends))
        .map(IsolationClass::as_str)
        .collect();
    let doctor = "vulcan doctor says what is missing and how to get it";
    Unavailable {
        reason,
        hint: match below.as_slice() {
            [] => doctor.to_owned(),
            below => format!(
                "ask for {} by name, or get what is stronger: {doctor}",
                below.join(" or ")
            ),
        },
    }
}

/// Says why a class cannot be had, and what would change that.
fn explain(class: IsolationClass, wanted: Wanted, backends: &[&BackendInfo]) -> (String, String) {
    let runtime = wanted.runtime;
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
    let mut runtimes = backend.runtimes.iter();
    let info = runtimes.find(|info| info.runtime == runtime && wanted.can_run(class));
    let Some(info) = info else {
        return (
            format!("{class} cannot run {runtime}"),
            "choose another class".to_owned(),
        );
    };
    let hint = how_to_get(info).unwrap_or(doctor);
    (
        format!(
            "{class} on node {} cannot run {runtime}: {}",
            backend.node, info.detail
        ),
        hint,
    )
}

/// Says how to get what a runtime lacks; `None` where nothing would help.
fn how_to_get(info: &RuntimeInfo) -> Option<String> {
    let named = |prefix: &str| -> Vec<&str> {
        let packages = info.packages.iter();
        packages.filter_map(|name| name.strip_prefix(prefix)).collect()
    };
    let (images, npm) = (named(RuntimeInfo::IMAGE), named(NPM));
    let is_debian = |name: &&str| !name.starts_with(RuntimeInfo::IMAGE) && !name.starts_with(NPM);
    let debian: Vec<&str> = info
        .packages
        .iter()
        .map(String::as_str)
        .filter(is_debian)
        .collect();
    let ways = [
        (debian, "install it on the node with apt-get install"),
        (npm, "install it on the node with npm install"),
        (images, "make its image with vulcan image bootstrap"),
    ];
    let ways: Vec<String> = ways
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, how)| format!("{how} {}", names.join(" ")))
        .collect();
    (!ways.is_empty()).then(|| ways.join(", and "))
}

fn alternatives(wanted: Wanted, backends: &[&BackendInfo]) -> String {
    let offered: Vec<&str> = IsolationClass::ALL
        .into_iter()
        .filter(|class| wanted.is_offered(*class, backends))
        .map(IsolationClass::as_str)
        .collect();
    if !offered.is_empty() {
        return format!("ask for auto or {}", offered.join(", "));
    }
    if wanted.runtime == Runtime::Image {
        "leave image out and send code".to_owned()
    } else {
        "ask for another runtime".to_owned()
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
        let wanted = Wanted {
            isolation: asked,
            runtime,
            has_image: runtime == Runtime::Image,
        };
        row_of(wanted, floor, backends)
    }

    fn row_of(wanted: Wanted, floor: IsolationClass, backends: &[BackendInfo]) -> String {
        let Wanted {
            isolation: asked,
            runtime,
            has_image,
        } = wanted;
        let what = if has_image && runtime != Runtime::Image {
            format!("{runtime}+image")
        } else {
            runtime.to_string()
        };
        let offered: Vec<&str> = backends
            .iter()
            .map(|backend| backend.isolation.as_str())
            .collect();
        let all: Vec<&BackendInfo> = backends.iter().collect();
        let result = match choose(wanted, floor, &all) {
            Ok(choice) => format!("{} | {}", choice.class, choice.reason),
            Err(no) => format!("- | {} | {}", no.reason, no.hint),
        };
        format!("{asked} {what} floor={floor} [{}] → {result}", offered.join(" "))
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
        auto python floor=gvisor [sandbox] → - | nothing that may be used can run python: sandbox is weaker than the operator's floor, gvisor | ask for sandbox by name, or get what is stronger: vulcan doctor says what is missing and how to get it
        auto python floor=sandbox [] → - | no node offers a class that can run python | vulcan doctor says what is missing and how to get it
        auto python floor=sandbox [container] → - | nothing that may be used can run python: container is weaker than the operator's floor, sandbox | ask for container by name, or get what is stronger: vulcan doctor says what is missing and how to get it
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

    /// A class whose default image for Python was not made.
    fn imageless(isolation: IsolationClass) -> BackendInfo {
        let mut backend = backend(isolation);
        for info in backend
            .runtimes
            .iter_mut()
            .filter(|info| info.runtime == Runtime::Python)
        {
            info.available = false;
            info.detail = "there is no image vulcan/python:latest".to_owned();
            info.packages = vec!["image:vulcan/python".to_owned()];
        }
        backend
    }

    #[test]
    fn images_go_to_classes_that_stand_on_one() {
        use IsolationClass as C;
        let native = [backend(C::Sandbox), backend(C::Isolate)];
        let container = [backend(C::Sandbox), backend(C::Container)];
        let gvisor = [backend(C::Sandbox), backend(C::Gvisor), backend(C::Container)];
        let strongest = [backend(C::Microvm), backend(C::Container)];
        let bare = [imageless(C::Gvisor)];
        let python = |isolation| Wanted {
            isolation,
            runtime: Runtime::Python,
            has_image: true,
        };
        let node = Wanted {
            runtime: Runtime::Node,
            ..python(Isolation::Auto)
        };
        let rows = [
            row(Isolation::Auto, Runtime::Image, C::Sandbox, &gvisor),
            row(Isolation::Auto, Runtime::Image, C::Sandbox, &strongest),
            row(Isolation::Auto, Runtime::Image, C::Sandbox, &container),
            row(Isolation::Auto, Runtime::Image, C::Container, &container),
            row(Isolation::Auto, Runtime::Image, C::Sandbox, &native),
            row(Isolation::Container, Runtime::Image, C::Sandbox, &container),
            row(Isolation::Gvisor, Runtime::Image, C::Sandbox, &container),
            row(Isolation::Gvisor, Runtime::Image, C::Sandbox, &native),
            row_of(python(Isolation::Auto), C::Sandbox, &gvisor),
            row_of(python(Isolation::Auto), C::Sandbox, &native),
            row_of(node, C::Sandbox, &gvisor),
            row_of(python(Isolation::Auto), C::Sandbox, &bare),
            row(Isolation::Auto, Runtime::Python, C::Sandbox, &bare),
            row(Isolation::Gvisor, Runtime::Python, C::Sandbox, &bare),
        ];
        insta::assert_snapshot!(rows.join("\n"));
    }
}
