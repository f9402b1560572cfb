//! A parser of `text/event-stream` (WHATWG HTML, section 9.2.6), fed with bytes as they arrive.
//!
//! Refuses to know what the events mean. Bounded: a line or an event beyond [`EVENT_BYTES_MAX`] is an error.

use std::collections::VecDeque;

/// The largest event that is accepted: a log line has a cap far below, and escaping can blow it up sixfold.
pub(crate) const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its type; `message` where the stream names none.
    pub(crate) kind: String,
    /// Its data; lines are joined by a line feed.
    pub(crate) data: String,
    /// The last id that the stream named, with this event or before.
    pub(crate) id: Option<String>,
}

/// The stream cannot be an event stream of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct TooLong;

/// The state between two pieces of the stream.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_carriage_return: bool,
    is_past_start: bool,
    kind: String,
    data: Option<String>,
    id: Option<String>,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next piece, cut anywhere.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_carriage_return => self.after_carriage_return = false,
                b'\n' | b'\r' => {
                    self.after_carriage_return = byte == b'\r';
                    self.end_line()?;
                }
                _ => {
                    self.after_carriage_return = false;
                    if self.line.len() >= EVENT_BYTES_MAX {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// Returns the next complete event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = bytes.as_slice();
        if !std::mem::replace(&mut self.is_past_start, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch();
            return Ok(());
        }
        let (field, value) = split(line);
        self.field(field, value)
    }

    fn field(&mut self, field: &[u8], value: String) -> Result<(), TooLong> {
        match field {
            b"data" => return self.push_data(&value),
            b"event" => self.kind = value,
            b"id" if !value.contains('\0') => self.id = Some(value),
            // A comment has an empty name; `retry` is ours to decide; anything else is ignored by the standard.
            _ => {}
        }
        Ok(())
    }

    fn push_data(&mut self, value: &str) -> Result<(), TooLong> {
        let data = match &mut self.data {
            Some(data) => {
                data.push('\n');
                data
            }
            None => self.data.insert(String::new()),
        };
        if data.len() + value.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        data.push_str(value);
        Ok(())
    }

    fn dispatch(&mut self) {
        let kind = std::mem::take(&mut self.kind);
        let Some(data) = self.data.take() else { return };
        self.ready.push_back(Event {
            kind: if kind.is_empty() {
                "message".to_owned()
            } else {
                kind
            },
            data,
            id: self.id.clone(),
        });
    }
}

fn split(line: &[u8]) -> (&[u8], String) {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return (line, String::new());
    };
    let value = &line[colon + 1..];
    let value = value.strip_prefix(b" ").unwrap_or(value);
    (&line[..colon], String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<(String, String, Option<String>)> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece).unwrap();
            while let Some(event) = parser.next() {
                events.push((event.kind, event.data, event.id));
            }
        }
        events
    }

    fn event(kind: &str, data: &str, id: Option<&str>) -> (String, String, Option<String>) {
        (kind.into(), data.into(), id.map(Into::into))
    }

    #[test]
    fn an_event_has_type_data_and_the_last_id() {
        let stream = b"id: 7\nevent: log\ndata: a\ndata:  b\n\ndata\n\n";
        assert_eq!(
            parsed(&[stream]),
            [event("log", "a\n b", Some("7")), event("message", "", Some("7"))]
        );
    }

    #[test]
    fn every_line_end_and_every_cut_gives_the_same_events() {
        let stream = "\u{feff}id: 1\r\ndata: ü\r\n\r\n: ping\rid: 2\rdata: b\r\rdata: c\n\n".as_bytes();
        let whole = parsed(&[stream]);
        assert_eq!(
            whole,
            [
                event("message", "ü", Some("1")),
                event("message", "b", Some("2")),
                event("message", "c", Some("2"))
            ]
        );
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(parsed(&bytes), whole);
    }

    #[test]
    fn comments_and_an_event_without_data_give_nothing() {
        assert_eq!(parsed(&[b": keep-alive\n\nevent: x\n\ndata: cut"]), []);
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX];
        assert_eq!(parser.feed(&piece), Ok(()));
        assert_eq!(parser.feed(b"x"), Err(TooLong));

        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(EVENT_BYTES_MAX / 2));
        assert_eq!(parser.feed(line.as_bytes()), Ok(()));
        assert_eq!(parser.feed(line.as_bytes()), Err(TooLong));
    }
}
