//! The length of functions. A text of several lines counts as one: a table in a test is data.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Block, Signature,
    visit::{self, Visit},
};

use super::{finding::Finding, source, tree::Tree};

/// From `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Finds functions that are too long, in tests too.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(&["rs"]) {
        if let Ok(source) = source::parse(file) {
            let mut visitor = Lengths {
                path: &file.path,
                texts: text_lines(source.tokens),
                findings: &mut findings,
            };
            visitor.visit_file(&source.items);
        }
    }
    findings
}

struct Lengths<'a> {
    path: &'a str,
    /// Lines that only go on with a text.
    texts: BTreeSet<usize>,
    findings: &'a mut Vec<Finding>,
}

impl Lengths<'_> {
    fn check(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span.start().line;
        let all = first..=block.brace_token.span.close().end().line;
        let lines = all.filter(|line| !self.texts.contains(line)).count();
        if lines > FUNCTION_LINES_MAX {
            self.findings.push(Finding::new(
                self.path,
                first,
                format!(
                    "function {} has {lines} lines, the most is {FUNCTION_LINES_MAX}: split it",
                    signature.ident
                ),
            ));
        }
    }
}

/// Returns the lines after the first of every literal that has several.
fn text_lines(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.extend(text_lines(group.stream())),
            TokenTree::Literal(literal) => {
                let span = literal.span();
                lines.extend(span.start().line + 1..=span.end().line);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
    lines
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.check(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with_a_function_of(lines: usize) -> String {
        format!(
            "//! A room.\nimpl X {{\nfn long() {{\n{}}}\n}}\n",
            "call();\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_of_more_than_70_lines_is_found() {
        let tree = Tree::of(&[("crates/a/src/a.rs", &file_with_a_function_of(71))]);
        let expected = Finding::new(
            "crates/a/src/a.rs",
            3,
            "function long has 71 lines, the most is 70: split it",
        );
        assert_eq!(findings(&tree), [expected]);
    }

    #[test]
    fn a_function_of_70_lines_is_let_through() {
        let tree = Tree::of(&[("crates/a/src/a.rs", &file_with_a_function_of(70))]);
        assert_eq!(findings(&tree), []);
    }

    #[test]
    fn a_text_of_many_lines_counts_as_one() {
        let table = "row\n".repeat(100);
        let text = format!("//! A room.\nfn table() {{\n    check(\"{table}\");\n}}\n");
        assert_eq!(findings(&Tree::of(&[("crates/a/src/a.rs", &text)])), []);
    }
}
