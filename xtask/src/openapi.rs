//! `xtask openapi`: the checked-in description of the API is what the code says.

use std::{fs, io, path::Path};

const FILE: &str = "openapi.json";

/// What to do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it anew.
    Write,
    /// Compare it, and change nothing.
    Check,
}

/// Writes or compares `openapi.json` in `root`; `Ok(false)` when it differs from `wanted`.
///
/// # Errors
///
/// Whatever the file system says, a missing file excepted.
pub(crate) fn run(root: &Path, wanted: &str, mode: Mode) -> io::Result<bool> {
    let path = root.join(FILE);
    let found = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        found => found?,
    };
    if found == wanted {
        println!("openapi: {FILE} is current");
        return Ok(true);
    }
    match mode {
        Mode::Write => {
            fs::write(&path, wanted)?;
            println!("openapi: wrote {FILE}");
            Ok(true)
        }
        Mode::Check => {
            println!(
                "{FILE}:{}: differs from the code: run make openapi",
                first_difference(&found, wanted)
            );
            Ok(false)
        }
    }
}

/// Returns the first line that is not the same in both, from 1.
fn first_difference(found: &str, wanted: &str) -> usize {
    let same = found
        .lines()
        .zip(wanted.lines())
        .take_while(|(found, wanted)| found == wanted)
        .count();
    same + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_changes_nothing_and_a_write_makes_it_current() {
        let root = tempfile::tempdir().unwrap();
        assert!(!run(root.path(), "{}\n", Mode::Check).unwrap());
        assert!(!root.path().join(FILE).exists());

        assert!(run(root.path(), "{}\n", Mode::Write).unwrap());

        assert!(run(root.path(), "{}\n", Mode::Check).unwrap());
        assert!(!run(root.path(), "{\"a\": 1}\n", Mode::Check).unwrap());
    }

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), 2);
        assert_eq!(first_difference("", "a\n"), 1);
    }
}
