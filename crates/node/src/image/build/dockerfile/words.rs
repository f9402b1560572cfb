//! Words of a logical line: split at blanks, quotes kept.

/// A word and the byte at which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) offset: usize,
}

/// Splits a text that begins at a byte of its line; blanks inside of quotes and after the escape character belong to the word.
pub(super) fn words(text: &str, offset: usize, escape: char) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        if quote.is_none() && char.is_whitespace() {
            if let Some(begin) = begin.take() {
                words.push((begin, at));
            }
            continue;
        }
        begin.get_or_insert(at);
        match (quote, char) {
            (None, '"' | '\'') => quote = Some(char),
            (Some(open), _) if open == char => quote = None,
            (None | Some('"'), _) if char == escape => {
                chars.next();
            }
            _ => {}
        }
    }
    if let Some(begin) = begin {
        words.push((begin, text.len()));
    }
    words
        .into_iter()
        .map(|(begin, end)| Word {
            text: text.get(begin..end).unwrap_or_default(),
            offset: offset + begin,
        })
        .collect()
}

/// Splits a first word off; both parts without blanks around them.
pub(super) fn first(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim_start()),
        None => (text, ""),
    }
}

/// Reads a JSON array of strings; `None` where it is none, which is no error: it is a text for the shell then.
pub(super) fn json(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        serde_json::from_str(text).ok()
    } else {
        None
    }
}
