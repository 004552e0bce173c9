//! Pages of one other origin may read what a service answers, and do nothing else with it.

use axum::Router;
use http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

/// Lets pages of `url`'s origin read the answers to GET. To be put around everything else, so that
/// refusals can be read too.
pub fn readable_from<S>(router: Router<S>, url: &Url) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let origin = HeaderValue::try_from(url.origin().ascii_serialization())
        .expect("an origin is written in ASCII");
    let asked_by = AllowOrigin::predicate(move |asking, request| {
        *asking == origin && [Method::GET, Method::OPTIONS].contains(&request.method)
    });
    router.layer(
        CorsLayer::new().allow_origin(asked_by).allow_methods([Method::GET]).vary([header::ORIGIN]),
    )
}

/// An address for browsers, as configured.
pub fn web_address(text: &str) -> Result<Url, String> {
    match text.parse::<Url>() {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
        Ok(_) => Err("must begin with http:// or https://".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_browsers_is_one_of_the_web() {
        assert!(web_address("https://orders.example:8443/").is_ok());
        for wrong in ["", "orders.example:8081", "ftp://orders.example", "http://"] {
            assert!(web_address(wrong).is_err(), "{wrong}");
        }
    }
}
