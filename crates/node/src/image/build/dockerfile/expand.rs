//! Variables and quotes of a word, as Docker reads them: `$x`, `${x}`, `${x:-y}`, `${x:+y}`, `${x:?y}`, and the same without the colon.

/// How deep variables are nested in each other's defaults.
const DEPTH_MAX: usize = 16;
/// The longest word that variables make, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// What came of a word.
pub(in crate::image::build) type Expanded = Result<String, String>;

/// Puts values into a word and takes its quotes away.
///
/// # Errors
///
/// In words, when it breaks off, uses a form that is not known, or asks for a value that is not there (`:?`).
pub(in crate::image::build) fn expand(
    word: &str,
    escape: char,
    value: &dyn Fn(&str) -> Option<String>,
) -> Expanded {
    let mut reader = Reader {
        rest: word,
        escape,
        value,
        depth: 0,
        left: BYTES_MAX,
    };
    reader.until(None)
}

struct Reader<'a> {
    rest: &'a str,
    escape: char,
    value: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
    /// How many bytes may still be made.
    left: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = self.rest.get(char.len_utf8()..).unwrap_or_default();
        Some(char)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Counts what is made, so that variables that hold each other stay small.
    fn made(&mut self, text: &str) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(text.len())
            .ok_or_else(|| format!("the word becomes longer than {BYTES_MAX} bytes"))?;
        Ok(())
    }

    /// Reads to the end, or to a character, which is consumed.
    fn until(&mut self, end: Option<char>) -> Expanded {
        let mut text = String::new();
        while let Some(char) = self.next() {
            match char {
                _ if Some(char) == end => return Ok(text),
                '\'' => text.push_str(&self.literal()?),
                '"' => text.push_str(&self.quoted()?),
                '$' => text.push_str(&self.variable()?),
                // At the end of the word it stands for itself.
                _ if char == self.escape => text.push(self.next().unwrap_or(char)),
                _ => text.push(char),
            }
        }
        match end {
            None => Ok(text),
            Some(end) => Err(format!("'{end}' is missing")),
        }
    }

    fn literal(&mut self) -> Expanded {
        let (text, rest) = self.rest.split_once('\'').ok_or("the closing ' is missing")?;
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn quoted(&mut self) -> Expanded {
        let mut text = String::new();
        loop {
            match self.next().ok_or("the closing \" is missing")? {
                '"' => return Ok(text),
                '$' => text.push_str(&self.variable()?),
                char if char == self.escape => match self.peek() {
                    Some(next @ ('"' | '$')) => {
                        self.next();
                        text.push(next);
                    }
                    Some(next) if next == self.escape => {
                        self.next();
                        text.push(next);
                    }
                    _ => text.push(char),
                },
                char => text.push(char),
            }
        }
    }

    /// Reads what follows a dollar.
    fn variable(&mut self) -> Expanded {
        match self.peek() {
            Some('{') => {
                self.next();
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(format!("variables are nested deeper than {DEPTH_MAX}"));
                }
                let text = self.braced();
                self.depth -= 1;
                text
            }
            Some(first) if first.is_ascii_alphanumeric() || first == '_' => {
                let name = self.name();
                let value = (self.value)(&name).unwrap_or_default();
                self.made(&value)?;
                Ok(value)
            }
            // A dollar that begins nothing stands for itself.
            _ => Ok("$".to_owned()),
        }
    }

    fn name(&mut self) -> String {
        let end = self
            .rest
            .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn braced(&mut self) -> Expanded {
        let name = self.name();
        if name.is_empty() {
            return Err("a name is missing after '${'".to_owned());
        }
        let mut form = self.next().ok_or("'}' is missing")?;
        let value = (self.value)(&name);
        if form == '}' {
            let value = value.unwrap_or_default();
            self.made(&value)?;
            return Ok(value);
        }
        let counts_empty = form == ':';
        if counts_empty {
            form = self.next().ok_or("'}' is missing")?;
        }
        let value = value.filter(|value| !(counts_empty && value.is_empty()));
        if !matches!(form, '-' | '+' | '?') {
            return Err(format!(
                "'${{{name}{}{form}' is not known; there are ${{x}}, ${{x:-y}}, ${{x:+y}} and ${{x:?y}}",
                if counts_empty { ":" } else { "" }
            ));
        }
        let other = self.until(Some('}'))?;
        let text = match (form, value) {
            ('-' | '?', Some(value)) => value,
            ('+', Some(_)) | ('-', None) => other,
            ('?', None) => return Err(format!("{name} has no value: {other}")),
            _ => String::new(),
        };
        self.made(&text)?;
        Ok(text)
    }
}
