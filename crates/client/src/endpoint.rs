//! Where a server listens.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

/// Where a server listens: an `http://` URL, or a Unix socket written as `unix:PATH` or as an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Over TCP; the URL ends with a slash.
    Http(Url),
    /// Over a socket file of this machine.
    Unix(PathBuf),
}

/// Says why a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is not the address of a server: {reason}")]
pub struct EndpointError {
    /// What was given.
    pub value: String,
    /// What is wrong with it, and what is allowed.
    pub reason: String,
}

impl Endpoint {
    /// Returns whether requests stay on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http(url) => match url.host_str() {
                Some("localhost") => true,
                Some(host) => host
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback()),
                None => false,
            },
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(value: &str) -> Result<Self, EndpointError> {
        if let Some(path) = value
            .strip_prefix("unix:")
            .or_else(|| value.starts_with('/').then_some(value))
        {
            return unix(value, path);
        }
        http(value)
    }
}

fn unix(value: &str, path: &str) -> Result<Endpoint, EndpointError> {
    if !path.starts_with('/') {
        return Err(refused(value, "the path of a socket must be absolute"));
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn http(value: &str) -> Result<Endpoint, EndpointError> {
    const ALLOWED: &str = "write http://HOST:PORT or unix:/PATH";
    let mut url: Url = value
        .parse()
        .map_err(|error| refused(value, format!("{error}; {ALLOWED}")))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(refused(
                value,
                "this version speaks no TLS; write http://HOST:PORT",
            ));
        }
        _ => return Err(refused(value, ALLOWED)),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refused(value, ALLOWED));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("(hidden)", "credentials do not belong into the address"));
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(Endpoint::Http(url))
}

fn refused(value: &str, reason: impl Into<String>) -> EndpointError {
    EndpointError {
        value: value.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_socket_survive_their_text() {
        for text in [
            "http://127.0.0.1:7070",
            "http://newt:7070/vulcan",
            "unix:/run/vulcan.sock",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("/run/v".parse(), Ok(Endpoint::Unix("/run/v".into())));
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_allowed() {
        for bad in [
            "",
            "newt",
            "newt:7070",
            "ftp://newt",
            "https://newt",
            "http://",
            "unix:run/v",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?}");
        }
        let error = "http://me:secret@newt".parse::<Endpoint>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        for local in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
            "unix:/a",
        ] {
            assert!(local.parse::<Endpoint>().unwrap().is_local(), "{local}");
        }
        assert!(!"http://10.0.0.1".parse::<Endpoint>().unwrap().is_local());
    }
}
