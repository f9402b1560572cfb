//! The host's own apt sources, read and cut down to the release that it runs: pure.
//!
//! Other people's sources are left out: what an image is made of does not depend on what else the operator installs from.

use std::{fmt::Write, fs, path::Path};

/// What is read of one source: `man 5 sources.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// Parts of a release that its packages come from; backports are asked for by name only.
const SUITE_ENDINGS: [&str; 3] = ["", "-updates", "-security"];

/// Returns the sources of the host's release as lines for mmdebstrap; `None` when there are none.
pub(super) fn of_host(root: &Path) -> Option<String> {
    let release = fs::read_to_string(root.join("etc/os-release")).ok()?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?
        .trim_matches('"')
        .to_owned();
    let mut sources = Vec::new();
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    let mut parts: Vec<_> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    parts.sort();
    files.extend(parts);
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line)),
            Some("sources") => sources.extend(stanzas(&text)),
            _ => {}
        }
    }
    let lines = lines(&sources, &codename);
    (!lines.is_empty()).then_some(lines)
}

/// Returns the part of sources that belongs to a release, each URI and suite once.
fn lines(sources: &[Source], codename: &str) -> String {
    let mut seen = Vec::new();
    let mut text = String::new();
    for source in sources {
        for (uri, suite) in source
            .uris
            .iter()
            .flat_map(|uri| source.suites.iter().map(move |suite| (uri, suite)))
        {
            let ending = suite.strip_prefix(codename);
            let is_ours = ending.is_some_and(|ending| SUITE_ENDINGS.contains(&ending))
                && source.components.iter().any(|component| component == "main");
            let key = (uri.trim_end_matches('/').to_owned(), suite.clone());
            if is_ours && !seen.contains(&key) {
                let signed_by = source
                    .signed_by
                    .as_ref()
                    .map(|file| format!("[signed-by={file}] "))
                    .unwrap_or_default();
                // Writing to a string cannot fail.
                let _ = writeln!(text, "deb {signed_by}{uri} {suite} main");
                seen.push(key);
            }
        }
    }
    text
}

/// Reads `deb [options] uri suite component…`.
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by,
    })
}

/// Reads stanzas of fields, of which a key inside of the file (a `Signed-By` of several lines) is not taken over: apt's
/// trusted keys then count.
fn stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in text.split("\n\n") {
        let mut source = Source::default();
        let mut is_binary = false;
        let mut is_enabled = true;
        let mut field = String::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            let value = if line.starts_with([' ', '\t']) {
                line
            } else {
                let Some((name, value)) = line.split_once(':') else {
                    continue;
                };
                field = name.trim().to_ascii_lowercase();
                value
            };
            let words = value.split_whitespace().map(str::to_owned);
            match field.as_str() {
                "types" => is_binary |= value.split_whitespace().any(|kind| kind == "deb"),
                "uris" => source.uris.extend(words),
                "suites" => source.suites.extend(words),
                "components" => source.components.extend(words),
                "enabled" => is_enabled = !matches!(value.trim(), "no" | "false" | "off" | "0"),
                "signed-by" if value.trim().starts_with('/') => {
                    source.signed_by = Some(value.trim().to_owned());
                }
                _ => {}
            }
        }
        if is_binary && is_enabled {
            sources.push(source);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/apt/sources.list.d")).unwrap();
        let release = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\n";
        fs::write(root.path().join("etc/os-release"), release).unwrap();
        for (name, text) in files {
            fs::write(root.path().join("etc/apt").join(name), text).unwrap();
        }
        of_host(root.path())
    }

    #[test]
    fn stanzas_and_lines_are_read_and_others_are_left_out() {
        let lines = host(&[
            (
                "sources.list",
                "# deb file:/no bookworm main\ndeb [arch=amd64 signed-by=/keys/a.gpg] file:/a bookworm main contrib # why\ndeb-src file:/a bookworm main\ndeb file:/b cloud-bookworm main\n",
            ),
            (
                "sources.list.d/debian.sources",
                "Types: deb deb-src\n# a comment\nURIs: file:/a/\nSuites: bookworm bookworm-updates\n  bookworm-backports\nComponents: main\nSigned-By: /keys/b.gpg\n\nTypes: deb\nURIs: file:/s\nSuites: bookworm-security\nComponents: main\nEnabled: yes\n\nTypes: deb\nEnabled: no\nURIs: file:/off\nSuites: bookworm\nComponents: main\n",
            ),
            (
                "sources.list.d/node.sources",
                "Types: deb\nURIs: file:/n\nSuites: nodistro\nComponents: main\n",
            ),
        ]);

        assert_eq!(
            lines.as_deref(),
            Some(
                "deb [signed-by=/keys/a.gpg] file:/a bookworm main\ndeb [signed-by=/keys/b.gpg] file:/a/ bookworm-updates main\ndeb file:/s bookworm-security main\n"
            )
        );
    }

    #[test]
    fn a_host_without_sources_of_its_release_has_none() {
        assert_eq!(host(&[("sources.list", "deb file:/a trixie main\n")]), None);
    }
}
