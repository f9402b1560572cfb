//! The pages of documentation name every rule, and no rule that does not exist.

use std::{collections::BTreeSet, path::Path};

use vulcan_backend::conformance::RULES;

/// Reads a page of the repository's documentation.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads the attacks that one backend's own tests play, and what else is its own.
fn own_attacks(backend: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../backends")
        .join(backend)
        .join("tests/it");
    let attacks = std::fs::read_to_string(folder.join("attacks.rs"));
    let attacks = attacks.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    // Not every backend has both.
    attacks + &std::fs::read_to_string(folder.join("own.rs")).unwrap_or_default()
}

#[test]
fn every_rule_is_on_the_page_of_backends() {
    let page = page("backends.md");

    let missing: Vec<_> = RULES
        .iter()
        .filter(|(_, rule)| !page.contains(&format!("`{rule}`")))
        .collect();

    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}

#[test]
fn the_page_of_attacks_names_only_tests_that_exist() {
    let page = page("attacks.md");
    let own: Vec<String> = ["isolate", "oci", "wasm"].into_iter().map(own_attacks).collect();
    let functions = own
        .iter()
        .flat_map(|text| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split('(').next());
    let rules: BTreeSet<&str> = RULES.iter().map(|(_, rule)| *rule).chain(functions).collect();

    // A rule's name is long; what is short between back-quotes is a file, a call or a setting.
    let named = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 && !word.contains(['.', '/', ' ', '=', ':']));
    let unknown: Vec<&str> = named.filter(|word| !rules.contains(word)).collect();

    assert!(unknown.is_empty(), "no such rules: {unknown:#?}");
}

#[test]
fn every_attack_is_on_the_page_of_attacks() {
    let page = page("attacks.md");

    let missing: Vec<_> = RULES
        .iter()
        .filter(|(room, rule)| *room == "attacks" && !page.contains(&format!("`{rule}`")))
        .collect();

    assert!(missing.is_empty(), "not on the page: {missing:#?}");
}
