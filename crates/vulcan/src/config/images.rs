//! The settings of images: the store's own, and whom to pull as, by registry.
//!
//! Credentials are the one part of the configuration whose keys are not known beforehand: a registry's name is part of them.
//! Passwords are read and never written: neither [`Config::to_toml`] nor the debug text shows one.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use vulcan_api::{ImageName, RegistryCredentials, Runtime};

use super::{Config, load::ConfigError};

/// What every key of a registry's credentials begins with.
pub(super) const CREDENTIALS: &str = "images.credentials.";
/// The largest file of a password; tokens of cloud registries take some thousand bytes.
const PASSWORD_BYTES_MAX: u64 = 64 * 1024;

/// Images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageSettings {
    /// The store's options; its credentials are made of what is below.
    pub(crate) store: vulcan_node::ImageOptions,
    /// The largest archive that is taken from a caller.
    pub(crate) upload_bytes_max: u64,
    credentials: BTreeMap<String, Credential>,
}

/// Whom to pull as from one registry.
#[derive(Clone, PartialEq, Eq, Default)]
struct Credential {
    username: String,
    password: Option<String>,
    password_file: Option<PathBuf>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .finish_non_exhaustive()
    }
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            store: vulcan_node::ImageOptions::default(),
            upload_bytes_max: vulcan_control::Options::new(PathBuf::new()).upload_bytes_max,
            credentials: BTreeMap::new(),
        }
    }
}

impl ImageSettings {
    /// Reads a value of a registry's credentials; `key` is what stands behind [`CREDENTIALS`].
    pub(super) fn set_credential(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        const ALLOWED: &str = "write username, password or password_file behind the registry's name";
        let (registry, field) = key.rsplit_once('.').ok_or(ALLOWED)?;
        let value = value
            .filter(|value| !value.is_empty())
            .ok_or("a text is needed")?;
        // What a registry may be called is what may stand before an image's path.
        let probe = format!("{registry}/a");
        let name: Option<ImageName> = probe.parse().ok();
        let registry = name
            .as_ref()
            .and_then(ImageName::registry)
            .filter(|known| probe.starts_with(*known))
            .ok_or_else(|| {
                format!("'{registry}' is not the name of a registry, as registry.example or localhost:5000")
            })?;
        let mut credential = self.credentials.get(registry).cloned().unwrap_or_default();
        match field {
            "username" => value.clone_into(&mut credential.username),
            "password" => credential.password = Some(value.to_owned()),
            "password_file" => credential.password_file = Some(PathBuf::from(value)),
            other => return Err(format!("there is no '{other}': {ALLOWED}")),
        }
        self.credentials.insert(registry.to_owned(), credential);
        Ok(())
    }

    /// Makes the store's credentials, with what the files of passwords hold.
    pub(super) fn read_passwords(&mut self) -> Result<(), ConfigError> {
        for (registry, credential) in &self.credentials {
            let wrong = |reason: &str| ConfigError::Contradiction {
                reason: format!("{CREDENTIALS}\"{registry}\": {reason}"),
            };
            if credential.username.is_empty() {
                return Err(wrong("username is missing"));
            }
            let password = match (&credential.password, &credential.password_file) {
                (Some(password), None) => password.clone(),
                (None, Some(file)) => password_of(file)?,
                (Some(_), Some(_)) => return Err(wrong("password and password_file are both set")),
                (None, None) => return Err(wrong("password or password_file is missing")),
            };
            let credentials = RegistryCredentials {
                username: credential.username.clone(),
                password,
            };
            self.store.credentials.insert(registry.clone(), credentials);
        }
        Ok(())
    }

