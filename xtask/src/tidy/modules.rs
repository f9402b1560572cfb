//! Modules: their names, their opening comment, their size.

use syn::{
    AttrStyle, Item, ItemMod,
    visit::{self, Visit},
};

use super::{
    exempt::{self, Rule},
    finding::Finding,
    source::{self, Source},
    tree::{File, Tree},
};

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 6] = ["utils", "helpers", "common", "misc", "types", "manager"];

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;

/// What is source, in whatever language.
const SOURCES: [&str; 9] = ["rs", "py", "js", "mjs", "cjs", "ts", "go", "sh", "sql"];

/// Finds modules with a banned name or without an opening comment, and files that are too long.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(&SOURCES) {
        findings.extend(banned_path(file));
        let mut lines = file.text.lines().count();
        if file.extension() == "rs" {
            match source::parse(file) {
                Ok(source) => {
                    findings.extend(undocumented(file, &source));
                    findings.extend(banned_inline(file, &source));
                    lines -= source::test_lines(&source.items)
                        .into_iter()
                        .map(Iterator::count)
                        .sum::<usize>();
                }
                Err(finding) => findings.push(finding),
            }
        }
        findings.extend(too_long(file, lines));
    }
    findings
}

fn banned_path(file: &File) -> Option<Finding> {
    let stem = file
        .path
        .rsplit_once('.')
        .map_or(file.path.as_str(), |(stem, _)| stem);
    let name = stem.split('/').find(|part| BANNED_NAMES.contains(part))?;
    Some(banned(file, 1, name))
}

fn banned(file: &File, line: usize, name: &str) -> Finding {
    Finding::new(
        &file.path,
        line,
        format!("'{name}' says nothing: name the module after what it is for"),
    )
}

fn undocumented(file: &File, source: &Source) -> Option<Finding> {
    let is_documented =
        source.items.attrs.iter().any(|attribute| {
            matches!(attribute.style, AttrStyle::Inner(_)) && attribute.path().is_ident("doc")
        });
    (!is_documented).then(|| {
        Finding::new(
            &file.path,
            1,
            "has no '//!': say what the module is for, owns and refuses to know",
        )
    })
}

fn banned_inline(file: &File, source: &Source) -> Vec<Finding> {
    let mut modules = Modules(Vec::new());
    modules.visit_file(&source.items);
    modules
        .0
        .into_iter()
        .filter(|(name, _)| BANNED_NAMES.contains(&name.as_str()))
        .map(|(name, line)| banned(file, line, &name))
        .collect()
}

struct Modules(Vec<(String, usize)>);

impl<'ast> Visit<'ast> for Modules {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Mod(ItemMod {
            ident,
            content: Some(_),
            ..
        }) = item
        {
            self.0.push((ident.to_string(), ident.span().start().line));
        }
        visit::visit_item(self, item);
    }
}

fn too_long(file: &File, lines: usize) -> Option<Finding> {
    let is_excused = || file.text.lines().any(|line| exempt::is_excused(line, Rule::Long));
    (lines > FILE_LINES_MAX && !file.is_test() && !is_excused()).then(|| {
        let message = format!(
            "has {lines} lines without its tests, the most is {FILE_LINES_MAX}: split it, or say why not in a comment '{} …'",
            Rule::Long.marker()
        );
        Finding::new(&file.path, 1, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        findings(&Tree::of(&[(path, text)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_module_without_an_opening_comment_is_found() {
        assert_eq!(
            messages("crates/a/src/slot.rs", "/// A slot.\nstruct Slot;\n"),
            ["crates/a/src/slot.rs:1: has no '//!': say what the module is for, owns and refuses to know"]
        );
    }

    #[test]
    fn a_file_and_a_folder_and_an_inline_module_that_say_nothing_are_found() {
        for path in ["crates/a/src/utils.rs", "crates/a/src/helpers/slot.rs"] {
            assert!(
                messages(path, "//! A room.\n")[0].contains("says nothing"),
                "{path}"
            );
        }
        assert_eq!(
            messages("crates/a/src/a.rs", "//! A room.\nmod misc { struct A; }\n"),
            ["crates/a/src/a.rs:2: 'misc' says nothing: name the module after what it is for"]
        );
    }

    #[test]
    fn a_file_of_more_than_600_lines_is_found_unless_it_says_why() {
        let long = format!("//! A room.\n{}", "const A: u8 = 1;\n".repeat(600));
        assert!(messages("crates/a/src/a.rs", &long)[0].contains("has 601 lines"));

        let excused = format!("{long}// tidy(long): one table that is read as a whole\n");
        assert_eq!(messages("crates/a/src/a.rs", &excused), [""; 0]);
    }

    #[test]
    fn tests_do_not_count_for_the_size() {
        let inside = format!(
            "//! A room.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "const A: u8 = 1;\n".repeat(700)
        );
        assert_eq!(messages("crates/a/src/a.rs", &inside), [""; 0]);
        let beside = format!("//! Claims.\n{}", "const A: u8 = 1;\n".repeat(700));
        assert_eq!(messages("crates/a/tests/it/a.rs", &beside), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_rust_is_found() {
        assert!(messages("crates/a/src/a.rs", "//! A room.\nfn {\n")[0].starts_with("crates/a/src/a.rs:2: "));
    }
}
