//! Documentation: links lead somewhere, and every kind of problem has its page.

use vulcan_api::ProblemKind;

use super::{
    finding::Finding,
    tree::{File, Tree},
};

const PROBLEMS: &str = "docs/problems/";

/// Finds links to files that are not there, problem kinds without a page, and pages without a kind.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(&["md"]) {
        findings.extend(
            links(&file.text)
                .into_iter()
                .filter_map(|link| dead_link(tree, file, &link)),
        );
    }
    let slugs: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
    findings.extend(problem_pages(tree, &slugs));
    findings
}

/// A link, and its line.
struct Link {
    target: String,
    line: usize,
}

/// Returns the targets of `[…](target)` outside of code.
fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.starts_with("    ") {
            continue;
        }
        // Every other piece between backticks is code.
        for prose in line.split('`').step_by(2) {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| Link {
                target: target.to_owned(),
                line: index + 1,
            }));
        }
    }
    links
}

fn dead_link(tree: &Tree, file: &File, link: &Link) -> Option<Finding> {
    let target = link.target.split('#').next().unwrap_or_default();
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || target.is_empty();
    if is_elsewhere || resolve(&file.path, target).is_some_and(|path| tree.has(&path)) {
        return None;
    }
    Some(Finding::new(
        &file.path,
        link.line,
        format!("{target} leads nowhere: mend the link"),
    ))
}

/// Returns the path from the root; `None` where it leaves the repository. `/problems/x` is a page that the server gives out.
fn resolve(from: &str, target: &str) -> Option<String> {
    if let Some(slug) = target.strip_prefix("/problems/") {
        return Some(format!("{PROBLEMS}{slug}.md"));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn problem_pages(tree: &Tree, slugs: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for slug in slugs {
        let path = format!("{PROBLEMS}{slug}.md");
        if !tree.has(&path) {
            findings.push(Finding::new(&path, 1, "is missing: every ProblemKind has a page"));
        }
    }
    for file in &tree.files {
        let Some(page) = file.path.strip_prefix(PROBLEMS) else {
            continue;
        };
        let is_index = page == "README.md" || page == "index.md";
        let is_known = page.strip_suffix(".md").is_some_and(|slug| slugs.contains(&slug));
        if !is_index && !is_known {
            findings.push(Finding::new(
                &file.path,
                1,
                "belongs to no ProblemKind: remove the page",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            (path, text),
            ("docs/api.md", ""),
            ("docs/problems/not-found.md", ""),
        ]);
        let file = &tree.files[0];
        links(text)
            .iter()
            .filter_map(|link| dead_link(&tree, file, link))
            .map(|found| found.to_string())
            .collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_found() {
        assert_eq!(
            dead("README.md", "\nSee [a](docs/api.md), [b](docs/gone.md).\n"),
            ["README.md:2: docs/gone.md leads nowhere: mend the link"]
        );
        assert_eq!(dead("docs/x.md", "[a](../../up.md)\n").len(), 1);
    }

    #[test]
    fn links_elsewhere_and_links_in_code_are_let_through() {
        let text = "[a](https://example.com) [b](#here) [c](api.md#post) [d](/problems/not-found) `[e](x)`\n```\n[f](y)\n```\n";
        assert_eq!(dead("docs/x.md", text), [""; 0]);
    }

    #[test]
    fn a_problem_without_a_page_and_a_page_without_a_problem_are_found() {
        let tree = Tree::of(&[("docs/problems/old.md", ""), ("docs/problems/not-found.md", "")]);
        let found: Vec<String> = problem_pages(&tree, &["not-found", "internal"])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "docs/problems/internal.md:1: is missing: every ProblemKind has a page",
                "docs/problems/old.md:1: belongs to no ProblemKind: remove the page"
            ]
        );
    }
}
