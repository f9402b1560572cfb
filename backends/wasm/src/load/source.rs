//! What was sent: a module, a component, or their text.

use std::path::Path;

use vulcan_api::{ErrorCode, WorkloadError};

/// How every module and component begins.
const MAGIC: &[u8] = b"\0asm";
/// How many bytes of something else are named.
const SHOWN_BYTES: usize = 4;

/// Returns the binary form of what was sent.
///
/// # Errors
///
/// [`ErrorCode::CompileFailed`] with the line and the column for text that cannot be read, and in words for anything else.
pub(super) fn binary(name: &str, bytes: &[u8]) -> Result<Vec<u8>, WorkloadError> {
    if bytes.starts_with(MAGIC) {
        return Ok(bytes.to_vec());
    }
    if is_text(name, bytes) {
        return wat::Parser::new()
            .parse_bytes(Some(Path::new(name)), bytes)
            .map(std::borrow::Cow::into_owned)
            .map_err(|error| failed(format!("{name} is no WebAssembly text that can be read: {error}")));
    }
    Err(failed(no_module(name, bytes)))
}

fn is_text(name: &str, bytes: &[u8]) -> bool {
    let begin = bytes.trim_ascii_start();
    begin.starts_with(b"(") || begin.starts_with(b";;") || (name.ends_with(".wat") && !begin.is_empty())
}

fn no_module(name: &str, bytes: &[u8]) -> String {
    let hint = "a module begins with 00 61 73 6d (\"\\0asm\"), its text form with '('";
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    if shown.is_empty() {
        return format!("{name} is not a WebAssembly module: it is empty; {hint}");
    }
    let shown: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{name} is not a WebAssembly module: it begins with {}, and {hint}",
        shown.join(" ")
    )
}

pub(super) fn failed(message: impl Into<String>) -> WorkloadError {
    WorkloadError::new(ErrorCode::CompileFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_a_module() {
        for text in ["(module)", " \n (module)", ";; comment\n(module)"] {
            let binary = binary("main.wasm", text.as_bytes()).unwrap();
            assert!(binary.starts_with(MAGIC), "{text}");
        }
    }

    #[test]
    fn an_error_in_the_text_has_its_place() {
        let error = binary("main.wat", b"(module\n  (func $f\n    i32.addd))").unwrap_err();

        assert_eq!(error.code, ErrorCode::CompileFailed);
        assert!(error.message.contains("main.wat:3:5"), "{}", error.message);
    }

    #[test]
    fn anything_else_is_named() {
        let error = binary("main.wasm", b"\x7fELF and more").unwrap_err();
        assert_eq!(
            error.message,
            "main.wasm is not a WebAssembly module: it begins with 7f 45 4c 46, and a module begins with 00 61 73 6d \
             (\"\\0asm\"), its text form with '('"
        );
        assert!(
            binary("main.wasm", b"")
                .unwrap_err()
                .message
                .contains("it is empty")
        );
    }
}
