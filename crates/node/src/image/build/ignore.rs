//! `.dockerignore`: what of a context does not count. Pure.

use super::pattern::matches_path;

/// Rules, in the order in which they are written; the last one that matches counts.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<(String, bool)>,
}

impl Ignore {
    /// Reads a file. There is nothing that it could not be read as.
    pub(super) fn parse(text: &str) -> Self {
        let rules = text
            .trim_start_matches('\u{feff}')
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let line = line.trim();
                let (pattern, is_kept) = match line.strip_prefix('!') {
                    Some(pattern) => (pattern.trim(), true),
                    None => (line, false),
                };
                let parts: Vec<&str> = pattern
                    .split('/')
                    .filter(|part| !matches!(*part, "" | "."))
                    .collect();
                (!parts.is_empty()).then(|| (parts.join("/"), is_kept))
            })
            .collect();
        Self { rules }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a path, or a folder that it is in, is left out.
    pub(super) fn is_ignored(&self, path: &str) -> bool {
        self.rules.iter().fold(false, |ignored, (pattern, is_kept)| {
            let matches = path
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([path.len()])
                .any(|end| {
                    path.get(..end)
                        .is_some_and(|prefix| matches_path(pattern, prefix))
                });
            if matches { !is_kept } else { ignored }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_counts() {
        let ignore =
            Ignore::parse("# a comment\n\n/target\n**/*.log\n!keep.log\n./a/b/\n!a/b/c\n *\u{20}\n!src\n");
        let ignored: Vec<&str> = [
            "target/debug/x",
            "deep/x.log",
            "keep.log",
            "a/b/x",
            "a/b/c/d",
            "src/main.rs",
            "other",
        ]
        .into_iter()
        .filter(|path| ignore.is_ignored(path))
        .collect();

        assert_eq!(
            ignored,
            [
                "target/debug/x",
                "deep/x.log",
                "keep.log",
                "a/b/x",
                "a/b/c/d",
                "other"
            ]
        );
        let ignore = Ignore::parse("**/*.log\n!keep.log\na/b\n!a/b/c");
        assert!(!ignore.is_ignored("keep.log") && ignore.is_ignored("x/y.log"));
        assert!(ignore.is_ignored("a/b/x") && !ignore.is_ignored("a/b/c/d") && !ignore.is_ignored("a/bc"));
    }
}
