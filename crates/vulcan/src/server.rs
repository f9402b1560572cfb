//! Choosing the server that a command talks to.

use std::time::Duration;

use vulcan_client::{Client, ClientError, Endpoint};

use crate::failure::Failure;

/// Where a server is looked for when none is named.
pub(crate) const DEFAULT: &str = "http://127.0.0.1:7070";
/// How long the server there may take to say that it is one.
const HEALTH_LIMIT: Duration = Duration::from_millis(500);

/// Returns a client of the server that was named, or of the default one.
///
/// # Errors
///
/// A [`Failure`] when no client can be made.
pub(crate) fn named_or_default(named: Option<&Endpoint>) -> Result<Client, Failure> {
    let endpoint = match named {
        Some(endpoint) => endpoint.clone(),
        None => default_endpoint(),
    };
    client(endpoint)
}

/// Returns a client of the server that was named, or of the default one if a vulcan server lives there; otherwise `None`.
///
/// # Errors
///
/// A [`Failure`] when no client can be made.
pub(crate) async fn named_or_found(named: Option<&Endpoint>) -> Result<Option<Client>, Failure> {
    if let Some(endpoint) = named {
        return client(endpoint.clone()).map(Some);
    }
    let client = client(default_endpoint())?;
    // Whatever the reason is that it does not answer as one: it is not to be used without having been named.
    Ok(client.health(HEALTH_LIMIT).await.is_ok().then_some(client))
}

fn default_endpoint() -> Endpoint {
    DEFAULT.parse().expect("a constant address")
}

fn client(endpoint: Endpoint) -> Result<Client, Failure> {
    Client::new(endpoint).map_err(|error: ClientError| Failure::client("reach the server", &error))
}
