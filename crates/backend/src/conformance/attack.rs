//! The attacks by name, and how each is proven to be a real one.

use serde_json::Value;

/// How it is shown that an attack works where nothing is in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It works for any user on a bare host; the test fails where it does not.
    Unconfined,
    /// It works on most bare hosts, depending on the user and the kernel.
    WherePossible,
    /// It works as root of fresh namespaces, where it harms nobody.
    InNamespaces,
    /// It works for an ordinary user.
    AsNobody,
    /// It is not shown, for this reason.
    None(&'static str),
}

/// An attack: a Python script that prints one report.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Its name: the file in `attacks/`, and the rule's name with `_is_contained`.
    pub name: &'static str,
    /// What it does; needs [`PRELUDE`] before and a call of `report()` behind.
    source: &'static str,
    /// How it is shown that it works.
    pub proof: Proof,
}

const PRELUDE: &str = include_str!("attacks/prelude.py");

impl Attack {
    /// Returns the whole script.
    #[must_use]
    pub fn script(&self) -> String {
        format!("{PRELUDE}\n\n{}\nreport()\n", self.source)
    }
}

macro_rules! attacks {
    ($($name:ident: $proof:expr,)+) => {
        /// All attacks.
        pub const ATTACKS: &[Attack] = &[$(Attack {
            name: stringify!($name),
            source: include_str!(concat!("attacks/", stringify!($name), ".py")),
            proof: $proof,
        },)+];
    };
}

const WOULD_HARM: Proof = Proof::None("without the defence it would harm this host");

attacks! {
    host_files: Proof::Unconfined,
    host_secrets: Proof::Unconfined,
    read_only_base: WOULD_HARM,
    overwrite_the_agent: Proof::WherePossible,
    folder_left_open: Proof::Unconfined,
    leaked_descriptors: Proof::Unconfined,
    environment_of_the_host: Proof::Unconfined,
    trace_the_agent: Proof::Unconfined,
    kill_the_agent: Proof::None("without the defence it would hit this host's first process"),
    host_processes: Proof::Unconfined,
    foreign_namespaces: Proof::InNamespaces,
    nested_user_namespaces: Proof::WherePossible,
    mounts: Proof::InNamespaces,
    roots_and_nodes: Proof::InNamespaces,
    cgroups: Proof::InNamespaces,
    kernel_settings: Proof::Unconfined,
    system_files: Proof::WherePossible,
    kernel_modules: Proof::WherePossible,
    machine_controls: Proof::WherePossible,
    clocks: WOULD_HARM,
    names: Proof::InNamespaces,
    root_rights: Proof::InNamespaces,
    set_uid_programs: Proof::AsNobody,
    personalities: Proof::Unconfined,
    foreign_system_calls: Proof::WherePossible,
    rare_system_calls: Proof::Unconfined,
    filters_of_system_calls: Proof::WherePossible,
    limits: Proof::WherePossible,
    oom_scores: Proof::Unconfined,
    own_memory: Proof::None("no kernel that is kept up to date lets it through"),
    bpf: Proof::WherePossible,
    io_uring: Proof::WherePossible,
    keyrings: Proof::WherePossible,
    userfaultfd: Proof::WherePossible,
    perf_events: Proof::WherePossible,
    packet_sockets: Proof::InNamespaces,
    netlink_sockets: Proof::Unconfined,
    rare_sockets: Proof::WherePossible,
    terminals: Proof::WherePossible,
    unix_sockets: Proof::Unconfined,
    shared_memory: Proof::Unconfined,
    devices: Proof::Unconfined,
    kernel_secrets: Proof::WherePossible,
    hardware_identity: Proof::Unconfined,
    host_inventory: Proof::Unconfined,
    file_handles: Proof::WherePossible,
    network_tcp: Proof::Unconfined,
    network_udp: Proof::Unconfined,
    network_icmp: Proof::WherePossible,
    neighbour: Proof::None("it needs the neighbour that its rule starts"),
}

/// Returns an attack by name.
pub(super) fn find(name: &str) -> &'static Attack {
    ATTACKS
        .iter()
        .find(|attack| attack.name == name)
        .unwrap_or_else(|| panic!("there is no attack '{name}'"))
}

/// What an attack says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Whether nothing of it worked.
    pub(super) contained: bool,
    /// What it tried.
    pub(super) tried: String,
    /// What worked, or how each try was refused.
    pub(super) detail: String,
}

impl Report {
    /// Reads a report; anything that is none is a failure of the test.
    pub(super) fn read(json: &Value) -> Self {
        let text = |name: &str| {
            json[name]
                .as_str()
                .unwrap_or_else(|| panic!("no attack's report: {json}"))
                .to_owned()
        };
        Self {
            contained: json["contained"]
                .as_bool()
                .unwrap_or_else(|| panic!("no attack's report: {json}")),
            tried: text("tried"),
            detail: text("detail"),
        }
    }
}
