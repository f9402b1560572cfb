//! The language side of a workload.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// What runs the code inside an instance.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// CPython 3.
    Python,
    /// JavaScript, as an ES module or CommonJS.
    #[serde(alias = "javascript")]
    Node,
    /// TypeScript; its types are stripped, not checked.
    Typescript,
    /// A Bash script.
    Bash,
    /// Go source, compiled once per source digest.
    Go,
    /// A static executable in an archive.
    Binary,
    /// A WebAssembly module or component, binary or as text.
    Wasm,
    /// The program of an image, or a command in it.
    Image,
}

impl Runtime {
    /// All runtimes.
    pub const ALL: [Self; 8] = [
        Self::Python,
        Self::Node,
        Self::Typescript,
        Self::Bash,
        Self::Go,
        Self::Binary,
        Self::Wasm,
        Self::Image,
    ];

    /// Returns the name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Typescript => "typescript",
            Self::Bash => "bash",
            Self::Go => "go",
            Self::Binary => "binary",
            Self::Wasm => "wasm",
            Self::Image => "image",
        }
    }

    /// Returns the file name that a `code` string gets inside the instance; `None` where only an archive makes sense.
    #[must_use]
    pub const fn default_entrypoint(self) -> Option<&'static str> {
        match self {
            Self::Python => Some("main.py"),
            Self::Node => Some("main.js"),
            Self::Typescript => Some("main.ts"),
            Self::Bash => Some("main.sh"),
            Self::Go => Some("main.go"),
            Self::Binary | Self::Image => None,
            Self::Wasm => Some("main.wasm"),
        }
    }

    /// Returns what runs a workload that names an image and no runtime.
    pub(crate) const fn of_image() -> Self {
        Self::Image
    }

    /// Guesses the runtime from a file's extension.
    #[must_use]
    pub fn from_extension(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "py" => Some(Self::Python),
            "js" | "mjs" | "cjs" => Some(Self::Node),
            "ts" | "mts" | "cts" => Some(Self::Typescript),
            "sh" | "bash" => Some(Self::Bash),
            "go" => Some(Self::Go),
            "wasm" | "wat" => Some(Self::Wasm),
            _ => None,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        if value == "javascript" {
            return Ok(Self::Node);
        }
        Self::ALL
            .into_iter()
            .find(|runtime| runtime.as_str() == value)
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
                format!("unknown runtime '{value}': use one of {}", names.join(", "))
            })
    }
}
