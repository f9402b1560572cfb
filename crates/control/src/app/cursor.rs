//! Cursors: opaque to callers, and nothing but the last id of a page inside.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use vulcan_api::{Problem, ProblemKind, WorkloadId};

use super::Refused;

/// What a cursor of this version begins with.
const PREFIX: &str = "1:";

/// Makes the cursor of the page after the one that ends with `last`.
pub(super) fn encode(last: WorkloadId) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PREFIX}{last}"))
}

/// Reads a cursor.
///
/// # Errors
///
/// `invalid-cursor`.
pub(super) fn decode(cursor: &str) -> Result<WorkloadId, Refused> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(PREFIX)?.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                ProblemKind::InvalidCursor,
                "the cursor was not made by this platform: start without one",
            )
            .with_field(
                "cursor",
                serde_json::Value::from(cursor),
                "the next_cursor of an earlier page",
            )
            .into()
        })
}

#[cfg(test)]
mod tests {
    use vulcan_api::Timestamp;

    use super::*;

    #[test]
    fn a_cursor_survives_the_way_to_the_caller_and_back() {
        let id = WorkloadId::generate(Timestamp::from_millis(7), 9);
        assert_eq!(decode(&encode(id)).unwrap(), id);
    }

    #[test]
    fn anything_else_is_no_cursor() {
        for bad in ["", "x", "%%%", "MTo", "wl_01JKQX7V8MZRN3B4HTGFWDCS9E"] {
            assert_eq!(
                decode(bad).unwrap_err().into_problem().slug(),
                "invalid-cursor",
                "{bad:?}"
            );
        }
    }
}
