//! Runs all rules and prints what they found.

use std::{path::Path, process::ExitCode};

use super::{docs, edges, finding::Finding, functions, manifests, modules, text, tokens, tree::Tree};

/// Prints one line per finding; succeeds when there is none.
pub(crate) fn run(root: &Path) -> ExitCode {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("could not read {}: {error}", root.display());
            return ExitCode::from(2);
        }
    };
    let findings = findings(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing found", tree.files.len());
        return ExitCode::SUCCESS;
    }
    eprintln!("tidy: {} findings", findings.len());
    ExitCode::FAILURE
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(edges::findings(tree));
    findings.extend(manifests::findings(tree));
    findings.extend(modules::findings(tree));
    findings.extend(functions::findings(tree));
    findings.extend(tokens::findings(tree));
    findings.extend(text::findings(tree));
    findings.extend(docs::findings(tree));
    findings.sort();
    findings.dedup();
    findings
}
