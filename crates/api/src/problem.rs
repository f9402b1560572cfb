//! Refusals of the platform: RFC 9457 problem details, each kind with a page in docs/problems/.

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $variant:ident = $slug:literal, $status:literal, $title:literal;)+) => {
        /// The kinds of refusal. Each has a page in docs/problems/ under its slug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind { $($(#[$doc])* $variant,)+ }

        impl ProblemKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the name in the problem's `type` and of its page.
            #[must_use]
            pub const fn slug(self) -> &'static str { match self { $(Self::$variant => $slug,)+ } }

            /// Returns the HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)+ } }

            /// Returns the one-line summary, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)+ } }
        }
    };
}

problem_kinds! {
    /// The body is not JSON.
    MalformedBody = "malformed-body", 400, "The body could not be read as JSON";
    /// A query parameter or header has a value that cannot be used.
    InvalidParameter = "invalid-parameter", 400, "A parameter has a value that cannot be used";
    /// An id in the path is not an id of that kind.
    InvalidId = "invalid-id", 400, "The id is not one of this kind";
    /// A cursor was not made by this platform.
    InvalidCursor = "invalid-cursor", 400, "The cursor is not one that this platform gave out";
    /// Nothing is there.
    NotFound = "not-found", 404, "There is nothing here";
    /// No workload has the id.
    WorkloadNotFound = "workload-not-found", 404, "No workload has this id";
    /// No benchmark has the id.
    BenchmarkNotFound = "benchmark-not-found", 404, "No benchmark has this id";
    /// Neither the node nor the registry has the image.
    ImageNotFound = "image-not-found", 404, "There is no such image";
    /// The path exists and the method does not.
    MethodNotAllowed = "method-not-allowed", 405, "The path does not take this method";
    /// None of the accepted media types can be given.
    NotAcceptable = "not-acceptable", 406, "None of the accepted media types can be given";
    /// The body took longer than the server waits for one.
    RequestTimeout = "request-timeout", 408, "The request took too long to arrive";
    /// The idempotency key was used before with another request.
    IdempotencyConflict = "idempotency-conflict", 409, "The idempotency key belongs to another request";
    /// Another benchmark is being measured.
    BenchmarkRunning = "benchmark-running", 409, "A benchmark is running";
    /// Instances use the image, or it is being made by somebody else.
    ImageInUse = "image-in-use", 409, "The image is in use";
    /// The body is larger than the limit.
    BodyTooLarge = "body-too-large", 413, "The body is larger than the limit";
    /// The body's media type is not one that the path takes.
    UnsupportedMediaType = "unsupported-media-type", 415, "The body has a media type that is not taken";
    /// A field is unknown, missing, or of the wrong type or value.
    InvalidField = "invalid-field", 422, "A field of the request cannot be used";
    /// A limit that was asked for lies outside of what the operator allows.
    LimitExceeded = "limit-exceeded", 422, "A value lies outside of its limits";
    /// The archive is broken or hostile.
    InvalidArchive = "invalid-archive", 422, "The code archive cannot be used";
    /// The image breaks its own digest, a limit, or a rule that keeps the host safe.
    ImageInvalid = "image-invalid", 422, "The image cannot be used";
    /// The image is not made for this machine.
    ImagePlatform = "image-platform", 422, "The image is for another kind of machine";
    /// A step of the build failed, or its file cannot be read.
    ImageBuildFailed = "image-build-failed", 422, "The image could not be built";
    /// The registry does not give the image to whoever asked.
    ImageUnauthorized = "image-unauthorized", 422, "The registry refuses the image";
    /// No node offers the isolation class or the runtime under it.
    IsolationUnavailable = "isolation-unavailable", 422, "The isolation class is not available";
    /// The network policy is not available.
    NetworkUnavailable = "network-unavailable", 422, "The network policy is not available";
    /// The registry does not answer, stalls, or breaks off again and again.
    ImageUnreachable = "image-unreachable", 502, "The registry could not be reached";
    /// The queue is full.
    Overloaded = "overloaded", 503, "The platform is at its limit";
    /// The server is shutting down or not yet up.
    ShuttingDown = "shutting-down", 503, "The server is shutting down";
    /// A part that the server needs does not answer.
    StorageUnavailable = "storage-unavailable", 503, "The server could not store the record";
    /// The disk or the image store is full.
    ImageStorageFull = "image-storage-full", 507, "There is no room for the image";
    /// A defect of the platform.
    Internal = "internal", 500, "The server failed";
}

/// One field of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Its path in the body, `resources.mem_mb` for example, or the name of a parameter.
    pub field: String,
    /// What was given, shortened; `None` where it was missing or must not be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What is allowed.
    pub allowed: String,
}

/// An RFC 9457 problem document (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `/problems/` and the kind's slug, relative to the server: the page that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The summary of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, why, and what to do.
    pub detail: String,
    /// The request's id, for the operator's logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The fields that cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds to wait before another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// Makes a problem of one kind.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{}", kind.slug()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Adds a field that cannot be used; a value longer than 200 characters is shortened.
    #[must_use]
    pub fn with_field(
        mut self,
        field: impl Into<String>,
        value: impl Into<Option<Value>>,
        allowed: impl Into<String>,
    ) -> Self {
        self.errors.push(FieldError {
            field: field.into(),
            value: value.into().map(shortened),
            allowed: allowed.into(),
        });
        self
    }

    /// Says how long to wait before another try.
    #[must_use]
    pub fn with_retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Returns the slug of the kind, or the whole `type` where it is not one of ours.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.kind.strip_prefix("/problems/").unwrap_or(&self.kind)
    }
}

fn shortened(value: Value) -> Value {
    const CHARS_MAX: usize = 200;
    let text = match &value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => return value,
        Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.chars().count() <= CHARS_MAX {
        return value;
    }
    Value::String(text.chars().take(CHARS_MAX).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique() {
        let mut slugs: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
    }

    #[test]
    fn a_problem_is_rfc_9457() {
        let problem = Problem::new(ProblemKind::LimitExceeded, "mem_mb is 99999; the most is 16384")
            .with_field("resources.mem_mb", Value::from(99_999), "8 to 16384");
        insta::assert_json_snapshot!(problem, @r#"
        {
          "type": "/problems/limit-exceeded",
          "title": "A value lies outside of its limits",
          "status": 422,
          "detail": "mem_mb is 99999; the most is 16384",
          "errors": [
            {
              "field": "resources.mem_mb",
              "value": 99999,
              "allowed": "8 to 16384"
            }
          ]
        }
        "#);
    }

    #[test]
    fn a_long_value_is_not_sent_back_whole() {
        let problem = Problem::new(ProblemKind::InvalidField, "").with_field(
            "code",
            Value::String("x".repeat(100_000)),
            "",
        );
        assert!(serde_json::to_string(&problem).unwrap().len() < 1_000);
    }
}
