//! The choice between JSON and a page, for every call that offers both.

use axum::{
    extract::{Query, Request},
    handler::Handler,
};
use futures_util::future::Either;
use headers_accept::Accept;
use http::{HeaderMap, Uri, header};
use mediatype::{
    MediaType,
    names::{APPLICATION, HTML, JSON, TEXT},
};
use serde::Deserialize;

/// The parts of a query that every page understands.
#[derive(Default, Deserialize)]
pub(super) struct PageQuery {
    pub(super) lang: Option<String>,
    format: Option<String>,
}

impl PageQuery {
    pub(super) fn of(uri: &Uri) -> Self {
        Query::try_from_uri(uri).map(|Query(query)| query).unwrap_or_default()
    }
}

/// A handler that answers with a page if the request asks for one, else with JSON.
pub fn by_accept<J, P>(json: J, page: P) -> ByAccept<J, P> {
    ByAccept { json, page }
}

/// The handler that [`by_accept`] returns.
#[derive(Debug, Clone)]
pub struct ByAccept<J, P> {
    json: J,
    page: P,
}

impl<J, P, JsonInput, PageInput, S> Handler<(JsonInput, PageInput), S> for ByAccept<J, P>
where
    J: Handler<JsonInput, S>,
    P: Handler<PageInput, S>,
    JsonInput: 'static,
    PageInput: 'static,
    S: 'static,
{
    type Future = Either<P::Future, J::Future>;

    fn call(self, request: Request, state: S) -> Self::Future {
        if wants_page(request.headers(), request.uri()) {
            Either::Left(self.page.call(request, state))
        } else {
            Either::Right(self.json.call(request, state))
        }
    }
}

/// Returns true if `Accept` prefers a page to JSON and the query does not ask for `format=json`. A
/// client that accepts both equally gets what it names first.
#[must_use]
pub fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    prefers_page(headers) && PageQuery::of(uri).format.as_deref() != Some("json")
}

const PAGE: MediaType<'static> = MediaType::new(TEXT, HTML);
/// JSON comes first: a client that names neither gets it.
const OFFERED: [MediaType<'static>; 2] = [MediaType::new(APPLICATION, JSON), PAGE];

/// Longer than the header of any browser.
const MAX_ACCEPT_BYTES: usize = 1_024;

fn prefers_page(headers: &HeaderMap) -> bool {
    let lines = || headers.get_all(header::ACCEPT).iter();
    // The usual header of a program, or none: nothing to parse, which matters on the fast path.
    if lines().all(|line| line == "*/*" || line == "application/json") {
        return false;
    }
    let lines: Vec<_> = lines().filter_map(|line| line.to_str().ok()).collect();
    let header = lines.join(",");
    // JSON for a header that breaks the grammar, or that is long: sorting it takes long.
    header.len() <= MAX_ACCEPT_BYTES
        && header.parse().is_ok_and(|accept: Accept| accept.negotiate(&OFFERED) == Some(&PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_page(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, line.parse().unwrap());
        }
        wants_page(&headers, &Uri::from_static("/rejected"))
    }

    #[test]
    fn the_preferred_type_is_chosen() {
        for lines in [
            &["text/html"][..],
            &["TEXT/HTML"],
            &["text/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"],
            &["text/html, */*"],
            &["*/*, text/html"],
            &["text/html, application/json"],
            &["application/json;q=0.5, text/html;q=0.6"],
            &["application/json; Q=0.5", "Text/HTML"],
            &["application/json;q=0", "*/*"],
        ] {
            assert!(is_page(lines), "{lines:?}");
        }
        let long = vec!["text/html"; 1_000];
        for lines in [
            &[][..],
            &long,
            &["*/*"],
            &["application/json"],
            &["application/json, text/html"],
            &["application/json, text/html;q=0.9"],
            &["text/html;q=0"],
            &["text/html;q=0, */*"],
            &["text/html;q=0.4, */*;q=0.5"],
            &["text/html;q=0.3", "application/json;q=0.4"],
            &["text/html+x"],
            &["text/htmlx"],
            &["x/text/html"],
            &["image/png"],
            &["text/html, *; q=.2"],
            &[""],
        ] {
            assert!(!is_page(lines), "{lines:?}");
        }
    }
}
