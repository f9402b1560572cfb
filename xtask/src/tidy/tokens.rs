//! What is not to be written at all: `allow` attributes, and macros that leave something undone. Looks at tokens, so that
//! the inside of macros counts and texts do not.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::{finding::Finding, source, tree::Tree};

const UNDONE: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Finds `#[allow(…)]` and calls of the macros that leave something undone.
pub(super) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_extension(&["rs"]) {
        if let Ok(source) = source::parse(file) {
            look(source.tokens, &mut |line, message| {
                findings.push(Finding::new(&file.path, line, message));
            });
        }
    }
    findings
}

fn look(tokens: TokenStream, found: &mut impl FnMut(usize, String)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before = |distance: usize| index.checked_sub(distance).map(|index| &tokens[index]);
        let is_attribute = is_punct(before(1), '#') || (is_punct(before(1), '!') && is_punct(before(2), '#'));
        if is_attribute && group.delimiter() == Delimiter::Bracket && has_allow(group) {
            found(
                line(group),
                "allow hides a lint for ever: use #[expect(…, reason = \"…\")]".into(),
            );
        }
        if let (true, Some(TokenTree::Ident(name))) = (is_punct(before(1), '!'), before(2))
            && UNDONE.iter().any(|undone| name == undone)
        {
            found(
                line(group),
                format!("{name}! leaves something undone: do it or take it out"),
            );
        }
        look(group.stream(), found);
    }
}

fn line(group: &Group) -> usize {
    group.span_open().start().line
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Returns whether an attribute has `allow(…)`, directly or inside of `cfg_attr(…)`.
fn has_allow(attribute: &Group) -> bool {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    tokens.windows(2).any(|pair| match pair {
        [TokenTree::Ident(name), TokenTree::Group(group)] => {
            name == "allow" || (name == "cfg_attr" && has_allow(group))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        findings(&Tree::of(&[("crates/a/src/a.rs", text)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn an_allow_attribute_is_found_wherever_it_hides() {
        assert_eq!(lines("#![allow(dead_code)]\n"), [1]);
        assert_eq!(lines("\n#[allow(dead_code)]\nfn a() {}\n"), [2]);
        assert_eq!(lines("#[cfg_attr(test, allow(dead_code))]\nfn a() {}\n"), [1]);
        assert_eq!(
            lines("macro_rules! m { () => {\n #[allow(dead_code)] fn a() {} } }\n"),
            [2]
        );
    }

    #[test]
    fn an_expect_attribute_and_a_text_about_allow_are_let_through() {
        assert_eq!(
            lines("#[expect(dead_code, reason = \"it is a table\")]\nfn a() {}\n"),
            [0; 0]
        );
        assert_eq!(
            lines("/// Not #[allow(x)].\nconst A: &str = \"#[allow(x)] todo!()\";\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_macro_that_leaves_something_undone_is_found() {
        assert_eq!(
            lines("fn a() {\n todo!();\n}\nfn b() {\n unimplemented!();\n dbg!(1);\n}\n"),
            [2, 5, 6]
        );
    }
}
