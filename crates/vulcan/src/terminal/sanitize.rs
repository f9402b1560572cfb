//! Foreign text on a terminal: a log line, an error or a label could otherwise move the cursor, recolour, retitle, answer
//! for the user or overwrite what the platform itself said.

use std::borrow::Cow;

/// Returns one line with every control and direction character made visible; a tab stays.
pub(crate) fn sanitized(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_harmless) {
        return Cow::Borrowed(line);
    }
    Cow::Owned(
        line.chars()
            .map(|c| if is_harmless(c) { c } else { visible(c) })
            .collect(),
    )
}

/// Does the same to several lines; line feeds stay.
pub(crate) fn sanitized_text(text: &str) -> String {
    text.split('\n').map(sanitized).collect::<Vec<_>>().join("\n")
}

fn is_harmless(c: char) -> bool {
    c == '\t' || !(c.is_control() || is_direction(c))
}

/// Tells the characters that reorder what is around them (Unicode UAX #9): "Trojan source".
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the control picture (U+2400 and following) of a C0 control, otherwise the replacement character.
fn visible(c: char) -> char {
    match u32::from(c) {
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_show_and_do_nothing() {
        assert_eq!(sanitized("\x1b]0;pwned\x07\x1b[2Jok"), "␛]0;pwned␇␛[2Jok");
        assert_eq!(sanitized("10%\r100%\x08\x7f"), "10%␍100%␈␡");
    }

    #[test]
    fn one_byte_controls_and_direction_marks_show_too() {
        assert_eq!(
            sanitized("\u{9b}31m \u{202e}txt.exe"),
            "\u{fffd}31m \u{fffd}txt.exe"
        );
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(sanitized("a\tb ü 漢 👩‍🚀"), Cow::Borrowed(_)));
    }

    #[test]
    fn line_feeds_stay_in_a_text() {
        assert_eq!(sanitized_text("a\nb\x1b\n"), "a\nb␛\n");
    }
}
