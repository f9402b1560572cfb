//! Putting the sources on top of each other.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{
    file, images,
    keys::{self, KEYS},
    nearest::nearest,
    settings::Config,
};

/// Variables that are no keys of the configuration.
pub(super) const OTHER_VARIABLES: [&str; 3] = ["VULCAN_SERVER", "VULCAN_CONFIG", "VULCAN_LOG"];
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    File {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why a configuration cannot be used. The text reads after "could not load the configuration: ".
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{} cannot be read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{origin}: {reason}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What is wrong.
        reason: String,
    },
    /// A key does not exist.
    #[error("{origin}: there is no key '{name}'")]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key, or the variable.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A value cannot be used.
    #[error("{origin}: {path}: {reason}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        path: String,
        /// What is allowed.
        reason: String,
    },
    /// Values do not fit together.
    #[error("{reason}")]
    Contradiction {
        /// Which, and why.
        reason: String,
    },
}

impl ConfigError {
    /// Returns what to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean '{nearest}'?")),
            Self::UnknownKey { nearest: None, .. } => {
                Some("`vulcan serve --print-config` lists every key".to_owned())
            }
            Self::Unreadable { .. }
            | Self::Syntax { .. }
            | Self::Value { .. }
            | Self::Contradiction { .. } => None,
        }
    }
}

/// Puts the sources on top of each other: defaults, the file, `variables`, `flags` (dotted key, value, flag's name).
///
/// Variables whose name does not begin with `VULCAN_` are none of ours; of those that do, an unknown one is an error.
///
/// # Errors
///
/// [`ConfigError`]: the first that is found.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String, String)>,
) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    if let Some(file) = file {
        let text = read(file)?;
        for entry in file::entries(file, &text)? {
            let line = entry.line;
            let origin = Origin::File {
                file: file.to_owned(),
                line,
            };
            set(&mut config, &entry.path, entry.value.as_deref(), origin)?;
        }
    }
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort_unstable();
    for (name, value) in variables {
        set_variable(&mut config, &name, &value)?;
    }
    for (path, value, flag) in flags {
        set(&mut config, &path, Some(&value), Origin::Flag(flag))?;
    }
    config.images.read_passwords()?;
    match config.contradiction() {
        Some(reason) => Err(ConfigError::Contradiction { reason }),
        None => Ok(config),
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let meta = fs::metadata(file).map_err(unreadable)?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read_to_string(file).map_err(unreadable)
}

fn set_variable(config: &mut Config, name: &str, value: &str) -> Result<(), ConfigError> {
    if !name.starts_with("VULCAN_") || OTHER_VARIABLES.contains(&name) {
        return Ok(());
    }
    let origin = Origin::Variable(name.to_owned());
    if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
        return set(config, key.path, Some(value), origin);
    }
    let names: Vec<String> = KEYS.iter().map(keys::Key::variable).collect();
    let known = names.iter().map(String::as_str).chain(OTHER_VARIABLES);
    Err(ConfigError::UnknownKey {
        nearest: nearest(name, known).map(str::to_owned),
        name: name.to_owned(),
        origin,
    })
}