    /// Writes the credentials as TOML, without their passwords.
    pub(super) fn credentials_toml(&self) -> String {
        let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let mut toml = String::from(
            "\n# Whom to pull as, one table per registry: username, and password or password_file.\n\
             # [images.credentials.\"registry.example.org:5000\"]\n",
        );
        for (registry, credential) in &self.credentials {
            toml.push_str(&format!(
                "[images.credentials.{}]\nusername = {}\n",
                text(registry),
                text(&credential.username)
            ));
            match &credential.password_file {
                Some(file) => toml.push_str(&format!(
                    "password_file = {}\n",
                    text(&file.display().to_string())
                )),
                None => toml.push_str("# password is set, and not shown\n"),
            }
        }
        toml
    }
}

fn password_of(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        file: file.to_owned(),
        source,
    };
    if fs::metadata(file).map_err(unreadable)?.len() > PASSWORD_BYTES_MAX {
        return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    // An editor ends the line; no password ends with one.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads `python=vulcan/python,node=…`.
pub(super) fn read_defaults(text: &str) -> Result<BTreeMap<String, ImageName>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (runtime, image) = pair.split_once('=').ok_or_else(|| {
                format!("'{pair}' is no runtime, equals sign and image, as python=vulcan/python")
            })?;
            let runtime: Runtime = runtime.trim().parse()?;
            if matches!(runtime, Runtime::Wasm | Runtime::Image) {
                return Err(format!("runtime {runtime} stands on no default image"));
            }
            let image: ImageName = image.trim().parse().map_err(|error| format!("{error}"))?;
            Ok((runtime.as_str().to_owned(), image))
        })
        .collect()
}

/// Writes it back.
pub(super) fn write_defaults(defaults: &BTreeMap<String, ImageName>) -> String {
    let pairs: Vec<String> = defaults
        .iter()
        .map(|(runtime, image)| format!("{runtime}={image}"))
        .collect();
    pairs.join(",")
}

impl Config {
    /// Returns the image store's options.
    #[must_use]
    pub(crate) fn image_options(&self) -> vulcan_node::ImageOptions {
        self.images.store.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flags = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned(), "--set".to_owned()));
        super::super::load(None, [], flags)
    }

    #[test]
    fn a_password_is_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "fr0m-file\n").unwrap();
        let config = load(&[
            ("images.credentials.registry.example.username", "me"),
            ("images.credentials.registry.example.password", "hunter2"),
            ("images.credentials.localhost:5000.username", "ci"),
            (
                "images.credentials.localhost:5000.password_file",
                file.to_str().unwrap(),
            ),
        ])
        .unwrap();
        let credentials = config.image_options().credentials;
        assert_eq!(credentials["registry.example"].password, "hunter2");
        assert_eq!(credentials["localhost:5000"].password, "fr0m-file");
        let shown = format!("{}{config:?}", config.to_toml());
        assert!(
            !shown.contains("hunter2") && !shown.contains("fr0m-file"),
            "{shown}"
        );
        assert!(
            shown.contains("[images.credentials.\"registry.example\"]"),
            "{shown}"
        );
    }

    #[test]
    fn credentials_in_a_file_are_tables_named_by_their_registry() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vulcan.toml");
        fs::write(
            &file,
            "[images.credentials.\"registry.example\"]\nusername = \"me\"\npassword = \"hunter2\"\n",
        )
        .unwrap();
        let config = super::super::load(Some(&file), [], []).unwrap();
        assert_eq!(
            config.image_options().credentials["registry.example"].username,
            "me"
        );
    }

    #[test]
    fn half_credentials_are_refused_by_name() {
        let error = |flags: &[(&str, &str)]| load(flags).unwrap_err().to_string();
        let user = ("images.credentials.registry.example.username", "me");
        let password = ("images.credentials.registry.example.password", "hunter2");
        let errors = [
            error(&[user]),
            error(&[password]),
            error(&[
                user,
                password,
                ("images.credentials.registry.example.password_file", "/x"),
            ]),
            error(&[user, ("images.credentials.registry.example.token", "hunter2")]),
            error(&[("images.credentials.Registry_example.username", "x")]),
            error(&[("images.defaults", "ruby=x")]),
            error(&[("images.defaults", "python=X")]),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }
}
