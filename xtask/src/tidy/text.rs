//! What any text of the repository must not hold: tasks without an issue, paths of somebody's machine, host names of
//! registries.

use std::ops::RangeInclusive;

use super::{
    exempt::{Rule, is_excused, is_line_excused},
    finding::Finding,
    source,
    tree::{File, Tree},
};

/// Split, so that this file has none of its own.
const TASK_MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Where packages come from is the machine's business: it may use a mirror.
const REGISTRY_HOSTS: [&str; 11] = [
    "crates.io",          // tidy(host): what is looked for
    "docker.io",          // tidy(host): what is looked for
    "ghcr.io",            // tidy(host): what is looked for
    "gcr.io",             // tidy(host): what is looked for
    "quay.io",            // tidy(host): what is looked for
    "pypi.org",           // tidy(host): what is looked for
    "npmjs.org",          // tidy(host): what is looked for
    "npmjs.com",          // tidy(host): what is looked for
    "proxy.golang.org",   // tidy(host): what is looked for
    "deb.debian.org",     // tidy(host): what is looked for
    "archive.ubuntu.com", // tidy(host): what is looked for
];

/// Written by a tool.
const GENERATED: [&str; 2] = ["Cargo.lock", "openapi.json"];

/// Finds tasks without an issue's number, paths of a machine, and hosts of registries.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| !GENERATED.contains(&file.path.as_str()))
        .flat_map(|file| {
            let tests = tests_of(file);
            let lines: Vec<&str> = file.text.lines().collect();
            let check = |index| line_findings(file, &lines, index, is_test(file, &tests, index + 1));
            (0..lines.len()).flat_map(check).collect::<Vec<_>>()
        })
        .collect()
}

fn tests_of(file: &File) -> Vec<RangeInclusive<usize>> {
    match file.extension() {
        "rs" => source::parse(file)
            .map(|source| source::test_lines(&source.items))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn is_test(file: &File, tests: &[RangeInclusive<usize>], line: usize) -> bool {
    file.is_test() || tests.iter().any(|range| range.contains(&line))
}

fn line_findings(file: &File, lines: &[&str], index: usize, is_test: bool) -> Vec<Finding> {
    let text = lines[index];
    let mut messages = Vec::new();
    if file.extension() != "md"
        && let Some(mark) = task_without_issue(text)
    {
        messages.push(format!("{mark} without an issue: write {mark}(#123), or do it"));
    }
    if !is_test
        && !is_line_excused(lines, index, Rule::Path)
        && let Some(path) = machine_path(text)
    {
        messages.push(format!(
            "{path} is a path of somebody's machine: take it out, or say why not in a comment '{} …'",
            Rule::Path.marker()
        ));
    }
    if !is_line_excused(lines, index, Rule::Host)
        && !lines.iter().any(|line| is_excused(line, Rule::Hosts))
        && let Some(host) = REGISTRY_HOSTS.iter().find(|host| text.contains(*host))
    {
        messages.push(format!(
            "{host} is a registry's host: let the package manager's own settings decide"
        ));
    }
    messages
        .into_iter()
        .map(|message| Finding::new(&file.path, index + 1, message))
        .collect()
}

fn task_without_issue(text: &str) -> Option<&'static str> {
    TASK_MARKS.into_iter().find(|mark| {
        text.match_indices(mark).any(|(at, _)| {
            let is_word = !text[..at].ends_with(is_name) && !text[at + mark.len()..].starts_with(is_name);
            is_word && !has_issue(&text[at + mark.len()..])
        })
    })
}

fn has_issue(after: &str) -> bool {
    let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(number, _)| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

/// Folders that hold what belongs to somebody, and whether the owner's name comes next.
const HOMES: [(&str, bool); 3] = [
    ("/root/", false), // tidy(path): what is looked for
    ("/home/", true),  // tidy(path): what is looked for
    ("/Users/", true), // tidy(path): what is looked for
];

/// Returns a path below somebody's home. The homes themselves, as a sandbox hides them, are nobody's.
fn machine_path(text: &str) -> Option<&str> {
    HOMES.into_iter().find_map(|(home, has_owner)| {
        text.match_indices(home).find_map(|(at, _)| {
            let after = at + home.len();
            let end = text[after..]
                .find(|c| !is_name(c))
                .map_or(text.len(), |length| after + length);
            let is_start = !text[..at].ends_with(is_name);
            let is_below = end > after && (!has_owner || text[end..].starts_with('/'));
            (is_start && is_below).then(|| &text[at..end])
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        findings(&Tree::of(&[(path, text)]))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn a_task_without_an_issue_is_found() {
        let task = TASK_MARKS[0];
        assert_eq!(messages("scripts/setup", &format!("# {task}: later\n")).len(), 1);
        assert_eq!(
            messages("crates/a/src/a.rs", &format!("//! A.\n// {task}(#): later\n")).len(),
            1
        );
        assert_eq!(
            messages("crates/a/src/a.rs", &format!("//! A.\n// {task}(#12): later\n")),
            [""; 0]
        );
        assert_eq!(messages("scripts/setup", &format!("NO{task}S=1\n")), [""; 0]);
    }

    #[test]
    fn a_path_of_a_machine_is_found_unless_it_says_why() {
        assert_eq!(messages("scripts/setup", "cd /root/vulcan\n").len(), 1);
        assert_eq!(messages("README.md", "cd /home/ada/vulcan\n").len(), 1);
        assert_eq!(
            messages(
                "scripts/setup",
                "# tidy(path): what the attack reads\ncat /root/.ssh/id\n"
            ),
            [""; 0]
        );
        assert_eq!(
            messages("scripts/setup", "hide /root/ and /home/ and /home and x/root/y\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_path_of_a_machine_may_be_data_of_a_test() {
        assert_eq!(
            messages("crates/a/tests/it/a.rs", "//! A.\nconst A: &str = \"/root/x\";\n"),
            [""; 0]
        );
        let inside = "//! A.\n#[cfg(test)]\nmod tests {\n const A: &str = \"/root/x\";\n}\n";
        assert_eq!(messages("crates/a/src/a.rs", inside), [""; 0]);
    }

    #[test]
    fn the_host_of_a_registry_is_found() {
        let host = REGISTRY_HOSTS[0];
        assert_eq!(
            messages("scripts/setup", &format!("curl https://{host}/x\n")).len(),
            1
        );
        assert_eq!(
            messages("Cargo.lock", &format!("registry+https://{host}\n")),
            [""; 0]
        );
        let excused = format!("// tidy(hosts): names of images hold them\n\n{host}\n");
        assert_eq!(messages("scripts/setup", &excused), [""; 0]);
    }
}
