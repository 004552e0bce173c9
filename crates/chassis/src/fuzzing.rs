//! The entry points of the fuzz targets. Each one checks properties that hold for all inputs, and
//! panics if one does not hold.

use ::http::{HeaderMap, HeaderValue, Uri, header};

use crate::{
    http::fuzzing::{assert_cursor, assert_entity_tags, assert_site},
    postgres::address::{Address, shown},
    process::trace::Trace,
    rejected::{self, RejectedId, Stored},
    web::{Lang, TextOrHex, is_invisible, visible, wants_page},
};

/// Checks the headers of a record.
pub fn headers(bytes: &[u8]) {
    rejected::fuzzing::assert_headers(bytes);
}

/// Checks what reads a short text of a request or of a setting.
pub fn text(text: &str) {
    assert_ids(text);
    assert_cursor(text);
    assert_entity_tags(text);
    assert_site(text);
    assert_page(text);
    assert_address(text);
    assert_shown(text);
}

fn assert_ids(text: &str) {
    if let Ok(id) = text.parse::<RejectedId>() {
        assert_eq!(id.to_string().parse::<RejectedId>().as_ref(), Ok(&id));
    }
    if let Some(trace) = Trace::read(text) {
        let written = trace.header();
        assert_eq!(str::from_utf8(&written).ok().and_then(Trace::read), Some(trace));
    }
}

/// Checks the choice between a page and JSON, and the language of a page.
fn assert_page(text: &str) {
    let _ = Lang::choose(Some(text), text, text);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(header::ACCEPT, value);
    }
    let wants = |address: &'static str| wants_page(&headers, &Uri::from_static(address));
    assert!(!wants("/?format=json"));
    // The letter case of a media type does not count.
    let accepted = text.to_ascii_lowercase();
    assert!(!wants("/") || accepted.contains("html") || accepted.contains('*'), "{text:?}");
    if let Ok(uri) = text.parse::<Uri>() {
        let _ = wants_page(&headers, &uri);
    }
}

fn assert_address(text: &str) {
    // The files that an address names would be read.
    if text.contains(['%', '/']) && text.contains("ssl") {
        return;
    }
    if let Ok(address) = Address::parse("DATABASE_URL", text) {
        let _ = (address.login(), address.has_sslmode());
        assert!(!shown(&address.options()).contains('\0'));
    }
}

/// Checks that a page shows each character that could not be seen.
fn assert_shown(text: &str) {
    let is_shown = |c: char| !is_invisible(c) || ['\n', '\t', '\u{200c}', '\u{200d}'].contains(&c);
    assert!(visible(text).chars().all(is_shown));
    let stored = Stored { bytes: text.as_bytes().to_vec(), whole: None };
    let shown = TextOrHex::of(Lang::En, &stored);
    assert!(!shown.hex && shown.cut.is_none() == (text.len() <= 64 * 1024));
}