fn set(config: &mut Config, path: &str, value: Option<&str>, origin: Origin) -> Result<(), ConfigError> {
    if let Some(key) = path.strip_prefix(images::CREDENTIALS) {
        let result = config.images.set_credential(key, value);
        return result.map_err(|reason| ConfigError::Value {
            origin,
            path: path.to_owned(),
            reason,
        });
    }
    let Some(key) = keys::find(path) else {
        return Err(ConfigError::UnknownKey {
            origin,
            name: path.to_owned(),
            nearest: nearest(path, KEYS.iter().map(|key| key.path)).map(str::to_owned),
        });
    };
    let result = match value {
        Some(value) => (key.set)(config, value),
        None => Err("one value is needed, not a list or a table".to_owned()),
    };
    result.map_err(|reason| ConfigError::Value {
        origin,
        path: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with_file(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vulcan.toml");
        fs::write(&file, text).unwrap();
        load(Some(&file), [], [])
    }

    fn error_of(text: &str) -> String {
        let error = with_file(text).unwrap_err();
        let text = error.to_string();
        let start = text.find("vulcan.toml").unwrap_or(0);
        format!("{} | {}", &text[start..], error.hint().unwrap_or_default())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vulcan.toml");
        fs::write(
            &file,
            "[server]\nlisten = \"127.0.0.1:1\"\nqueue_max = 1\nbody_timeout = \"1s\"\n",
        )
        .unwrap();
        let variables = pairs(&[
            ("VULCAN_LISTEN", "127.0.0.1:2"),
            ("VULCAN_QUEUE_MAX", "2"),
            ("HOME", "/"),
        ]);
        let flags = [("server.listen".into(), "127.0.0.1:3".into(), "--listen".into())];

        let config = load(Some(&file), variables, flags).unwrap();

        assert_eq!(config.server.listen, "127.0.0.1:3");
        assert_eq!(config.server.queue_len_max, 2);
        assert_eq!(config.server.body_timeout, Duration::from_secs(1));
        assert_eq!(
            config.server.drain_timeout,
            Config::default().server.drain_timeout
        );
    }

    #[test]
    fn an_unknown_key_names_the_file_the_line_and_what_was_meant() {
        insta::assert_snapshot!(error_of("[server]\n\nlisten = \"a\"\nqueue_mx = 1\n"),
            @"vulcan.toml:4: there is no key 'server.queue_mx' | did you mean 'server.queue_max'?");
        insta::assert_snapshot!(error_of("[limits.max]\nmemory = \"1GiB\"\n"),
            @"vulcan.toml:2: there is no key 'limits.max.memory' | did you mean 'limits.max.mem'?");
        insta::assert_snapshot!(error_of("[frobnication]\n"),
            @"vulcan.toml:1: there is no key 'frobnication' | `vulcan serve --print-config` lists every key");
    }

    #[test]
    fn an_unknown_variable_names_itself_and_what_was_meant() {
        let error = load(None, pairs(&[("VULCAN_LISTN", "x")]), []).unwrap_err();
        assert_eq!(
            error.to_string(),
            "variable VULCAN_LISTN: there is no key 'VULCAN_LISTN'"
        );
        assert_eq!(error.hint().as_deref(), Some("did you mean 'VULCAN_LISTEN'?"));
    }

    #[test]
    fn a_wrong_value_names_its_place_and_what_is_allowed() {
        insta::assert_snapshot!(error_of("[limits.max]\nmem = 512\n"),
            @"vulcan.toml:2: limits.max.mem: '512' is not a size: write a number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB, for example 64MiB | ");
        insta::assert_snapshot!(error_of("limits.default.cpus = -1\n"),
            @"vulcan.toml:1: limits.default.cpus: '-1' is not a number of 0 or more | ");
        insta::assert_snapshot!(error_of("[server]\nlisten = [\"a\"]\n"),
            @"vulcan.toml:2: server.listen: one value is needed, not a list or a table | ");
        insta::assert_snapshot!(error_of("[limits]\nisolation_floor = \"vm\"\n"),
            @"vulcan.toml:2: limits.isolation_floor: 'vm' is not a class of isolation: use one of isolate, wasm, sandbox, container, gvisor, microvm | ");
    }

    #[test]
    fn the_pools_say_what_is_wrong_with_their_values() {
        insta::assert_snapshot!(error_of("[pools]\nenabled = 1\n"),
            @"vulcan.toml:2: pools.enabled: '1' is neither true nor false | ");
        insta::assert_snapshot!(error_of("[pools]\nmemory_percent = 101\n"),
            @"vulcan.toml:2: pools.memory_percent: '101' is not a whole number from 0 to 100 | ");
        insta::assert_snapshot!(error_of("[pools]\nmemory_percent = 0\n"), @"pools.memory_percent must not be 0 | ");
        insta::assert_snapshot!(error_of("[pools]\nblank_per_kind = 9\n"),
            @"pools.blank_per_kind is larger than pools.blank_max | ");
        insta::assert_snapshot!(error_of("[pools]\nblank = \"python\"\n"),
            @"vulcan.toml:2: pools.blank: 'python' is not a kind of instance: write a class of isolation, a colon and a runtime, for example sandbox:python | ");
        insta::assert_snapshot!(error_of("[pools]\nblank = \"vm:python\"\n"),
            @"vulcan.toml:2: pools.blank: 'vm' is not a class of isolation: use one of isolate, wasm, sandbox, container, gvisor, microvm | ");
        insta::assert_snapshot!(error_of("[pools]\nblank = \"sandbox:cobol\"\n"),
            @r"vulcan.toml:2: pools.blank: unknown runtime 'cobol': use one of python, node, typescript, bash, go, binary, wasm, image |");
        insta::assert_snapshot!(error_of("[pools]\nwarm_idle_s = 3\n"),
            @"vulcan.toml:2: there is no key 'pools.warm_idle_s' | did you mean 'pools.warm_idle'?");
    }

    #[test]
    fn the_pools_take_their_kinds_and_the_size_of_a_workload_that_asks_for_none() {
        let text = "limits.default.mem = \"64MiB\"\n[pools]\nenabled = false\nblank = \"isolate:node, sandbox:python\"\n";
        let config = with_file(text).unwrap();
        assert_eq!(with_file(&config.to_toml()).unwrap(), config);
        let pools = config.pool_limits();
        assert_eq!(
            (pools.enabled, pools.blank.len(), pools.resources.mem_mb),
            (false, 2, 64)
        );
        assert_eq!(config.slots_max(), 256 + 2);
        assert_eq!(
            Config::default().slots_max(),
            256 + 2 + 256 + Config::default().pools.refill_concurrency
        );
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        assert!(error_of("[server]\nlisten = \n").starts_with("vulcan.toml:2: "));
    }

    #[test]
    fn a_default_above_its_maximum_is_refused() {
        insta::assert_snapshot!(error_of("[limits.default]\nmem = \"32GiB\"\n"),
            @"limits.default.mem is larger than limits.max.mem | ");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Some(Path::new("/nowhere/vulcan.toml")), [], []).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/vulcan.toml cannot be read");
    }

    #[test]
    fn the_documented_example_reads_back_as_it_was_written() {
        let mut config = Config::default();
        config.server.data_dir = Some("/srv/a b".into());
        config.limits.max.cpus = 2.5;
        assert_eq!(with_file(&config.to_toml()).unwrap(), config);
    }
}
