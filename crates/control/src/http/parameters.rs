//! Parameters of paths, queries and headers. Each refusal names the parameter, the value and what is allowed.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{HeaderMap, HeaderName, request::Parts},
};
use serde_json::Value;
use vulcan_api::{
    IdError, ImageName, ImageNameError, ImageReference, NodeName, Problem, ProblemKind, WorkloadId,
};

use crate::app::Refused;

/// The longest that a request waits for a workload.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest idempotency key.
const KEY_CHARS_MAX: usize = 255;
/// The header of idempotency keys.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The id in the path, a workload's where nothing else is said.
pub(super) struct Id<T = WorkloadId>(pub(super) T);

impl<S: Send + Sync, T: FromStr<Err = IdError>> FromRequestParts<S> for Id<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = path_text(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|error: IdError| invalid_id(&text, &error))
    }
}

/// The node's name in the path.
pub(super) struct Name(pub(super) NodeName);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = path_text(parts, state).await?;
        text.parse()
            .map(Self)
            .map_err(|error: vulcan_api::IdError| invalid_id(&text, &error))
    }
}

/// The image in the path.
pub(super) struct Reference(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Reference {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = path_text(parts, state).await?;
        match text.parse::<ImageReference>() {
            Ok(reference) => Ok(Self(reference.to_string())),
            Err(error) => Err(Problem::new(ProblemKind::InvalidId, error.to_string())
                .with_field("image", Value::from(text), error.to_string())
                .into()),
        }
    }
}

async fn path_text<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Refused> {
    match Path::<String>::from_request_parts(parts, state).await {
        Ok(Path(text)) => Ok(text),
        Err(_) => Err(Refused::new(
            ProblemKind::InvalidId,
            "the path is not UTF-8 after its percent signs are decoded",
        )),
    }
}

fn invalid_id(text: &str, error: &vulcan_api::IdError) -> Refused {
    Problem::new(ProblemKind::InvalidId, error.to_string())
        .with_field("id", Value::from(text), error.to_string())
        .into()
}

/// The parameters of the query, each once.
pub(super) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Repeated::from_request_parts(parts, state).await?.once()
    }
}

/// The parameters of the query, in their order, of which one may be there several times.
pub(super) struct Repeated(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Repeated {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Refused::new(
                ProblemKind::InvalidParameter,
                "the query is not made of name=value pairs in UTF-8",
            )),
        }
    }
}

impl Repeated {
    /// Makes them of pairs.
    #[cfg(test)]
    pub(super) const fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Takes every value of one parameter out; the others must be there once.
    pub(super) fn take(self, name: &str) -> Result<(Vec<String>, Parameters), Refused> {
        let (taken, rest): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(given, _)| given == name);
        let values = taken.into_iter().map(|(_, value)| value).collect();
        Ok((values, Self(rest).once()?))
    }

    fn once(self) -> Result<Parameters, Refused> {
        let mut all = BTreeMap::new();
        for (name, value) in self.0 {
            if all.contains_key(&name) {
                return Err(invalid(&name, Some(&value), "given once"));
            }
            all.insert(name, value);
        }
        Ok(Parameters(all))
    }
}

impl Parameters {
    /// Refuses every parameter that is not among `known`.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, Refused> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, value)) if known.is_empty() => {
                Err(invalid(name, Some(value), "no parameter: this takes none"))
            }
            Some((name, value)) => Err(invalid(
                name,
                Some(value),
                &format!("one of {}", known.join(", ")),
            )),
        }
    }

    /// Returns a parameter as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a parameter that is one of a set.
    pub(super) fn parsed<T: FromStr<Err = String>>(&self, name: &str) -> Result<Option<T>, Refused> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|error: String| invalid(name, Some(text), &error))
            })
            .transpose()
    }

    /// Returns the name of an image.
    pub(super) fn image_name(&self, name: &str) -> Result<Option<ImageName>, Refused> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|error: ImageNameError| invalid(name, Some(text), &error.to_string()))
            })
            .transpose()
    }

    /// Returns a number within bounds.
    pub(super) fn number(&self, name: &str, (min, max): (u32, u32)) -> Result<Option<u32>, Refused> {
        let allowed = || format!("a whole number from {min} to {max}");
        self.text(name)
            .map(|text| {
                text.parse()
                    .ok()
                    .filter(|number| (min..=max).contains(number))
                    .ok_or_else(|| invalid(name, Some(text), &allowed()))
            })
            .transpose()
    }

    /// Returns `true` or `false`, or the default.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refused> {
        match self.text(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(invalid(name, Some(other), "true or false")),
        }
    }

    /// Returns a time to wait: `30s`, `500ms` or `30`.
    pub(super) fn wait(&self, name: &str) -> Result<Option<Duration>, Refused> {
        let allowed = format!("a time up to {}s, for example 30s or 500ms", WAIT_MAX.as_secs());
        self.text(name)
            .map(|text| {
                duration(text)
                    .filter(|wait| *wait <= WAIT_MAX)
                    .ok_or_else(|| invalid(name, Some(text), &allowed))
            })
            .transpose()
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(millis) = text.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// Reads the idempotency key.
///
/// # Errors
///
/// `invalid-parameter`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(&IDEMPOTENCY_KEY) {
            Err(invalid(IDEMPOTENCY_KEY.as_str(), None, "given once"))
        } else {
            Ok(None)
        };
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let fits = (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(Some(text.into_owned()))
    } else {
        let allowed = format!("1 to {KEY_CHARS_MAX} visible ASCII characters");
        Err(invalid(IDEMPOTENCY_KEY.as_str(), Some(&text), &allowed))
    }
}

/// Makes an `invalid-parameter` refusal.
pub(super) fn invalid(name: &str, value: Option<&str>, allowed: &str) -> Refused {
    let name: String = name.chars().take(100).collect();
    Problem::new(
        ProblemKind::InvalidParameter,
        format!("parameter '{name}' cannot be used: {allowed}"),
    )
    .with_field(name, value.map(Value::from), allowed)
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_milliseconds() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("30"), Some(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "s", "-1s", "1m", "1.5s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
