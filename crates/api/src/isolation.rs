//! What stands between foreign code and the host.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One class of isolation, as a backend provides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IsolationClass {
    /// V8 in one locked-down process per instance.
    Isolate,
    /// WebAssembly in process.
    Wasm,
    /// Native namespaces, Landlock, seccomp, cgroup; the host's interpreters, read-only.
    Sandbox,
    /// An OCI bundle under a runc-class runtime.
    Container,
    /// An OCI bundle under gVisor's user-space kernel.
    Gvisor,
    /// A virtual machine.
    Microvm,
}

impl IsolationClass {
    /// All classes, in the order of the documentation's table.
    pub const ALL: [Self; 6] = [
        Self::Isolate,
        Self::Wasm,
        Self::Sandbox,
        Self::Container,
        Self::Gvisor,
        Self::Microvm,
    ];

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Wasm => "wasm",
            Self::Sandbox => "sandbox",
            Self::Container => "container",
            Self::Gvisor => "gvisor",
            Self::Microvm => "microvm",
        }
    }

    /// Ranks the strength of the boundary: a higher number keeps more between the guest and the host's kernel.
    ///
    /// `isolate` and `wasm` put an engine before the kernel, and count as stronger than a bare kernel boundary only for
    /// code that they can run.
    #[must_use]
    pub const fn strength(self) -> u8 {
        match self {
            Self::Container => 1,
            Self::Sandbox => 2,
            Self::Wasm => 3,
            Self::Isolate => 4,
            Self::Gvisor => 5,
            Self::Microvm => 6,
        }
    }
}

impl fmt::Display for IsolationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the user asks for: a class by name, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The platform chooses, and says why.
    #[default]
    Auto,
    /// V8 in one locked-down process per instance.
    Isolate,
    /// WebAssembly in process.
    Wasm,
    /// Native namespaces, Landlock, seccomp, cgroup.
    Sandbox,
    /// An OCI bundle under a runc-class runtime.
    Container,
    /// An OCI bundle under gVisor.
    Gvisor,
    /// A virtual machine.
    Microvm,
}

impl Isolation {
    /// All values, `auto` first.
    pub const ALL: [Self; 7] = [
        Self::Auto,
        Self::Isolate,
        Self::Wasm,
        Self::Sandbox,
        Self::Container,
        Self::Gvisor,
        Self::Microvm,
    ];

    /// Returns the class that was named, or `None` for `auto`.
    #[must_use]
    pub const fn class(self) -> Option<IsolationClass> {
        match self {
            Self::Auto => None,
            Self::Isolate => Some(IsolationClass::Isolate),
            Self::Wasm => Some(IsolationClass::Wasm),
            Self::Sandbox => Some(IsolationClass::Sandbox),
            Self::Container => Some(IsolationClass::Container),
            Self::Gvisor => Some(IsolationClass::Gvisor),
            Self::Microvm => Some(IsolationClass::Microvm),
        }
    }

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.class() {
            None => "auto",
            Some(class) => class.as_str(),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|isolation| isolation.as_str() == value)
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
                format!("unknown isolation '{value}': use one of {}", names.join(", "))
            })
    }
}
