//! One request and its answer: deadlines, size limits, and telling a refusal from a foreign answer.

use std::{future::Future, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header::CONTENT_TYPE};
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use vulcan_api::Problem;

use crate::ClientError;

/// The largest answer that is read: an output may be as large as the server's cap, and a page holds many.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most characters of a foreign answer that go into an error.
const FOREIGN_CHARS_MAX: usize = 120;

/// One request, described for its errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The server, for people.
    pub(crate) endpoint: &'a str,
    /// What is asked, so that it reads after "did not".
    pub(crate) what: &'static str,
    /// The time until the whole answer is there.
    pub(crate) limit: Duration,
}

impl Call<'_> {
    /// Sends the request, and returns the answer's body if it is a success.
    pub(crate) async fn body(self, request: RequestBuilder) -> Result<Bytes, ClientError> {
        self.within(async {
            let response = self.accepted(request).await?;
            self.read(response).await
        })
        .await
    }

    /// Sends the request, and returns the answer's JSON if it is a success.
    pub(crate) async fn json<T: DeserializeOwned>(self, request: RequestBuilder) -> Result<T, ClientError> {
        let body = self.body(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.malformed(error.to_string()))
    }

    /// Sends the request, and returns the answer with its body unread if it is a success.
    pub(crate) async fn accepted(self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.network(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// Applies the deadline.
    pub(crate) async fn within<T>(
        self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(result) => result,
            Err(_) => Err(self.timeout()),
        }
    }

    pub(crate) fn malformed(self, reason: impl Into<String>) -> ClientError {
        ClientError::Malformed {
            endpoint: self.endpoint.to_owned(),
            reason: reason.into(),
        }
    }

    /// Sorts an error of the network by what the server may have seen.
    pub(crate) fn network(self, source: reqwest::Error) -> ClientError {
        let endpoint = self.endpoint.to_owned();
        let source = source.without_url();
        if source.is_connect() {
            return ClientError::Unreachable { endpoint, source };
        }
        if source.is_timeout() {
            return self.timeout();
        }
        ClientError::Interrupted {
            endpoint,
            what: self.what,
            source,
        }
    }

    pub(crate) fn timeout(self) -> ClientError {
        ClientError::Timeout {
            endpoint: self.endpoint.to_owned(),
            what: self.what,
            limit: self.limit,
        }
    }

    async fn read(self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.network(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ClientError::TooLarge {
                    endpoint: self.endpoint.to_owned(),
                    limit_bytes: ANSWER_BYTES_MAX,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    async fn refusal(self, response: Response) -> ClientError {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        if is_problem && let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            return ClientError::Problem(Box::new(problem));
        }
        self.foreign(status, &body)
    }

    fn foreign(self, status: StatusCode, body: &[u8]) -> ClientError {
        let head: String = String::from_utf8_lossy(&body[..body.len().min(4 * FOREIGN_CHARS_MAX)])
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(FOREIGN_CHARS_MAX)
            .collect();
        self.malformed(format!("HTTP {status}: {}", head.trim()))
    }
}
