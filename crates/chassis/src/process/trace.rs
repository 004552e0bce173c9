//! Traces, as defined by W3C Trace Context: the trace of a request or a record is passed on to the
//! records that result from it. This module only reads and writes the header; it records no spans
//! and measures nothing.

use http::HeaderMap;

/// The name of the header, for requests and for records.
pub const HEADER: &str = "traceparent";

/// The length of the header's value.
const HEADER_BYTES: usize = 55;
/// The flags that version 00 defines: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;

/// One step of a trace: `00-<trace>-<step>-<flags>`, in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    step: [u8; 8],
    flags: u8,
}

impl Trace {
    /// Begins a new trace.
    #[must_use]
    pub fn begin() -> Self {
        Self { id: rand::random(), step: rand::random(), flags: 0 }
    }

    /// Returns the step that the headers of a request name, or begins a new trace.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(HEADER).and_then(|value| value.to_str().ok());
        text.and_then(Self::read).unwrap_or_else(Self::begin)
    }

    /// Reads the value of a header; returns `None` if it is malformed.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let (fields, rest) = text.split_at_checked(HEADER_BYTES)?;
        let [version] = bytes(&fields[..2])?;
        // A later version may add fields after another hyphen.
        let is_version = version != 0xff && (rest.is_empty() || version > 0 && rest[0] == b'-');
        let has_hyphens = [2, 35, 52].into_iter().all(|index| fields[index] == b'-');
        let id: [u8; 16] = bytes(&fields[3..35])?;
        let step: [u8; 8] = bytes(&fields[36..52])?;
        let [flags] = bytes(&fields[53..])?;
        let is_not_zero = id != [0; 16] && step != [0; 8];
        (is_version && has_hyphens && is_not_zero).then_some(Self {
            id,
            step,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// Returns a new step of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { step: rand::random(), ..self }
    }

    /// Returns the value of the header.
    #[must_use]
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write(&mut text[3..35], &self.id);
        write(&mut text[36..52], &self.step);
        write(&mut text[53..], &[self.flags]);
        text
    }
}

/// Reads lower-case hexadecimal digits, two for each byte.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

fn write(digits: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn header(trace: Trace) -> String {
        String::from_utf8(trace.header().to_vec()).unwrap()
    }

    #[test]
    fn a_step_is_written_as_it_was_read() {
        assert_eq!(header(Trace::read(TEXT).unwrap()), TEXT);
        let later = TEXT.replacen("00", "cc", 1) + "-more";
        assert_eq!(header(Trace::read(&later).unwrap()), TEXT);
        let new = Trace::begin();
        assert_eq!(Trace::read(&header(new)), Some(new));
        assert_ne!(new.id, Trace::begin().id);
    }

    #[test]
    fn a_child_is_another_step_of_the_same_trace() {
        let parent = Trace::read(TEXT).unwrap();
        let child = parent.child();
        assert_eq!((child.id, child.flags), (parent.id, parent.flags));
        assert_ne!(child.step, parent.step);
    }

    #[test]
    fn a_malformed_header_is_not_read() {
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(Trace::read(wrong), None, "{wrong}");
        }
    }
}
