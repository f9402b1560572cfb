//! Packages that apt is told are there already, because only maintainer scripts, which never run, would need them.

use std::{collections::BTreeSet, fmt::Write};

/// What no package's files need: configuration questions, the package manager, the scripts that merge /usr.
const SCRIPTS_ONLY: [(&str, &str); 5] = [
    ("debconf", "debconf-2.0"),
    ("dpkg", ""),
    ("init-system-helpers", ""),
    ("ucf", ""),
    ("usr-is-merged", ""),
];

/// Returns stanzas for dpkg's status file that pretend: what only scripts need, and `more`, without what is `wanted` itself.
pub(super) fn stanzas(more: &[&str], wanted: &[String], architecture: &str) -> String {
    let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
    let more = more.iter().map(|name| (*name, ""));
    let mut text = String::new();
    for (name, provides) in SCRIPTS_ONLY.into_iter().chain(more) {
        if wanted.contains(name) {
            continue;
        }
        // Writing to a string cannot fail. The version satisfies every `>=` there is.
        let _ = write!(
            text,
            "Package: {name}\nStatus: install ok installed\nVersion: 9999\nArchitecture: {architecture}\nMulti-Arch: foreign\n"
        );
        if !provides.is_empty() {
            let _ = writeln!(text, "Provides: {provides}");
        }
        text.push_str("Maintainer: nobody\nDescription: not needed without maintainer scripts\n\n");
    }
    text
}

/// Returns what apt is told of the packages below: that they are there, and nothing of what they would need, of which a part
/// was left out.
pub(super) fn below(status: &str) -> String {
    let mut text = String::with_capacity(status.len());
    let mut is_left_out = false;
    for line in status.lines() {
        if !line.starts_with([' ', '\t']) {
            let field = line.split(':').next().unwrap_or_default();
            is_left_out = ["Depends", "Pre-Depends", "Breaks", "Conflicts"].contains(&field);
        }
        if !is_left_out {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !text.is_empty() && !text.ends_with("\n\n") {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_needs_nothing() {
        let status = "Package: a\nStatus: install ok installed\nDepends: b,\n c\nVersion: 1\n\nPackage: d\nPre-Depends: e\n";

        assert_eq!(
            below(status),
            "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: d\n\n"
        );
        assert_eq!(below(""), "");
    }

    #[test]
    fn what_is_wanted_is_not_pretended() {
        let text = stanzas(&["openssl"], &["dpkg".to_owned()], "amd64");

        assert!(text.contains("Package: openssl\n"));
        assert!(text.contains("Package: debconf\n") && text.contains("Provides: debconf-2.0\n"));
        assert!(!text.contains("Package: dpkg\n"));
    }
}
