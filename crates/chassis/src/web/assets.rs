//! Style, scripts and icon: part of the program, named by their content.
//!
//! An address holds the hash of what is behind it, so a browser may keep it for ever, and a new
//! version of the program never meets an old style.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use crate::http::problems;

const PREFIX: &str = "/assets/";

/// Characters of the hash in an address.
const HASH_LEN: usize = 12;

/// A resource of a page, as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub content_type: &'static str,
    pub cache_control: &'static str,
    /// In quotes; weak, because the asset may be compressed.
    pub etag: &'static str,
    pub bytes: &'static [u8],
}

/// A resource that is part of the program.
#[derive(Debug)]
pub struct Embedded {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    url: String,
    etag: String,
}

/// The resources of a service's pages.
#[derive(Debug)]
pub struct Assets(Vec<Embedded>);

impl Embedded {
    /// A style sheet, a script or an image, according to the extension of `name`.
    #[must_use]
    pub fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        let hash = &blake3::hash(bytes).to_hex()[..HASH_LEN];
        let (stem, extension) = name.rsplit_once('.').expect("every asset has an extension");
        let content_type = match extension {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "application/octet-stream",
        };
        let url = format!("{PREFIX}{stem}.{hash}.{extension}");
        Self { name, content_type, bytes, url, etag: format!("W/\"{hash}\"") }
    }
}

impl Assets {
    /// A service's own assets and those that all share: `app.css`, `docs.js`, `favicon.svg`.
    #[must_use]
    pub fn with(own: impl IntoIterator<Item = Embedded>) -> Self {
        let shared = [
            Embedded::new("app.css", include_bytes!("assets/app.css")),
            Embedded::new("docs.js", include_bytes!("assets/docs.js")),
            Embedded::new("favicon.svg", include_bytes!("assets/favicon.svg")),
        ];
        Self(shared.into_iter().chain(own).collect())
    }

    /// The address of an asset, given its name without a hash.
    #[must_use]
    pub fn url(&'static self, name: &str) -> &'static str {
        let embedded = self.0.iter().find(|one| one.name == name);
        &embedded.expect("templates name only embedded assets").url
    }

    /// The asset at a path such as `/assets/app.0123456789ab.css`.
    #[must_use]
    pub fn find(&'static self, path: &str) -> Option<Asset> {
        let (stem, extension) = path.strip_prefix(PREFIX)?.rsplit_once('.')?;
        let (stem, hash) = stem.rsplit_once('.')?;
        let embedded =
            self.0.iter().find(|one| one.name.rsplit_once('.') == Some((stem, extension)))?;
        // During an update, a page of one version may ask a replica of another for its style. That
        // style is better than none, but must not be cached under this name.
        let is_current = hash.len() == HASH_LEN && embedded.etag.contains(hash);
        Some(Asset {
            content_type: embedded.content_type,
            cache_control: if is_current {
                "public, max-age=31536000, immutable"
            } else {
                "no-store"
            },
            etag: &embedded.etag,
            bytes: embedded.bytes,
        })
    }

    /// The answer to `GET /assets/{name}`.
    #[must_use]
    pub fn answer(&'static self, name: &str, request: &HeaderMap) -> Response {
        let Some(asset) = self.find(&format!("{PREFIX}{name}")) else {
            return problems::NO_SUCH_PAGE.into_response();
        };
        if request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag == asset.etag) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        let headers = [
            (header::CONTENT_TYPE, asset.content_type),
            (header::CACHE_CONTROL, asset.cache_control),
            (header::ETAG, asset.etag),
        ];
        (headers, asset.bytes).into_response()
    }

    /// The number of bytes of all assets, not compressed.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(|one| one.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets::with([]));

    #[test]
    fn the_address_in_a_page_leads_to_the_bytes_for_ever() {
        for embedded in &ASSETS.0 {
            let asset = ASSETS.find(ASSETS.url(embedded.name)).unwrap();
            assert_eq!(asset.bytes, embedded.bytes);
            assert!(asset.cache_control.contains("immutable"));
            let hash = blake3::hash(asset.bytes).to_hex();
            assert_eq!(asset.etag, format!("W/\"{}\"", &hash[..HASH_LEN]));
            assert!(embedded.url.contains(&hash[..HASH_LEN]));
        }
    }

    #[test]
    fn another_hash_is_answered_but_not_kept() {
        for path in ["/assets/app.000000000000.css", "/assets/app..css"] {
            assert_eq!(ASSETS.find(path).unwrap().cache_control, "no-store");
        }
    }

    #[test]
    fn nothing_else_is_an_asset() {
        for path in ["/assets/", "/assets/app.css", "/assets/x.0.css", "/assets/../mod.0.rs", "/"] {
            assert_eq!(ASSETS.find(path), None, "{path}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        for embedded in &ASSETS.0 {
            let text = str::from_utf8(embedded.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("//cdn") && !text.contains("http:") && !text.contains("https:"));
        }
    }
}
