//! Access for the pages of one other origin: they may read the answers of a service. They may not
//! send anything: [`observe`](super::observe) refuses requests from other sites.

use axum::Router;
use http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::{Host, Url};

/// The names of this machine for itself. Each of them is another origin for a browser.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Allows pages of the origin of `url` to read the answers to GET. Must be added last, so that they
/// can read refusals, too.
pub fn readable_from<S>(router: Router<S>, url: &Url) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let origins = origins(url);
    let allowed = AllowOrigin::predicate(move |origin, request| {
        origins.contains(origin) && [Method::GET, Method::OPTIONS].contains(&request.method)
    });
    router.layer(
        CorsLayer::new().allow_origin(allowed).allow_methods([Method::GET]).vary([header::ORIGIN]),
    )
}

/// Returns the origin of `url`; for an address of this machine, one origin for each of its names.
fn origins(url: &Url) -> Vec<HeaderValue> {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let mut names = vec![url.clone()];
    if is_loopback {
        names.extend(LOOPBACK.iter().map(|name| {
            let mut url = url.clone();
            url.set_host(Some(name)).expect("an http or https address may have any host");
            url
        }));
    }
    let origin = |url: &Url| HeaderValue::try_from(url.origin().ascii_serialization());
    names.iter().map(|url| origin(url).expect("an origin is ASCII")).collect()
}

/// Parses a configured address of a service.
pub fn web_address(text: &str) -> Result<Url, String> {
    match text.parse::<Url>() {
        // Pages would show them.
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("must not contain a user or a password".to_owned())
        }
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
        Ok(_) => Err("not an HTTP address: it must begin with http:// or https://".to_owned()),
        Err(error) => Err(format!("not an HTTP address: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loopback_name_is_an_origin_and_no_other() {
        for local in ["http://127.0.0.1:8081", "http://localhost:8081/", "http://[::1]:8081/x"] {
            let origins = origins(&local.parse().unwrap());
            for name in LOOPBACK {
                let same = format!("http://{name}:8081");
                assert!(origins.iter().any(|origin| *origin == same), "{local}: {same}");
            }
            for other in ["https://localhost:8081", "http://localhost:8082", "http://localhost"] {
                assert!(origins.iter().all(|origin| origin != other), "{local}: {other}");
            }
        }
        let remote = origins(&"https://orders.example/x".parse().unwrap());
        assert_eq!(remote, ["https://orders.example"]);
    }

    #[test]
    fn an_address_for_browsers_is_http_or_https() {
        assert!(web_address("https://orders.example:8443/").is_ok());
        let secrets = ["http://user:secret@orders.example", "https://user@orders.example"];
        let others = ["", "orders.example:8081", "ftp://orders.example", "http://"];
        for wrong in secrets.into_iter().chain(others) {
            assert!(web_address(wrong).is_err(), "{wrong}");
        }
    }
}
