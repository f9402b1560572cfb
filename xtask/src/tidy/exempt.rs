//! Exceptions from a rule, written beside the place with their reason.
//!
//! ```text
//! tidy(path): the folder is what the sandbox hides
//! ```

/// The comment that excuses one line, or with [`Rule::Long`] and [`Rule::Hosts`] a whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A file is longer than usual.
    Long,
    /// A path of somebody's machine.
    Path,
    /// The name of a registry's host.
    Host,
    /// Such names everywhere in a file: it knows how images are named.
    Hosts,
}

impl Rule {
    /// Returns what the comment starts with.
    pub(super) const fn marker(self) -> &'static str {
        match self {
            Self::Long => "tidy(long):",
            Self::Path => "tidy(path):",
            Self::Host => "tidy(host):",
            Self::Hosts => "tidy(hosts):",
        }
    }
}

/// Returns whether `line` holds the comment and a reason after it.
pub(super) fn is_excused(line: &str, rule: Rule) -> bool {
    line.split_once(rule.marker())
        .is_some_and(|(_, reason)| reason.trim().split(' ').count() > 1)
}

/// Returns whether the line with this index, from 0, or the one before it holds the comment.
pub(super) fn is_line_excused(lines: &[&str], index: usize, rule: Rule) -> bool {
    let before = index.checked_sub(1).and_then(|before| lines.get(before));
    [before, lines.get(index)]
        .into_iter()
        .flatten()
        .any(|line| is_excused(line, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_without_a_reason_is_none() {
        assert!(!is_excused("// tidy(path):", Rule::Path));
        assert!(!is_excused("// tidy(path): because", Rule::Path));
        assert!(!is_excused("// tidy(long): it is data of a test", Rule::Path));
        assert!(is_excused("// tidy(path): it is data of a test", Rule::Path));
    }
}
