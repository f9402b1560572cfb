//! Generations of the protocol: one number for all of it.
//!
//! A generation is added when a frame changes in a way that the other side would misread; the host speaks all
//! generations from [`GENERATION_MIN`] to [`GENERATION_MAX`], so that a snapshot taken by an older host can be woken.

use crate::{Hello, ProtocolError};

/// The oldest generation that is still spoken. Nothing that spoke the first one outlived its server.
pub const GENERATION_MIN: u16 = 2;
/// The newest generation.
pub const GENERATION_MAX: u16 = 2;

/// Returns the newest generation that both sides speak.
///
/// # Errors
///
/// [`ProtocolError::NoCommonGeneration`] when the ranges do not meet.
pub fn negotiate(hello: &Hello) -> Result<u16, ProtocolError> {
    let newest = hello.generation_max.min(GENERATION_MAX);
    let oldest = hello.generation_min.max(GENERATION_MIN);
    if oldest <= newest {
        Ok(newest)
    } else {
        Err(ProtocolError::NoCommonGeneration {
            theirs: (hello.generation_min, hello.generation_max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_take_the_newest_common_generation() {
        assert_eq!(
            negotiate(&Hello {
                generation_min: 1,
                generation_max: 9
            }),
            Ok(GENERATION_MAX)
        );
    }

    #[test]
    fn sides_without_a_common_generation_part() {
        let hello = Hello {
            generation_min: GENERATION_MAX + 1,
            generation_max: GENERATION_MAX + 3,
        };
        assert!(matches!(
            negotiate(&hello),
            Err(ProtocolError::NoCommonGeneration { .. })
        ));
    }
}
