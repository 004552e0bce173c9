//! What the pages of all services share: language, frame, style, and how a page is sent.
//!
//! Values in, HTML out: only [`Reader`] knows of requests and answers. `templates/base.html` is the
//! frame and `templates/docs.html` the API's documentation; a service finds both through its
//! `askama.toml`, and has a `frame.html` of its own between them, with its sections and scripts.
//! Everything works without JavaScript. Templates escape all they are given.

mod assets;
pub mod docs;
mod lang;
mod reader;
pub mod words;

use time::OffsetDateTime;

use self::words::{DocsWords, FrameWords};
pub use self::{
    assets::{Asset, Assets, Embedded},
    lang::{Lang, Plural, machine_time, time_markup},
    reader::{Reader, wants_page},
};

/// Sent with every page: all from this server, nothing inline, no frames.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; \
     script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// What every page has around its own content.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The reader's language.
    pub lang: Lang,
    /// Path and query of this page as they were asked for, `lang` left out.
    pub here: &'a str,
    /// What ages are reckoned from.
    pub now: OffsetDateTime,
    /// Style, scripts and icon of the service.
    pub assets: &'static Assets,
}

impl Frame<'_> {
    /// The words of the frame itself.
    #[must_use]
    pub fn frame_words(&self) -> &'static FrameWords {
        FrameWords::of(self.lang)
    }

    /// The words of the API's documentation.
    #[must_use]
    pub fn docs_words(&self) -> &'static DocsWords {
        DocsWords::of(self.lang)
    }

    /// Those of them that the browser writes, as JSON.
    #[must_use]
    pub fn live_docs_words(&self) -> String {
        serde_json::to_string(self.docs_words()).expect("a struct of texts becomes JSON")
    }

    /// The address of an asset by its plain name.
    #[must_use]
    pub fn asset(&self, name: &str) -> &'static str {
        self.assets.url(name)
    }

    /// This page in another language.
    #[must_use]
    pub fn here_in(&self, lang: &Lang) -> String {
        let and = if self.here.contains('?') { '&' } else { '?' };
        format!("{}{and}lang={}", self.here, lang.tag())
    }

    /// Markup: how long ago, kept up to date by the browser.
    #[must_use]
    pub fn age(&self, since: &OffsetDateTime) -> String {
        let (machine, age) = (machine_time(*since), self.lang.age(*since, self.now));
        format!(r#"<time class="quiet" datetime="{machine}" data-age>{age}</time>"#)
    }
}
