//! Style, scripts and icon: part of the program, named by their content.
//!
//! An address holds the hash of what is behind it, so a browser may keep it for ever, and a new
//! version of the program never meets an old style.

use std::sync::LazyLock;

/// What every address of an asset begins with.
const PREFIX: &str = "/assets/";

/// Characters of the hash in an address.
const HASH_LEN: usize = 12;

/// Something that a page refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asset {
    pub(crate) content_type: &'static str,
    pub(crate) cache_control: &'static str,
    /// Strong, in quotes.
    pub(crate) etag: &'static str,
    pub(crate) bytes: &'static [u8],
}

struct Embedded {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    url: String,
    etag: String,
}

static EMBEDDED: LazyLock<[Embedded; 4]> = LazyLock::new(|| {
    const JS: &str = "text/javascript; charset=utf-8";
    [
        Embedded::new("app.css", "text/css; charset=utf-8", include_bytes!("assets/app.css")),
        Embedded::new("app.js", JS, include_bytes!("assets/app.js")),
        Embedded::new("docs.js", JS, include_bytes!("assets/docs.js")),
        Embedded::new("favicon.svg", "image/svg+xml", include_bytes!("assets/favicon.svg")),
    ]
});

/// The asset at a path such as `/assets/app.0123456789ab.css`.
pub(crate) fn asset(path: &str) -> Option<Asset> {
    let (stem, extension) = path.strip_prefix(PREFIX)?.rsplit_once('.')?;
    let (stem, hash) = stem.rsplit_once('.')?;
    let embedded =
        EMBEDDED.iter().find(|one| one.name.rsplit_once('.') == Some((stem, extension)))?;
    // While replicas are replaced, a page of one may ask another for its style: better the other's
    // than none, but nobody must keep it under that name.
    let is_current = hash.len() == HASH_LEN && embedded.etag.contains(hash);
    Some(Asset {
        content_type: embedded.content_type,
        cache_control: if is_current { "public, max-age=31536000, immutable" } else { "no-store" },
        etag: &embedded.etag,
        bytes: embedded.bytes,
    })
}

/// The address of an asset by its plain name.
pub(super) fn url(name: &str) -> &'static str {
    let embedded = EMBEDDED.iter().find(|one| one.name == name);
    &embedded.expect("templates name only embedded assets").url
}

impl Embedded {
    fn new(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let hash = &blake3::hash(bytes).to_hex()[..HASH_LEN];
        let (stem, extension) = name.rsplit_once('.').expect("every asset has an extension");
        let url = format!("{PREFIX}{stem}.{hash}.{extension}");
        Self { name, content_type, bytes, url, etag: format!("\"{hash}\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_in_a_page_leads_to_the_bytes_for_ever() {
        for embedded in EMBEDDED.iter() {
            let asset = asset(url(embedded.name)).unwrap();
            assert_eq!(asset.bytes, embedded.bytes);
            assert!(asset.cache_control.contains("immutable"));
            let hash = blake3::hash(asset.bytes).to_hex();
            assert_eq!(asset.etag, format!("\"{}\"", &hash[..HASH_LEN]));
            assert!(embedded.url.contains(&hash[..HASH_LEN]));
        }
    }

    #[test]
    fn another_hash_is_answered_but_not_kept() {
        for path in ["/assets/app.000000000000.css", "/assets/app..css"] {
            assert_eq!(asset(path).unwrap().cache_control, "no-store");
        }
    }

    #[test]
    fn nothing_else_is_an_asset() {
        for path in ["/assets/", "/assets/app.css", "/assets/x.0.css", "/assets/../mod.0.rs", "/"] {
            assert_eq!(asset(path), None, "{path}");
        }
    }

    #[test]
    fn all_assets_together_stay_light() {
        // Uncompressed; the promise is 60 KB compressed, and text shrinks to a third or so.
        let bytes: usize = EMBEDDED.iter().map(|one| one.bytes.len()).sum();
        assert!(bytes < 60_000, "{bytes} bytes");
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for embedded in EMBEDDED.iter() {
            let text = str::from_utf8(embedded.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("//cdn") && !text.contains("http:") && !text.contains("https:"));
        }
    }
}
