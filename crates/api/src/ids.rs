//! Prefixed ids: a ULID behind a prefix that says what it names, so that an id of the wrong kind is caught at once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Timestamp;

/// Says why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix belongs to another kind of id, or to none.
    #[error("'{value}' is not a {noun} id: it must begin with '{prefix}'")]
    Prefix {
        /// What was given.
        value: String,
        /// What the id names.
        noun: &'static str,
        /// The prefix that such an id has.
        prefix: &'static str,
    },
    /// What follows the prefix is not a ULID.
    #[error("'{value}' is not a {noun} id: '{prefix}' must be followed by the 26 characters of a ULID")]
    Ulid {
        /// What was given.
        value: String,
        /// What the id names.
        noun: &'static str,
        /// The prefix that such an id has.
        prefix: &'static str,
    },
    /// A node name has other characters than letters, digits, '-', '_' and '.', or is empty or longer than 63.
    #[error("'{value}' is not a node name: use 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.'")]
    NodeName {
        /// What was given.
        value: String,
    },
}

macro_rules! prefixed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(into = "String", try_from = "String")]
        #[schema(value_type = String)]
        pub struct $name(Ulid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new id; ids made later sort later, to the millisecond.
            ///
            /// `random` must come from the system's random source: an id may be shown to others, and must not be guessed.
            #[must_use]
            pub fn generate(now: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(now.as_millis().unsigned_abs(), random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(value: &str) -> Result<Self, IdError> {
                let rest = value.strip_prefix($prefix).ok_or_else(|| IdError::Prefix {
                    value: shortened(value),
                    noun: $noun,
                    prefix: $prefix,
                })?;
                Ulid::from_string(rest).map(Self).map_err(|_| IdError::Ulid {
                    value: shortened(value),
                    noun: $noun,
                    prefix: $prefix,
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(value: String) -> Result<Self, IdError> {
                value.parse()
            }
        }
    };
}

prefixed_id!(
    /// Names a workload.
    WorkloadId, "wl_", "workload"
);
prefixed_id!(
    /// Names an instance on its node; users never see it.
    InstanceId, "in_", "instance"
);

prefixed_id!(
    /// Names a benchmark.
    BenchmarkId, "bm_", "benchmark"
);

/// Names a node: 1 to 63 letters, digits, '-', '_' and '.'.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(into = "String", try_from = "String")]
#[schema(value_type = String, example = "newt")]
pub struct NodeName(String);

impl NodeName {
    /// The longest name, in bytes: that of a host name's label (RFC 1123).
    pub const LEN_MAX: usize = 63;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl FromStr for NodeName {
    type Err = IdError;

    fn from_str(value: &str) -> Result<Self, IdError> {
        let fits = (1..=Self::LEN_MAX).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if fits {
            Ok(Self(value.to_owned()))
        } else {
            Err(IdError::NodeName {
                value: shortened(value),
            })
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = IdError;

    fn try_from(value: String) -> Result<Self, IdError> {
        value.parse()
    }
}

/// Cuts a rejected text to a length that fits into an error message.
fn shortened(value: &str) -> String {
    const CHARS_MAX: usize = 64;
    if value.chars().count() <= CHARS_MAX {
        return value.to_owned();
    }
    value.chars().take(CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = WorkloadId::generate(Timestamp::from_millis(1_763_000_000_000), 42);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_later_id_sorts_later() {
        let early = WorkloadId::generate(Timestamp::from_millis(1), u128::MAX);
        let late = WorkloadId::generate(Timestamp::from_millis(2), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }

    #[test]
    fn an_id_of_another_kind_is_refused_with_the_prefix_that_was_wanted() {
        let error = "in_01JKQX7V8MZRN3B4HTGFWDCS9E".parse::<WorkloadId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "'in_01JKQX7V8MZRN3B4HTGFWDCS9E' is not a workload id: it must begin with 'wl_'"
        );
    }

    #[test]
    fn a_rejected_text_is_cut_in_the_message() {
        let error = format!("wl_{}", "é".repeat(1000))
            .parse::<WorkloadId>()
            .unwrap_err();
        assert!(error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn node_names_have_no_separators() {
        assert!("newt-1.local".parse::<NodeName>().is_ok());
        for bad in ["", "a/b", "a b", "ü", &"n".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }
}
