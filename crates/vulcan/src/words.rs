//! One text taken apart into the words of a command line.

/// Splits at spaces, with quotes and backslashes as a shell has them (POSIX.1-2017, 2.2), and nothing else: no variables, no
/// patterns, no operators.
///
/// # Errors
///
/// What is wrong with the text.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => loop {
                let word = word.get_or_insert_default();
                match rest.next() {
                    Some('\'') => break,
                    Some(c) => word.push(c),
                    None => return Err("a single quote is not closed"),
                }
            },
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends with a backslash"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() {
        return Err("it has no words");
    }
    Ok(words)
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a double quote is not closed";
    loop {
        match rest.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '\\' => match rest.next().ok_or(OPEN)? {
                '\n' => {}
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let table = [
            ("ls  -l\t/", vec!["ls", "-l", "/"]),
            (
                "sh -c 'echo \"a b\"; exit 3'",
                vec!["sh", "-c", "echo \"a b\"; exit 3"],
            ),
            (r#"a "b \"c\" \n $x" d"#, vec!["a", r#"b "c" \n $x"#, "d"]),
            (r"a\ b ''", vec!["a b", ""]),
            ("a'b'\"c\"d", vec!["abcd"]),
        ];
        for (text, words) in table {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for bad in ["", "  ", "'a", "\"a", "a\\", "\"a\\"] {
            assert!(split(bad).is_err(), "{bad:?}");
        }
    }
}
