//! The answer to `If-None-Match`.

use http::{HeaderMap, header};

/// Returns true if the client already has the content with this entity tag, which is in quotes and
/// may be weak.
///
/// The comparison is weak: RFC 9110 requires it for `If-None-Match`, and proxies may weaken a tag.
#[must_use]
pub fn is_unchanged(request: &HeaderMap, etag: &[u8]) -> bool {
    let etag = without_weakness(etag);
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || without_weakness(tag) == etag)
}

fn without_weakness(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_tag_of_a_list_matches_weak_or_strong() {
        let is_match = |lines: &[&str], etag: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, line.parse().unwrap());
            }
            is_unchanged(&headers, etag.as_bytes())
        };
        for etag in ["\"a\"", "W/\"a\""] {
            for lines in [
                &["\"a\""][..],
                &["W/\"a\""],
                &["\"b\", \"a\""],
                &["\"b\",W/\"a\""],
                &["\"b\"", "\"a\""],
                &["*"],
            ] {
                assert!(is_match(lines, etag), "{lines:?} {etag}");
            }
            for lines in [&[][..], &["\"b\""], &["a"], &["\"aa\""], &["w/\"a\""]] {
                assert!(!is_match(lines, etag), "{lines:?} {etag}");
            }
        }
    }
}
