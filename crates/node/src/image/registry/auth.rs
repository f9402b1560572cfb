//! Who we are to a registry: credentials, challenges and tokens (RFC 9110 section 11, Docker's token authentication).

// tidy(hosts): Docker's own registry is noted and asked under other names than its images have

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use docker_credential::DockerCredential;
use vulcan_api::RegistryCredentials;

/// Under which name Docker notes the credentials of its own registry.
const DOCKER_HUB_NOTED: &str = "https://index.docker.io/v1/";

/// What a registry wants to know before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password with every request.
    Basic,
    /// A token, to be had at `realm`.
    Bearer { realm: String, service: Option<String> },
}

/// Reads a `WWW-Authenticate` header; `None` where it asks for something that is not known here.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parameters(rest);
    Some(Challenge::Bearer {
        realm: parameters.remove("realm")?,
        service: parameters.remove("service"),
    })
}

/// Reads `name="value", name=value`; a value in quotes may have commas.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        parameters.entry(name).or_insert_with(|| value.trim().to_owned());
        rest = after;
    }
    parameters
}

/// Returns what Docker's configuration file says of a registry; may ask a helper program of Docker's, and blocks.
pub(super) fn of_docker(config: &Path, registry: &str) -> Option<RegistryCredentials> {
    let names: &[&str] = match registry {
        "docker.io" => &[DOCKER_HUB_NOTED, "docker.io", "index.docker.io"],
        other => &[other],
    };
    names.iter().find_map(|name| {
        let file = BufReader::new(File::open(config).ok()?);
        match docker_credential::get_credential_from_reader(file, name) {
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                Some(RegistryCredentials { username, password })
            }
            // A token of an identity provider needs OAuth, which is not known here.
            Ok(DockerCredential::IdentityToken(_)) | Err(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let table: Vec<String> = [
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
            r#"bearer service=x, realm="http://127.0.0.1:1/t?a=b,c""#,
            r#"Basic realm="Registry Realm""#,
            "basic",
            "Bearer",
            r#"Bearer realm="unfinished"#,
            "Negotiate abc",
            "",
        ]
        .into_iter()
        .map(|text| format!("{text} → {:?}", challenge(text)))
        .collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull" → Some(Bearer { realm: "https://auth.docker.io/token", service: Some("registry.docker.io") })
        bearer service=x, realm="http://127.0.0.1:1/t?a=b,c" → Some(Bearer { realm: "http://127.0.0.1:1/t?a=b,c", service: Some("x") })
        Basic realm="Registry Realm" → Some(Basic)
        basic → Some(Basic)
        Bearer → None
        Bearer realm="unfinished → Some(Bearer { realm: "unfinished", service: None })
        Negotiate abc → None
         → None
        "#);
    }

    #[test]
    fn credentials_are_those_that_docker_login_noted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // alice:secret and bob:hub
        let text = r#"{"auths": {"127.0.0.1:5000": {"auth": "YWxpY2U6c2VjcmV0"}, "https://index.docker.io/v1/": {"auth": "Ym9iOmh1Yg=="}}}"#;
        std::fs::write(file.path(), text).unwrap();
        let of = |registry| of_docker(file.path(), registry).map(|found| (found.username, found.password));
        assert_eq!(of("127.0.0.1:5000"), Some(("alice".into(), "secret".into())));
        assert_eq!(of("docker.io"), Some(("bob".into(), "hub".into())));
        assert_eq!(of("ghcr.io"), None);
    }
}
