//! Reading a JSON object of a few fields; a bad one is told by its field.

use serde::de::DeserializeOwned;
use serde_json::Value;
use vulcan_api::{Problem, ProblemKind};

use crate::app::Refused;

/// The longest part of serde's message that is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// How a body is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The most bytes.
    pub(super) bytes_max: usize,
    /// Says what a field, or the whole, may be.
    pub(super) allowed: fn(&str) -> String,
    /// The field whose content is never repeated; empty where there is none.
    pub(super) secret: &'static str,
}

impl Shape {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// `body-too-large`, `malformed-body`, `invalid-field`.
    pub(super) fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, Refused> {
        if body.len() > self.bytes_max {
            let allowed = format!("at most {} bytes", self.bytes_max);
            let detail = format!("the body is too large: {allowed}");
            return Err(Problem::new(ProblemKind::BodyTooLarge, detail)
                .with_field("body", Value::from(body.len()), allowed)
                .into());
        }
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            Refused::new(
                ProblemKind::MalformedBody,
                format!("the body is not JSON: {error}"),
            )
        })?;
        // A list would be read as the fields in their order.
        if !value.is_object() {
            return Err(self.invalid("body", Some(value), "it is no object"));
        }
        serde_path_to_error::deserialize(&value).map_err(|error| {
            let path = error.path().to_string();
            if !self.secret.is_empty() && path.starts_with(self.secret) {
                // Neither the value nor the name of what is in it.
                return self.invalid(self.secret, None, "it cannot be used");
            }
            let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
            let given = value.pointer(&pointer).cloned();
            self.invalid(&path, given, &error.inner().to_string())
        })
    }

    /// Makes the refusal of a field.
    pub(super) fn invalid(self, field: &str, value: Option<Value>, reason: &str) -> Refused {
        let reason: String = reason.chars().take(MESSAGE_CHARS_MAX).collect();
        Problem::new(ProblemKind::InvalidField, format!("{field}: {reason}"))
            .with_field(field, value, (self.allowed)(field))
            .into()
    }
}
