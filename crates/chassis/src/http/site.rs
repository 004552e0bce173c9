//! The names under which a service answers, and the pages that may send it requests.
//!
//! A name that a service does not know may be one that an attacker has pointed at its address, so
//! that a browser takes the attacker's page for a page of this service (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, Request, header};
use url::{Host, Url};

/// The paths that are answered under any name: programs read them, and they show no data of orders
/// or couriers.
const ANSWERED_UNDER_ANY_NAME: [&str; 5] =
    ["/livez", "/readyz", "/metrics", "/ping", "/healthcheck"];
/// The value of `HTTP_HOSTS` that allows every name.
const ANY_HOST: &str = "*";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names of a service.
#[derive(Debug, Default)]
pub struct Site {
    /// Host and port of the address at which browsers reach the service.
    own: Option<(String, Option<u16>)>,
    /// The hosts of `HTTP_HOSTS`.
    hosts: Vec<String>,
}

impl Site {
    /// Creates the site of a service from its own address, if it is configured, and `HTTP_HOSTS`.
    #[must_use]
    pub fn new(own: Option<&Url>, hosts: &[String]) -> Self {
        let own = own.and_then(|url| Some((url.host_str()?.to_owned(), url.port())));
        Self { own, hosts: hosts.to_vec() }
    }

    /// Returns true if the service may answer this request: it is addressed to an IP address, to a
    /// known name or to no name, or its path is answered under any name.
    ///
    /// It is called before the fast path, and allocates nothing.
    pub(crate) fn answers<B>(&self, request: &Request<B>) -> bool {
        let is_known =
            match request.uri().authority() {
                Some(authority) => self.knows(authority.as_str()),
                None => request.headers().get_all(header::HOST).iter().all(|host| {
                    host.is_empty() || host.to_str().is_ok_and(|host| self.knows(host))
                }),
            };
        is_known || is_answered_under_any_name(request.uri().path())
    }

    fn knows(&self, authority: &str) -> bool {
        let Some(Authority { host, .. }) = Authority::parse(authority) else { return false };
        let is_address = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok(),
        };
        is_address
            || is_same_host(host, "localhost")
            || self.own.as_ref().is_some_and(|(own, _)| is_same_host(host, own))
            || self.hosts.iter().any(|known| known == ANY_HOST || is_same_host(host, known))
    }

    /// Returns true if a page of another origin may have sent this request.
    ///
    /// `Sec-Fetch-Site` decides alone, because a page cannot set it. Browsers send it only over
    /// https and to loopback; otherwise `Origin` decides, which they send with each unsafe request.
    pub(crate) fn is_forged<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
        if sites.peek().is_some() {
            return sites.any(|site| site != "same-origin" && site != "none");
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        origins.any(|origin| {
            // "null" is the origin of a page without one, such as a sandboxed frame.
            let authority =
                origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
            !authority
                .and_then(Authority::parse)
                .is_some_and(|origin| self.is_own(&origin, request.uri(), headers))
        })
    }

    /// Returns true if `origin` is the address to which the request was sent, or the service's own
    /// one. A proxy that keeps `Host` makes the first true; for any other proxy, the own address
    /// must be the one of the proxy.
    fn is_own(&self, origin: &Authority<'_>, uri: &http::Uri, headers: &HeaderMap) -> bool {
        let own = self.own.as_ref().map(|(host, port)| Authority { host, port: *port });
        let addressed = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        let addressed = addressed.and_then(Authority::parse);
        [own, addressed].iter().flatten().any(|known| known.is_same(origin))
    }
}

pub(crate) fn is_answered_under_any_name(path: &str) -> bool {
    ANSWERED_UNDER_ANY_NAME.contains(&path)
}

/// Parses one host of `HTTP_HOSTS`.
pub(super) fn http_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text == ANY_HOST {
        return Ok(text.to_owned());
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !name.contains(ANY_HOST) => Ok(name),
        Ok(Host::Ipv4(_) | Host::Ipv6(_)) => Ok(text.to_owned()),
        _ => {
            Err("must be names of hosts, without scheme and port, separated by commas; or *"
                .to_owned())
        }
    }
}

/// Host and port, as in the header `Host`: `orders.example`, `127.0.0.1:8081`, `[::1]:8081`.
struct Authority<'a> {
    /// An IPv6 address is in brackets.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let end = match text.starts_with('[') {
            true => text.find(']')? + 1,
            false => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(end);
        let port = match port.strip_prefix(':') {
            Some("") => None,
            Some(port) => Some(port.parse().ok()?),
            None if port.is_empty() => None,
            None => return None,
        };
        (!host.is_empty()).then_some(Self { host, port })
    }

    /// Compares without the scheme, which a proxy may change: so the default ports of http and
    /// https are equal to no port.
    fn is_same(&self, other: &Self) -> bool {
        let port = |port: Option<u16>| port.filter(|port| ![80, 443].contains(port));
        is_same_host(self.host, other.host) && port(self.port) == port(other.port)
    }
}

