//! A Rust file, parsed.

use std::{ops::RangeInclusive, str::FromStr};

use proc_macro2::TokenStream;
use syn::{Attribute, Item, ItemMod};

use super::{finding::Finding, tree::File};

/// The two readings of a Rust file.
pub(super) struct Source {
    /// Its tokens; macros are plain tokens here.
    pub(super) tokens: TokenStream,
    /// Its items.
    pub(super) items: syn::File,
}

/// Parses a Rust file.
///
/// # Errors
///
/// A finding where it cannot be parsed.
pub(super) fn parse(file: &File) -> Result<Source, Finding> {
    let tokens = TokenStream::from_str(&file.text).map_err(|error| {
        Finding::new(
            &file.path,
            error.span().start().line,
            "is not Rust: make it compile",
        )
    })?;
    let items = syn::parse2(tokens.clone()).map_err(|error| {
        Finding::new(
            &file.path,
            error.span().start().line,
            format!("could not be parsed: {error}"),
        )
    })?;
    Ok(Source { tokens, items })
}

/// Returns the lines of the modules under `#[cfg(test)]`.
pub(super) fn test_lines(items: &syn::File) -> Vec<RangeInclusive<usize>> {
    items
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(module) => lines_of_tests(module),
            _ => None,
        })
        .collect()
}

fn lines_of_tests(module: &ItemMod) -> Option<RangeInclusive<usize>> {
    let attribute = module.attrs.iter().find(|attribute| is_cfg_test(attribute))?;
    let (braces, _) = module.content.as_ref()?;
    Some(attribute.pound_token.span.start().line..=braces.span.close().end().line)
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Ident>()
            .is_ok_and(|condition| condition == "test")
}
