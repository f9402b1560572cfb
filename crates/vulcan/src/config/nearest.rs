//! The known name that a mistyped one is closest to.

/// Returns the nearest of `names`, unless nothing is near: more than a third of the letters would have to change.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 3)
        .map(|(_, name)| name)
}

/// Counts the insertions, deletions and replacements between two names (Levenshtein). Long texts count as far away.
fn distance(left: &str, right: &str) -> usize {
    const CHARS_MAX: usize = 64;
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    if left.len() > CHARS_MAX || right.len() > CHARS_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_nonsense_finds_none() {
        let names = ["server.listen", "server.data_dir", "limits.max.mem"];
        assert_eq!(nearest("server.lisen", names), Some("server.listen"));
        assert_eq!(nearest("limit.max.memory", names), Some("limits.max.mem"));
        assert_eq!(nearest("zzzzzzzzzzz", names), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
