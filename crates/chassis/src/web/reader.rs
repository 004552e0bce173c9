//! Whoever asks: for a page or for JSON, in which language, from which address.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Query},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{Assets, CONTENT_SECURITY_POLICY, Frame, Lang};

/// Whoever asks. For a page rather than for JSON ask those whose `Accept` names `text/html`, unless
/// with `?format=json`.
#[derive(Debug)]
pub struct Reader {
    wants_page: bool,
    lang: Lang,
    chosen: bool,
    here: String,
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
    format: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let choice = Query::<Choice>::try_from_uri(&parts.uri)
            .map_or(Choice { lang: None, format: None }, |Query(choice)| choice);
        let text =
            |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let wants_page = choice.format.as_deref() != Some("json") && wants_page(&parts.headers);
        let lang = Lang::choose(
            choice.lang.as_deref(),
            text(header::COOKIE),
            text(header::ACCEPT_LANGUAGE),
        );
        let query: Vec<&str> = parts
            .uri
            .query()
            .into_iter()
            .flat_map(|query| query.split('&'))
            .filter(|pair| !pair.starts_with("lang="))
            .collect();
        let mut here = parts.uri.path().to_owned();
        if !query.is_empty() {
            here = format!("{here}?{}", query.join("&"));
        }
        Ok(Self { wants_page, lang, chosen: choice.lang.is_some(), here })
    }
}

/// Does `Accept` name `text/html`?
#[must_use]
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

impl Reader {
    /// A page, rather than JSON?
    #[must_use]
    pub fn wants_page(&self) -> bool {
        self.wants_page
    }

    /// Path and query that were asked for, `lang` left out.
    #[must_use]
    pub fn here(&self) -> &str {
        &self.here
    }

    /// The frame of a page for this reader.
    #[must_use]
    pub fn frame(&self, assets: &'static Assets) -> Frame<'_> {
        Frame { lang: self.lang, here: &self.here, now: OffsetDateTime::now_utc(), assets }
    }

    /// A page on its way to this reader.
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