/// Compares two names. One dot at the end does not count.
fn is_same_host(one: &str, other: &str) -> bool {
    without_dot(one).eq_ignore_ascii_case(without_dot(other))
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let own = "https://orders.example:8443/base".parse().unwrap();
        Site::new(Some(&own), &[http_host("Internal").unwrap(), http_host("заказы.рф").unwrap()])
    }

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn addresses_and_known_names_are_answered() {
        let site = site();
        for host in [
            "127.0.0.1:8081",
            "192.168.1.5",
            "[::1]:8081",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "orders.example",
            "Orders.Example.:9",
            "internal:8081",
            "",
        ] {
            assert!(site.answers(&request("/order/1", &[("host", host)])), "{host}");
        }
        assert!(site.answers(&request("/order/1", &[])));
        let encoded = http_host("заказы.рф").unwrap();
        assert!(encoded.starts_with("xn--"), "as browsers send it: {encoded}");
        assert!(site.answers(&request("/order/1", &[("host", &encoded)])));
    }

    #[test]
    fn any_other_name_is_answered_only_for_health() {
        for host in [
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "orders.example.evil.example",
            "evil.example:80@127.0.0.1",
            "[::1].evil.example",
            "[evil.example]",
            "127.1",
            "0x7f000001",
            ":8081",
            "localhost:x",
            "..",
        ] {
            assert!(!site().answers(&request("/order/1", &[("host", host)])), "{host}");
            for path in ANSWERED_UNDER_ANY_NAME {
                assert!(site().answers(&request(path, &[("host", host)])), "{host} {path}");
            }
        }
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert!(!site().answers(&request("/order/1", &two)));
    }

    #[test]
    fn the_authority_of_a_target_counts_as_host() {
        let target = |uri| site().answers(&request(uri, &[("host", "localhost")]));
        assert!(!target("http://evil.example/order/1"));
        assert!(!target("http://localhost@evil.example/order/1"));
        assert!(target("http://orders.example/order/1"));
        let other = [("host", "evil.example")];
        assert!(site().answers(&request("http://127.0.0.1:8081/order/1", &other)));
    }

    #[test]
    fn every_name_is_answered_if_a_proxy_checks_them() {
        let site = Site::new(None, &[http_host("*").unwrap()]);
        assert!(site.answers(&request("/order/1", &[("host", "any.example")])));
    }

    #[test]
    fn a_host_of_the_configuration_is_a_name() {
        for wrong in ["", "http://a", "a:80", "a/b", "*.example", "a b"] {
            assert!(http_host(wrong).is_err(), "{wrong}");
        }
        assert_eq!(http_host(" Orders.Example ").unwrap(), "orders.example");
    }

    #[test]
    fn the_header_of_the_browser_decides_alone() {
        let own = ("origin", "http://localhost:8081");
        let other = ("origin", "http://evil.example");
        let host = ("host", "localhost:8081");
        for (fetch_site, is_forged) in [
            ("same-origin", false),
            ("none", false),
            ("same-site", true),
            ("cross-site", true),
            ("", true),
            ("Same-Origin", true),
        ] {
            for origin in [own, other] {
                let headers = [host, origin, ("sec-fetch-site", fetch_site)];
                assert_eq!(site().is_forged(&request("/", &headers)), is_forged, "{headers:?}");
            }
        }
        let two = [host, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert!(site().is_forged(&request("/", &two)));
    }

    #[test]
    fn without_it_the_origin_must_be_the_address_of_the_service() {
        for (host, origin, is_forged) in [
            ("waybill.lan:8081", "http://waybill.lan:8081", false),
            ("waybill.lan:8081", "https://WAYBILL.lan:8081", false),
            ("waybill.lan", "https://waybill.lan", false),
            ("waybill.lan:443", "https://waybill.lan", false),
            ("waybill.lan", "http://waybill.lan:80", false),
            ("[::1]:8081", "http://[::1]:8081", false),
            // The own address, behind a proxy that changes `Host`.
            ("127.0.0.1:8081", "https://orders.example:8443", false),
            ("127.0.0.1:8081", "https://orders.example", true),
            ("waybill.lan:8081", "http://waybill.lan:8082", true),
            ("waybill.lan:8081", "http://waybill.lan", true),
            ("waybill.lan:8081", "http://evil.example", true),
            ("waybill.lan:8081", "http://evil.waybill.lan:8081", true),
            ("127.0.0.1:8081", "http://127.0.0.2:8081", true),
            ("waybill.lan:8081", "null", true),
            ("waybill.lan:8081", "", true),
            ("", "http://evil.example", true),
        ] {
            let headers = [("host", host), ("origin", origin)];
            assert_eq!(site().is_forged(&request("/", &headers)), is_forged, "{host} {origin}");
        }
        assert!(!site().is_forged(&request("/", &[("host", "waybill.lan")])));
        let two = [("host", "a.lan"), ("origin", "http://a.lan"), ("origin", "http://b.lan")];
        assert!(site().is_forged(&request("/", &two)));
    }
}
