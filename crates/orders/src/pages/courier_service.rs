//! Where browsers ask about an order's courier: the courier service, which this service itself never
//! calls.

use std::sync::Arc;

use axum::response::Response;
use chassis::{http::path_segment, web::CONTENT_SECURITY_POLICY};
use events::OrderUid;
use http::{HeaderValue, header};
use url::{Host, Url};

/// The courier service as browsers reach it.
#[derive(Debug, Clone)]
pub(crate) struct Couriers {
    base: Arc<str>,
    policy: HeaderValue,
}

impl Couriers {
    pub(crate) fn at(url: &Url) -> Self {
        let connect = format!("connect-src 'self' {}", source(url));
        let policy = CONTENT_SECURITY_POLICY.replace("connect-src 'self'", &connect);
        Self {
            base: url.as_str().trim_end_matches('/').into(),
            policy: HeaderValue::try_from(policy).expect("an origin is ASCII"),
        }
    }

    /// Its page, the board.
    pub(crate) fn board(&self) -> &str {
        &self.base
    }

    /// Where the delivery of this order is told.
    pub(crate) fn delivery(&self, uid: &OrderUid) -> String {
        format!("{}/delivery/{}", self.base, path_segment(uid.as_str()))
    }

    /// Lets a page ask there, and nowhere else.
    pub(crate) fn allow(&self, mut response: Response) -> Response {
        if let Some(policy) = response.headers_mut().get_mut(header::CONTENT_SECURITY_POLICY) {
            policy.clone_from(&self.policy);
        }
        response
    }
}

/// An address as a Content-Security-Policy names it. It has no word for an address of IPv6: there any
/// host will do, if the port is the same.
fn source(url: &Url) -> String {
    match (url.host(), url.port_or_known_default()) {
        (Some(Host::Ipv6(_)), Some(port)) => format!("{}://*:{port}", url.scheme()),
        _ => url.origin().ascii_serialization(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_ask_that_one_origin() {
        let couriers = Couriers::at(&"https://couriers.example:8443/api/".parse().unwrap());
        let policy = couriers.policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' https://couriers.example:8443;"), "{policy}");
        let local = Couriers::at(&"http://[::1]:8082".parse().unwrap());
        let policy = local.policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' http://*:8082;"), "{policy}");
        assert_eq!(
            couriers.delivery(&"a/b".parse().unwrap()),
            "https://couriers.example:8443/api/delivery/a%2Fb"
        );
    }
}
