//! `.dockerignore`: what is not worth sending. The server applies it again, and in full.

use std::{fs, io, path::Path};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How the file is called.
const FILE: &str = ".dockerignore";

/// What a context leaves out.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
    /// What is sent in any case.
    needed: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Rule {
    parts: Vec<String>,
    is_exception: bool,
}

impl Ignore {
    /// Reads the rules of a context; none where it has no file of them. `needed` stays in any case.
    pub(super) fn read(context: &Path, needed: &str) -> io::Result<Self> {
        let path = context.join(FILE);
        let text = match fs::metadata(&path) {
            Ok(meta) if meta.len() > FILE_BYTES_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) => fs::read_to_string(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            rules: text.lines().filter_map(rule).collect(),
            needed: vec![split(needed), split(FILE)],
        })
    }

    /// Returns whether something that is left out may hold something that is not.
    pub(super) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_exception) || self.needed.iter().any(|needed| needed.len() > 1)
    }

    /// Returns whether a path is left out: the last rule counts that matches it, or a folder above it.
    pub(super) fn leaves_out(&self, path: &[String]) -> bool {
        if self.needed.iter().any(|needed| needed == path) {
            return false;
        }
        let last = self
            .rules
            .iter()
            .rev()
            .find(|rule| (1..=path.len()).any(|length| matches(&rule.parts, &path[..length])));
        last.is_some_and(|rule| !rule.is_exception)
    }
}

fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (is_exception, pattern) = match line.strip_prefix('!') {
        Some(pattern) => (true, pattern.trim_start()),
        None => (false, line),
    };
    let parts = split(pattern);
    // Sets of characters are left to the server.
    (!parts.is_empty() && !pattern.contains(['[', '\\'])).then_some(Rule { parts, is_exception })
}

fn split(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.map(str::to_owned).collect()
}

/// Whether a pattern matches a whole path; `**` is any number of parts.
fn matches(pattern: &[String], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            matches(rest, path) || path.split_first().is_some_and(|(_, path)| matches(pattern, path))
        }
        (Some((first, rest)), Some((name, path))) => {
            is_like(first.as_bytes(), name.as_bytes()) && matches(rest, path)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether a name is like a pattern with `*` and `?`. Takes no more steps than the two are long, multiplied.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(b'?') => (at_pattern, at_name) = (at_pattern + 1, at_name + 1),
            Some(byte) if *byte == name[at_name] => (at_pattern, at_name) = (at_pattern + 1, at_name + 1),
            Some(_) | None => {
                let Some((star_pattern, star_name)) = star else {
                    return false;
                };
                star = Some((star_pattern, star_name + 1));
                (at_pattern, at_name) = (star_pattern + 1, star_name + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_out(rules: &str, path: &str) -> bool {
        let ignore = Ignore {
            rules: rules.lines().filter_map(rule).collect(),
            needed: Vec::new(),
        };
        ignore.leaves_out(&split(path))
    }

    #[test]
    fn rules_match_as_dockers_do() {
        for (rules, path) in [
            ("a", "a"),
            ("a", "a/b"),
            ("/a/", "a"),
            ("*.log", "x.log"),
            ("**/*.log", "a/b/x.log"),
            ("**/*.log", "x.log"),
            ("a/**", "a/b/c"),
            ("a?c", "abc"),
            ("a/*/c", "a/b/c"),
            ("*\n!b", "a"),
            ("!a\na", "a"),
        ] {
            assert!(is_out(rules, path), "{rules:?} {path}");
        }
        for (rules, path) in [
            ("a", "b/a"),
            ("*.log", "a/x.log"),
            ("# a", "# a"),
            ("*\n!b", "b/c"),
            ("a/*/c", "a/c"),
            ("a*b*c", "aXbX"),
            ("[ab]", "a"),
        ] {
            assert!(!is_out(rules, path), "{rules:?} {path}");
        }
    }
}
