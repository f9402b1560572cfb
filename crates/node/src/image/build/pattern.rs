//! Patterns of file names, as in `COPY` and `.dockerignore`: `*`, `?`, `[a-z]`, a backslash, and `**` for any number of folders.

/// Whether a part of a path has a meaning beside itself.
pub(super) fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '[', '\\'])
}

/// Whether all of a path matches, part by part; paths without a slash in front.
pub(in crate::image) fn matches_path(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    matches_parts(&pattern, &path)
}

/// Classic two-pointer matching with one remembered `**`: linear in the product of the lengths.
fn matches_parts(pattern: &[&str], path: &[&str]) -> bool {
    let (mut at, mut in_path) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while in_path < path.len() {
        match pattern.get(at) {
            Some(&"**") => {
                again = Some((at + 1, in_path));
                at += 1;
                continue;
            }
            Some(part) if path.get(in_path).is_some_and(|name| matches_name(part, name)) => {
                at += 1;
                in_path += 1;
                continue;
            }
            _ => {}
        }
        let Some((back, from)) = again else {
            return false;
        };
        again = Some((back, from + 1));
        at = back;
        in_path = from + 1;
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|part| *part == "**"))
}

/// Whether a name matches, as Go's `filepath.Match` says; a pattern that is broken matches nothing.
pub(super) fn matches_name(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut in_name) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while in_name < name.len() {
        if pattern.get(at) == Some(&'*') {
            again = Some((at + 1, in_name));
            at += 1;
            continue;
        }
        if let (Some(rest), Some(&char)) = (pattern.get(at..), name.get(in_name))
            && let Some(taken) = one(rest, char)
        {
            at += taken;
            in_name += 1;
            continue;
        }
        let Some((back, from)) = again else {
            return false;
        };
        again = Some((back, from + 1));
        at = back;
        in_name = from + 1;
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|char| *char == '*'))
}

/// Returns how much of a pattern one character takes up; `None` where it does not match.
fn one(pattern: &[char], char: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == char).then_some(2),
        ['[', rest @ ..] => {
            let end = 1 + rest.iter().skip(1).position(|&char| char == ']')?;
            let inside = rest.get(..end)?;
            let (inside, is_negated) = match inside {
                ['^' | '!', inside @ ..] => (inside, true),
                _ => (inside, false),
            };
            (is_inside(inside, char) != is_negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == char).then_some(1),
        [] => None,
    }
}

fn is_inside(mut class: &[char], char: char) -> bool {
    loop {
        class = match class {
            [low, '-', high, rest @ ..] => {
                if (*low..=*high).contains(&char) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == char {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.rs", "a.rs", true),
            ("*.rs", "a.rsx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(matches_name(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn two_stars_match_any_number_of_folders() {
        for (pattern, path, expected) in [
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("a/**", "a/b/c", true),
            ("a/**/z", "a/z", true),
            ("a/*/z", "a/b/c/z", false),
            ("a/**/b/**/z", "a/b/c/b/z", true),
            ("*", "a/b", false),
        ] {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\[\\]^\\\\/-]{0,40}", path in "[ab/]{0,40}") {
            matches_path(&pattern, &path);
        }
    }
}
