//! The address of the courier service for browsers: pages link to its board, and their script asks
//! it about an order's delivery. The order service itself never calls it.

use std::sync::Arc;

use axum::response::Response;
use chassis::{http::path_segment, web::CONTENT_SECURITY_POLICY};
use events::OrderUid;
use http::{HeaderValue, header};
use url::{Host, Url};

#[derive(Debug, Clone)]
pub(crate) struct CourierService {
    base: Arc<str>,
    policy: HeaderValue,
}

impl CourierService {
    pub(crate) fn at(url: &Url) -> Self {
        let connect = format!("connect-src 'self' {}", policy_source(url));
        let policy = CONTENT_SECURITY_POLICY.replace("connect-src 'self'", &connect);
        Self {
            base: url.as_str().trim_end_matches('/').into(),
            policy: HeaderValue::try_from(policy).expect("an origin is ASCII"),
        }
    }

    /// Returns the address of the board, the page of the courier service.
    pub(super) fn board(&self) -> &str {
        &self.base
    }

    /// Returns the address of an order's delivery.
    pub(super) fn delivery_url(&self, uid: &OrderUid) -> String {
        format!("{}/delivery/{}", self.base, path_segment(uid.as_str()))
    }

    /// Extends the page's Content-Security-Policy so that its script may send requests to the
    /// courier service.
    pub(crate) fn allow(&self, mut response: Response) -> Response {
        if let Some(policy) = response.headers_mut().get_mut(header::CONTENT_SECURITY_POLICY) {
            policy.clone_from(&self.policy);
        }
        response
    }
}

/// Returns the source expression of an address in a Content-Security-Policy. A policy cannot name
/// an IPv6 address, so for one it allows any host with the same port.
fn policy_source(url: &Url) -> String {
    match (url.host(), url.port_or_known_default()) {
        (Some(Host::Ipv6(_)), Some(port)) => format!("{}://*:{port}", url.scheme()),
        _ => url.origin().ascii_serialization(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_requests_to_that_origin_only() {
        let couriers = CourierService::at(&"https://couriers.example:8443/api/".parse().unwrap());
        let policy = couriers.policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' https://couriers.example:8443;"), "{policy}");
        let local = CourierService::at(&"http://[::1]:8082".parse().unwrap());
        let policy = local.policy.to_str().unwrap();
        assert!(policy.contains("connect-src 'self' http://*:8082;"), "{policy}");
        assert_eq!(
            couriers.delivery_url(&"a/b".parse().unwrap()),
            "https://couriers.example:8443/api/delivery/a%2Fb"
        );
    }
}
