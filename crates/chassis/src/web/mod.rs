//! The shared parts of all services' pages: language, frame, style, and the response.
//!
//! `templates/base.html` is the frame, `templates/macros.html` holds the parts that repeat, and
//! `templates/docs.html` is the API's documentation, and `templates/flow.html` the page of charts. A
//! service finds them through its `askama.toml`, and has its own `frame.html` between base and page,
//! with its sections and scripts.
//! Everything works without JavaScript. Templates escape all values.

mod assets;
mod by_accept;
pub mod docs;
pub mod flow;
mod flow_words;
mod lang;
mod reader;
pub mod rejected;
mod text_or_hex;
mod visible;
pub mod words;

use time::OffsetDateTime;

use self::words::{DocsWords, FrameWords};
pub use self::{
    assets::{Asset, AssetFile, Assets},
    by_accept::{ByAccept, by_accept, wants_page},
    lang::{Lang, Plural, machine_time, time_markup},
    reader::Reader,
    text_or_hex::{MAX_TEXT_BYTES, TextOrHex},
    visible::{is_invisible, visible},
};

/// The policy of every page: all resources are from this server, nothing is inline, no frames.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; \
     script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// The frame of every page.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub lang: Lang,
    /// Path and query of this page, without `lang`.
    pub here: &'a str,
    /// The time to which ages on this page refer.
    pub now: OffsetDateTime,
    pub assets: &'static Assets,
}

impl Frame<'_> {
    #[must_use]
    pub fn frame_words(&self) -> &'static FrameWords {
        FrameWords::of(self.lang)
    }

    #[must_use]
    pub fn docs_words(&self) -> &'static DocsWords {
        DocsWords::of(self.lang)
    }

    /// The words that the browser writes, as JSON.
    #[must_use]
    pub fn live_docs_words(&self) -> String {
        serde_json::to_string(self.docs_words()).expect("a struct of texts becomes JSON")
    }

    #[must_use]
    pub fn asset(&self, name: &str) -> &'static str {
        self.assets.url(name)
    }

    /// The addresses of all modules that the module `name` needs. The browser loads them at once
    /// instead of one after the other.
    #[must_use]
    pub fn imports(&self, name: &str) -> Vec<&'static str> {
        self.assets.imports(name).collect()
    }

    /// The address of this page in another language: a query alone, so that the path stays. A path
    /// such as `//evil.example/` would lead to another server.
    #[must_use]
    pub fn here_in(&self, lang: &Lang) -> String {
        match self.here.split_once('?') {
            Some((_, query)) => format!("?{query}&lang={}", lang.tag()),
            None => format!("?lang={}", lang.tag()),
        }
    }

    /// The markup of an age, which the browser keeps up to date.
    #[must_use]
    pub fn age(&self, since: &OffsetDateTime) -> String {
        let (machine, age) = (machine_time(*since), self.lang.age(*since, self.now));
        format!(r#"<time class="quiet" datetime="{machine}" data-age>{age}</time>"#)
    }
}
