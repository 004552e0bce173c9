//! Paths in the two forms that Apache Kafka and its logging read, which accept fewer characters than
//! a file name may contain.

use std::{fmt::Write as _, path::Path};

use anyhow::{Result, bail};

use crate::Obstacle;

/// Returns the path as a value of `server.properties`.
///
/// Java reads such a file as ISO 8859-1, and `\` starts an escape. Other characters are written as
/// the escapes of their UTF-16 units.
pub(crate) fn property(path: &Path) -> Result<String> {
    let mut value = String::new();
    for char in accepted(path)?.chars() {
        match char {
            '\\' => value.push_str("\\\\"),
            ' '..='~' => value.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(value, "\\u{unit:04X}").expect("a String can be written");
                }
            }
        }
    }
    Ok(value)
}

/// Returns the path as a `file:` URI. log4j would read `%`, `#` and `?` of a plain path as parts of
/// a URI, and `+` as a space.
pub(crate) fn uri(path: &Path) -> Result<String> {
    let mut uri = "file://".to_owned();
    for byte in accepted(path)?.bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => write!(uri, "%{byte:02X}").expect("a String can be written"),
        }
    }
    Ok(uri)
}

/// Returns the path as text if Kafka can use a folder with this name.
pub(crate) fn accepted(path: &Path) -> Result<&str> {
    let Some(text) = path.to_str() else {
        bail!(Obstacle(format!(
            "Apache Kafka cannot use the folder {}, because its name is not UTF-8: choose another \
             with --data-dir",
            path.display()
        )));
    };
    // Kafka splits the list of its folders at commas, and has no escape for them.
    if text.contains(',') {
        bail!(Obstacle(format!(
            "Apache Kafka cannot use the folder {text}, because its name contains a comma: choose \
             another with --data-dir"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn a_property_is_escaped_for_iso_8859_1() {
        for (path, value) in [
            ("/home/me/.waybill", "/home/me/.waybill"),
            (r"/a\b \u0041", r"/a\\b \\u0041"),
            ("/Стол", r"/\u0421\u0442\u043E\u043B"),
            ("/é😀\t", r"/\u00E9\uD83D\uDE00\u0009"),
            ("/a=b:c#d!e", "/a=b:c#d!e"),
        ] {
            assert_eq!(property(Path::new(path)).unwrap(), value);
        }
    }

    #[test]
    fn a_uri_hides_the_characters_with_a_meaning() {
        assert_eq!(
            uri(Path::new("/a b/c%20#?+;\\")).unwrap(),
            "file:///a%20b/c%2520%23%3F%2B%3B%5C"
        );
        assert_eq!(uri(Path::new("/Стол")).unwrap(), "file:///%D0%A1%D1%82%D0%BE%D0%BB");
    }

    #[test]
    fn a_folder_that_kafka_cannot_use_is_named() {
        let error = accepted(Path::new("/tmp/a,b")).unwrap_err();
        assert!(
            error.is::<Obstacle>() && error.to_string().contains("/tmp/a,b, because"),
            "{error}"
        );
        let bytes = Path::new(OsStr::from_bytes(b"/tmp/\xFF"));
        assert!(accepted(bytes).unwrap_err().to_string().contains("not UTF-8"));
    }
}
