//! Foreign text in HTML: what a server sends is text, whatever it looks like.

/// Writes text so that it is text, in an element and in a quoted attribute alike. Control characters, which XML does not
/// have, become visible.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(
            escaped("<script>alert('1')</script>\" & \u{1b}[31m\nü"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; &amp; \u{fffd}[31m ü"
        );
    }
}
