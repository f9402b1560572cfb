//! What an image is asked for by, once it is here.

use std::{fmt, str::FromStr};

use crate::{ImageName, ImageNameError};

/// The fewest digits of a digest that tell one image from others.
pub const IMAGE_DIGEST_DIGITS_MIN: usize = 12;
const DIGEST: &str = "sha256:";
/// SHA-256 in hexadecimal.
const DIGEST_DIGITS_MAX: usize = 64;

/// An image that is here: by one of its names, or by its digest, of which the beginning is enough.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageReference {
    /// A name.
    Name(ImageName),
    /// `sha256:` and 12 to 64 hexadecimal digits.
    Digest(String),
}

/// Why a text is no reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageReferenceError {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] ImageNameError),
    /// It begins like a digest and is none.
    #[error(
        "'{text}' is no digest: write sha256: and {IMAGE_DIGEST_DIGITS_MIN} to {DIGEST_DIGITS_MAX} hexadecimal digits in lower case"
    )]
    Digest {
        /// What was given, shortened.
        text: String,
    },
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, ImageReferenceError> {
        let Some(digits) = text.strip_prefix(DIGEST) else {
            return Ok(Self::Name(text.parse()?));
        };
        let is_digest = (IMAGE_DIGEST_DIGITS_MIN..=DIGEST_DIGITS_MAX).contains(&digits.len())
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest {
            Ok(Self::Digest(text.to_owned()))
        } else {
            let text = text.chars().take(100).collect();
            Err(ImageReferenceError::Digest { text })
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Digest(digest) => f.write_str(digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_or_the_beginning_of_a_digest() {
        let text = |reference: &str| {
            let parsed: Result<ImageReference, _> = reference.parse();
            parsed.map(|parsed| parsed.to_string())
        };
        assert_eq!(text("localhost/alpine").as_deref(), Ok("localhost/alpine:latest"));
        assert_eq!(text("sha256:0123456789ab").as_deref(), Ok("sha256:0123456789ab"));
        for bad in [
            "sha256:0123456789a",
            "sha256:0123456789AB",
            "Alpine",
            "",
            "..",
            "sha256:",
        ] {
            assert!(text(bad).is_err(), "{bad}");
        }
        assert!(text(&format!("sha256:{}", "a".repeat(65))).is_err());
    }
}
