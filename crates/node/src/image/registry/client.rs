//! Asking a registry: requests, redirects, tokens, limits.

// tidy(hosts): Docker's own registry is asked under another name than its images have

use std::{net::IpAddr, path::PathBuf, sync::Mutex, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE, WWW_AUTHENTICATE},
    redirect::{Attempt, Policy},
};
use serde::Deserialize;
use vulcan_api::{ImageName, RegistryCredentials};

use super::{
    Trouble,
    auth::{Challenge, challenge, of_docker},
};
use crate::image::{
    digest::Digest,
    manifest::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST},
    options::ImageOptions,
    store::lock,
};

/// The most bytes of a manifest, an index or a config (the specification asks registries to take 4 MiB).
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
const TOKEN_BYTES_MAX: u64 = 1 << 20;
const REDIRECTS_MAX: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before asking again; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Whom a registry is asked as, and how.
#[derive(Debug, Clone)]
pub(in crate::image) struct Access {
    credentials: Option<RegistryCredentials>,
    is_plain: bool,
    stall: Duration,
    pub(super) attempts_max: u32,
}

impl Access {
    /// Finds out how a registry is asked: the request's credentials before the configuration's before Docker's. Blocks.
    pub(in crate::image) fn to(
        registry: &str,
        options: &ImageOptions,
        asked: Option<RegistryCredentials>,
    ) -> Self {
        let credentials = asked
            .or_else(|| options.credentials.get(registry).cloned())
            .or_else(|| {
                let config: &PathBuf = options.docker_config.as_ref()?;
                of_docker(config, registry)
            });
        Self {
            credentials,
            is_plain: is_loopback(registry) || options.plain_http.iter().any(|plain| plain == registry),
            stall: Duration::from_secs(options.stall_s.max(1)),
            attempts_max: options.attempts_max,
        }
    }
}

/// Whether a registry is on this machine, by its name alone: nobody is asked what a name stands for.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One repository of a registry.
pub(in crate::image) struct Registry {
    client: Client,
    base: Url,
    repository: String,
    pub(super) access: Access,
    authorization: Mutex<Option<HeaderValue>>,
}

/// A manifest or an index, as it came.
pub(in crate::image) struct Document {
    pub(in crate::image) content: Vec<u8>,
}

impl Registry {
    pub(in crate::image) fn new(name: &ImageName, access: Access) -> Result<Self, Trouble> {
        // Another part of the process may have been quicker.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let registry = match name.registry() {
            Some("docker.io") => "registry-1.docker.io",
            Some(registry) => registry,
            None => return Err(Trouble::wrong("it belongs to no registry")),
        };
        let scheme = if access.is_plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{registry}/"))
            .map_err(|error| Trouble::wrong(format!("'{registry}' is no host: {error}")))?;
        let is_plain = access.is_plain;
        let mut builder = Client::builder()
            .user_agent(concat!("vulcan/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(access.stall)
            .redirect(Policy::custom(move |attempt| redirect(attempt, is_plain)));
        if is_loopback(registry) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| Trouble::unreachable(format!("TLS could not be set up: {}", chain(&error))))?;
        Ok(Self {
            client,
            base,
            repository: name.repository().to_owned(),
            access,
            authorization: Mutex::default(),
        })
    }

    /// Gets a manifest or an index by its tag or digest.
    pub(in crate::image) async fn manifest(&self, reference: &str) -> Result<Document, Trouble> {
        let accept = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
        let what = format!("manifest '{reference}' in {}", self.repository);
        let path = format!("manifests/{reference}");
        let content = self.document(&path, &what, Some(&accept)).await?;
        let digest = Digest::of(&content);
        if reference.starts_with("sha256:") && digest.as_str() != reference {
            return Err(Trouble::wrong(format!(
                "its manifest has the digest {digest}, and {reference} was asked for"
            )));
        }
        Ok(Document { content })
    }

