//! The reader of a page: their language, and the address that they asked for.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, Uri, header, request::Parts};
use time::OffsetDateTime;

use super::{Assets, CONTENT_SECURITY_POLICY, Frame, Lang, by_accept::PageQuery};

#[derive(Debug)]
pub struct Reader {
    lang: Lang,
    /// The query names the language: a cookie remembers it.
    chosen: bool,
    here: String,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let lines = |name, separator| {
            let values = parts.headers.get_all(name).iter();
            values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(separator)
        };
        let asked = PageQuery::of(&parts.uri).lang;
        let (cookies, accepted) = (lines(header::COOKIE, ";"), lines(header::ACCEPT_LANGUAGE, ","));
        let lang = Lang::choose(asked.as_deref(), &cookies, &accepted);
        Ok(Self { lang, chosen: asked.is_some(), here: without_lang(&parts.uri) })
    }
}

/// Path and query without the parameter `lang`.
fn without_lang(uri: &Uri) -> String {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    let query: Vec<&str> = pairs.filter(|pair| !pair.starts_with("lang=")).collect();
    if query.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), query.join("&"))
    }
}

impl Reader {
    /// Path and query that were asked for, without `lang`.
    #[must_use]
    pub fn here(&self) -> &str {
        &self.here
    }

    /// The frame of a page for this reader.
    #[must_use]
    pub fn frame(&self, assets: &'static Assets) -> Frame<'_> {
        Frame { lang: self.lang, here: &self.here, now: OffsetDateTime::now_utc(), assets }
    }

    /// The response that carries a page.
    #[must_use]
    pub fn send(&self, status: StatusCode, html: String) -> Response {
        let mut response = (
            status,
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
                (header::CACHE_CONTROL, "private, no-cache"),
                (header::VARY, "Accept, Accept-Language, Cookie"),
                (header::REFERRER_POLICY, "same-origin"),
            ],
            html,
        )
            .into_response();
        if self.chosen
            && let Ok(cookie) = HeaderValue::try_from(self.lang.cookie())
        {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}
