//! Guessing whether code has a handler, before it runs: until the program's end only the guest knows, and by then its
//! standard output has long been shown. A wrong guess is made good at the end, see [`crate::live`].

use vulcan_api::Runtime;

/// What a piece of code seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It has a handler: its result is the output, what it prints is log.
    Handler,
    /// It is a program: what it prints is the output.
    Script,
}

/// Guesses from the text of the file that is run. A line counts only where a module's own statements begin: at its start.
pub(crate) fn guess(runtime: Runtime, source: &str) -> Mode {
    let is_handler = match runtime {
        Runtime::Python => source.lines().any(is_python_handler),
        Runtime::Node | Runtime::Typescript => source.lines().any(is_node_handler),
        Runtime::Bash | Runtime::Go | Runtime::Binary | Runtime::Wasm | Runtime::Image => false,
    };
    if is_handler { Mode::Handler } else { Mode::Script }
}

fn is_python_handler(line: &str) -> bool {
    let definition = line
        .strip_prefix("async ")
        .unwrap_or(line)
        .trim_start()
        .strip_prefix("def ");
    if let Some(rest) = definition
        && !line.starts_with([' ', '\t'])
    {
        return is_word(rest.trim_start(), "handler", "(");
    }
    if line.starts_with("from ")
        && let Some((_, names)) = line.split_once(" import ")
    {
        return names.split([' ', ',', '(', ')']).any(|word| word == "handler");
    }
    is_word(line, "handler", "=:")
}

fn is_node_handler(line: &str) -> bool {
    let line = line.trim_start();
    let export = line.strip_prefix("export").map(str::trim_start);
    if export.is_some_and(|rest| {
        is_word(rest, "default", "{[(`'\"/") || rest.starts_with('{') && rest.contains("as default")
    }) {
        return true;
    }
    is_word(line, "module.exports", "=") || is_word(line, "exports.default", "=")
}

/// Returns whether `text` begins with the whole word, and what follows it, spaces aside, is one of `after` or more text
/// that a space sets apart.
fn is_word(text: &str, word: &str, after: &str) -> bool {
    let Some(rest) = text.strip_prefix(word) else {
        return false;
    };
    let next = rest.trim_start().chars().next();
    let is_keyword = word == "default" && rest.starts_with([' ', '\t']);
    next.is_some_and(|c| after.contains(c)) && !rest.trim_start().starts_with("==") || is_keyword
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_handlers_are_told_from_scripts() {
        for handler in [
            "import json\ndef handler(input, context):\n  return 1",
            "async def handler(input):\n  pass",
            "def  handler (input, context): ...",
            "handler = lambda input, context: 1",
            "handler: object = f",
            "from app import handler",
            "from app import (other, handler)",
        ] {
            assert_eq!(guess(Runtime::Python, handler), Mode::Handler, "{handler}");
        }
        for script in [
            "",
            "print(1)",
            "class A:\n  def handler(self): ...",
            "def handlers(): ...",
            "handler == 1",
            "# def handler(input)",
            "from handler import x",
        ] {
            assert_eq!(guess(Runtime::Python, script), Mode::Script, "{script}");
        }
    }

    #[test]
    fn javascript_handlers_are_told_from_scripts() {
        for handler in [
            "export default (input) => 1",
            "export default async function (input) {}",
            "const a = 1;\nexport { a as default };",
            "module.exports = async () => {}",
            "exports.default = f",
        ] {
            assert_eq!(guess(Runtime::Node, handler), Mode::Handler, "{handler}");
        }
        for script in [
            "console.log(1)",
            "export const a = 1",
            "export { a }",
            "module.exports.a = 1",
            "// export default 1",
        ] {
            assert_eq!(guess(Runtime::Typescript, script), Mode::Script, "{script}");
        }
    }

    #[test]
    fn the_other_runtimes_have_no_handlers() {
        assert_eq!(guess(Runtime::Bash, "handler = 1"), Mode::Script);
    }
}