    /// Gets a small blob whole.
    pub(in crate::image) async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, Trouble> {
        let what = format!("blob {}", blob.digest);
        if blob.size > DOCUMENT_BYTES_MAX {
            return Err(Trouble::wrong(format!(
                "its config has {} bytes, and {DOCUMENT_BYTES_MAX} are allowed",
                blob.size
            )));
        }
        let path = format!("blobs/{}", blob.digest);
        let content = self.document(&path, &what, None).await?;
        let digest = Digest::of(&content);
        if digest != blob.digest {
            return Err(Trouble::wrong(format!(
                "blob {} has the digest {digest} in truth",
                blob.digest
            )));
        }
        Ok(content)
    }

    /// Asks for a blob from `offset` on.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response, Trouble> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let path = format!("blobs/{digest}");
        self.get(&path, &format!("blob {digest}"), None, range.as_deref())
            .await
    }

    /// Gets something small whole; asks again where it may help.
    async fn document(&self, path: &str, what: &str, accept: Option<&str>) -> Result<Vec<u8>, Trouble> {
        let mut attempt = 0;
        loop {
            match self.document_once(path, what, accept).await {
                Err(Trouble::Unreachable { .. }) if attempt < self.access.attempts_max => {
                    self.wait(attempt).await;
                    attempt += 1;
                }
                Err(Trouble::Unreachable { why }) => {
                    return Err(Trouble::unreachable(format!(
                        "{why}, {} times in a row",
                        attempt + 1
                    )));
                }
                result => return result,
            }
        }
    }

    async fn document_once(&self, path: &str, what: &str, accept: Option<&str>) -> Result<Vec<u8>, Trouble> {
        let response = self.get(path, what, accept, None).await?;
        self.read(response, DOCUMENT_BYTES_MAX, what).await
    }

    /// Waits before attempt `attempt` + 1: longer each time, and not as long as everybody else.
    pub(super) async fn wait(&self, attempt: u32) {
        use std::hash::{BuildHasher, RandomState};
        let most = BACKOFF_MIN.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
        let share = RandomState::new().hash_one(attempt) % 512;
        let wait = most / 2 + most.saturating_mul(u32::try_from(share).unwrap_or(0)) / 1024;
        tokio::time::sleep(wait).await;
    }

    async fn get(
        &self,
        path: &str,
        what: &str,
        accept: Option<&str>,
        range: Option<&str>,
    ) -> Result<Response, Trouble> {
        let url = self
            .base
            .join(&format!("v2/{}/{path}", self.repository))
            .map_err(|error| Trouble::wrong(format!("{what} has no address: {error}")))?;
        let mut has_asked_for_token = false;
        loop {
            let mut request = self.client.get(url.clone());
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(range) = range {
                request = request.header(RANGE, range);
            }
            if let Some(authorization) = lock(&self.authorization).clone() {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| self.broken(&error))?;
            if response.status() != StatusCode::UNAUTHORIZED || has_asked_for_token {
                return self.checked(response, what);
            }
            self.authorize(&response).await?;
            has_asked_for_token = true;
        }
    }

    fn checked(&self, response: Response, what: &str) -> Result<Response, Trouble> {
        let status = response.status();
        let host = self.host();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            StatusCode::NOT_FOUND => Err(Trouble::NotFound {
                what: what.to_owned(),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Unauthorized {
                why: match &self.access.credentials {
                    Some(own) => format!("{host} does not give {what} to '{}' ({status})", own.username),
                    None => format!("{host} does not give {what} to anonymous users ({status})"),
                },
            }),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(Trouble::unreachable(
                format!("{host} asks to be asked later ({status})"),
            )),
            status if status.is_server_error() => Err(Trouble::unreachable(format!(
                "{host} answers {status} for {what}"
            ))),
            status => Err(Trouble::wrong(format!("{host} answers {status} for {what}"))),
        }
    }

    /// Does what a refused request asks for.
    async fn authorize(&self, refused: &Response) -> Result<(), Trouble> {
        let asked = refused
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(challenge);
        let authorization = match (asked, &self.access.credentials) {
            (Some(Challenge::Bearer { realm, service }), _) => self.token(&realm, service.as_deref()).await?,
            (Some(Challenge::Basic), Some(credentials)) => basic(credentials)?,
            (Some(Challenge::Basic), None) => {
                return Err(Trouble::Unauthorized {
                    why: format!("{} wants a name and a password", self.host()),
                });
            }
            (None, _) => {
                return Err(Trouble::Unauthorized {
                    why: format!("{} asks for a kind of proof that is not known here", self.host()),
                });
            }
        };
        *lock(&self.authorization) = Some(authorization);
        Ok(())
    }

    /// Gets a token that allows to read the repository.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, Trouble> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let realm = Url::parse(realm)
            .ok()
            .filter(|url| url.scheme() == "https" || (self.access.is_plain && url.scheme() == "http"))
            .ok_or_else(|| Trouble::wrong("its registry sends to a token server without an https address"))?;
        let host = realm.host_str().unwrap_or_default().to_owned();
        let scope = format!("repository:{}:pull", self.repository);
        let mut request = self.client.get(realm).query(&[("scope", scope.as_str())]);
        if let Some(service) = service {
            request = request.query(&[("service", service)]);
        }
        if let Some(credentials) = &self.access.credentials {
            request = request.header(AUTHORIZATION, basic(credentials)?);
        }
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let what = format!("token of {host}");
        let response = self.checked(response, &what)?;
        let content = self.read(response, TOKEN_BYTES_MAX, &what).await?;
        let unusable = || Trouble::wrong(format!("the {what} cannot be read"));
        let token: Token = serde_json::from_slice(&content).map_err(|_| unusable())?;
        let token = token.token.or(token.access_token).ok_or_else(unusable)?;
        secret(&format!("Bearer {token}")).ok_or_else(unusable)
    }

    /// Reads an answer whole, if it is not longer than allowed.
    async fn read(&self, mut response: Response, bytes_max: u64, what: &str) -> Result<Vec<u8>, Trouble> {
        let mut content = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if (content.len() + piece.len()) as u64 > bytes_max {
                return Err(Trouble::wrong(format!(
                    "the {what} is longer than {bytes_max} bytes"
                )));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    pub(super) fn broken(&self, error: &reqwest::Error) -> Trouble {
        let host = self.host();
        if error.is_redirect() {
            return Trouble::wrong(format!("{host} redirects where nobody follows: {}", chain(error)));
        }
        let why = if error.is_timeout() {
            format!("{host} said nothing for {} s", self.access.stall.as_secs())
        } else if error.is_connect() {
            format!("{host} cannot be reached: {}", chain(error))
        } else {
            format!("the connection to {host} broke: {}", chain(error))
        };
        Trouble::unreachable(why)
    }

    pub(super) fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// Follows a redirect, but not out of TLS; the client itself keeps credentials from other hosts.
fn redirect(attempt: Attempt<'_>, is_plain: bool) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error("it redirects again and again");
    }
    if attempt.url().scheme() != "https" && !is_plain {
        return attempt.error("it redirects to an address without TLS");
    }
    attempt.follow()
}

fn basic(credentials: &RegistryCredentials) -> Result<HeaderValue, Trouble> {
    use base64::Engine as _;
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    secret(&text).ok_or_else(|| Trouble::wrong("the credentials cannot be sent"))
}

/// Makes a header that no log shows.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What went wrong, with all its causes, and without the address: that may have a signature.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if causes.is_empty() {
        causes.push("no cause is known".to_owned());
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "127.0.0.1.example.com",
            "localhost.example.com:5000",
            "10.0.0.1",
            "[::2]",
            "docker.io",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
