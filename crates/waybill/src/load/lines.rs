//! The records of the user: one in each line of a file or of standard input.
//!
//! A thread of its own reads the lines, because a read from a terminal or a pipe cannot be interrupted:
//! on Ctrl-C the process ends although the thread still waits. The channel bounds the memory.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::Context;
use serde::Deserialize;
use tokio::sync::mpsc;

/// The maximum length of a line: twice the limit of the order service, so that a file can test that
/// limit.
const MAX_LINE_BYTES: usize = 2 * 1024 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A record's value, without its line end.
    Record(Vec<u8>),
    /// The number, from 1, of a line that is longer than [`MAX_LINE_BYTES`] and is skipped.
    TooLong(u64),
}

/// The lines that the thread has read.
pub(super) struct Lines(mpsc::Receiver<io::Result<Line>>);

impl Lines {
    /// Opens `path`; `-` is standard input.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Self::read(io::stdin());
        }
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        if file.metadata().with_context(|| format!("opening {}", path.display()))?.is_dir() {
            anyhow::bail!("{} is a directory, not a file of records", path.display());
        }
        Self::read(file)
    }

    fn read(input: impl Read + Send + 'static) -> anyhow::Result<Self> {
        let (found, lines) = mpsc::channel(8);
        // Not a blocking task of the runtime, because the runtime would wait for its end.
        std::thread::Builder::new()
            .name("load-lines".to_owned())
            .spawn(move || {
                let mut input = BufReader::with_capacity(256 * 1024, input);
                let mut number = 0;
                while let Some(line) = next_line(&mut input, &mut number).transpose() {
                    let failed = line.is_err();
                    if found.blocking_send(line).is_err() || failed {
                        return;
                    }
                }
            })
            .context("starting the thread that reads lines")?;
        Ok(Self(lines))
    }

    /// Returns the next line, or `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        self.0.recv().await.transpose()
    }
}

/// Returns the next line that is not blank, or `None` at the end of `input`.
fn next_line(input: &mut impl BufRead, number: &mut u64) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        // Two more bytes for the end of the longest line, \r\n.
        let mut part = input.take(MAX_LINE_BYTES as u64 + 2);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        *number += 1;
        let ended = line.pop_if(|byte| *byte == b'\n').is_some();
        if ended {
            line.pop_if(|byte| *byte == b'\r');
        }
        if line.len() > MAX_LINE_BYTES {
            if !ended {
                input.skip_until(b'\n')?;
            }
            return Ok(Some(Line::TooLong(*number)));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Record(line)));
        }
    }
}

/// Returns the `order_uid` of a JSON object, if it has one that is not blank.
pub(super) fn order_uid(value: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        order_uid: Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_slice(value).ok()?;
    (!named.order_uid.trim().is_empty()).then(|| named.order_uid.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Line> {
        let mut input = BufReader::with_capacity(64, input);
        let mut number = 0;
        std::iter::from_fn(|| next_line(&mut input, &mut number).unwrap()).collect()
    }

    fn record(text: &str) -> Line {
        Line::Record(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_are_sent_without_their_ends_and_blank_lines_are_skipped() {
        assert_eq!(all(b""), []);
        assert_eq!(all(b"\n \t\r\n\n"), []);
        assert_eq!(
            all(b"{\"a\":1}\r\n\n  x \nlast"),
            [record("{\"a\":1}"), record("  x "), record("last")]
        );
        assert_eq!(all(b"\xff\xfe\n"), [Line::Record(vec![0xff, 0xfe])]);
    }

    #[test]
    fn the_longest_line_is_sent_and_a_longer_one_is_reported() {
        let longest = "x".repeat(MAX_LINE_BYTES);
        for (more, end, fits) in [
            ("", "\n", true),
            ("", "\r\n", true),
            ("", "", true),
            ("x", "\n", false),
            ("x", "", false),
            ("xyz", "\r\n", false),
        ] {
            let found = all(format!("1\n\n{longest}{more}{end}").as_bytes());
            let expected = if fits { record(&longest) } else { Line::TooLong(3) };
            assert_eq!(found.len(), 2, "{more:?} {end:?}");
            assert!(found[1] == expected, "{more:?} {end:?}");
        }
        let found = all(format!("{longest}xxx\nnext\n").as_bytes());
        assert_eq!(found, [Line::TooLong(1), record("next")]);
    }

    #[test]
    fn the_uid_is_found_where_there_is_one() {
        assert_eq!(
            order_uid(br#"{"items":[{}],"order_uid":"a\u0062","x":1}"#).as_deref(),
            Some("ab")
        );
        for value in [
            &br#"{"order_uid":" "}"#[..],
            br#"{"order_uid":7}"#,
            b"{}",
            b"[]",
            b"nonsense",
            b"\xff",
            br#"{"order_uid":"a"#,
        ] {
            assert_eq!(order_uid(value), None);
        }
    }

    #[tokio::test]
    async fn a_file_is_read_to_its_end() {
        let path = std::env::temp_dir().join(format!("waybill-lines-{}", std::process::id()));
        let text: String = (0..1_000).map(|number| format!("{{\"n\":{number}}}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut count = 0;
        while let Some(line) = lines.next().await.unwrap() {
            assert_eq!(line, record(&format!("{{\"n\":{count}}}")));
            count += 1;
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(count, 1_000);
        assert!(Lines::open(&path).is_err());
        assert!(Lines::open(&std::env::temp_dir()).is_err());
    }
}
