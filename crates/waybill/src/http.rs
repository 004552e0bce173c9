//! The HTTP client of the tools and the generator. A service may be behind a proxy that adds TLS and
//! requires credentials.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use chassis::process::{certificate::distrust, exit::ExitReason, network::is_loopback};
use clap::{Args, error::ErrorKind};
use reqwest::{
    Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue},
    redirect::{Attempt, Policy},
};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

/// Bounds a call, from connecting to the last byte of the answer.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between two attempts to connect.
const CONNECT_INTERVAL: Duration = Duration::from_millis(250);
const MAX_REDIRECTS: usize = 10;

/// The certificate authority and the headers for a service behind a proxy.
#[derive(Clone, Default, Args)]
pub(crate) struct HttpOptions {
    /// PEM file of the certificate authority that signed the certificate of an https:// address.
    ///
    /// With it, only this authority is trusted; without it, those of the operating system.
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true, display_order = 20)]
    ca_file: Option<PathBuf>,
    /// Header of each request, such as 'X-Actor: ada'; may be repeated.
    ///
    /// `@FILE` reads headers from a file, one in each line. Other users of the machine can read the
    /// command line of a process: give a secret in a file.
    #[arg(
        long = "header",
        value_name = "NAME: VALUE",
        global = true,
        hide_short_help = true,
        display_order = 21
    )]
    headers: Vec<String>,
    /// File that contains a token, which is sent as `Authorization: Bearer TOKEN`.
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true, display_order = 22)]
    token_file: Option<PathBuf>,
}

/// Shows no header: it may contain a secret.
impl std::fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOptions").field("ca_file", &self.ca_file).finish_non_exhaustive()
    }
}

impl HttpOptions {
    /// Returns a client for the services at `addresses`. An option that is wrong or has no effect is
    /// a usage error.
    pub(crate) fn client(&self, addresses: &[&Url]) -> anyhow::Result<Client> {
        Ok(self.builder(addresses)?.timeout(CALL_TIMEOUT).build()?)
    }

    pub(crate) fn builder(&self, addresses: &[&Url]) -> anyhow::Result<ClientBuilder> {
        let headers = self.headers()?;
        if [AUTHORIZATION, COOKIE].iter().any(|name| headers.contains_key(name)) {
            for address in addresses.iter().filter(|address| is_unprotected(address)) {
                tracing::warn!("the credentials are sent to {} without TLS", shown(address));
            }
        }
        // A proxy of the environment is for the internet: it does not reach this machine or a
        // private network, and it could read the credentials.
        let client = Client::builder().no_proxy().default_headers(headers);
        let client = client.redirect(Policy::custom(|attempt| {
            if attempt.previous().len() > MAX_REDIRECTS || is_other_server(&attempt) {
                // The headers may be for this server alone. The caller reports the redirect.
                attempt.stop()
            } else {
                attempt.follow()
            }
        }));
        let Some(path) = &self.ca_file else { return Ok(client) };
        if addresses.iter().all(|address| address.scheme() != "https") {
            return Err(usage("--ca-file has no effect without an https:// address"));
        }
        let certificates = Certificate::from_pem_bundle(&read(path, "--ca-file")?);
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(client.tls_certs_only(certificates)),
            _ => {
                let path = path.display();
                Err(usage(&format!("--ca-file {path} is not a PEM file of certificates")))
            }
        }
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for given in &self.headers {
            if let Some(path) = given.strip_prefix('@') {
                let lines = String::from_utf8(read(Path::new(path), "--header")?);
                let lines =
                    lines.map_err(|_| usage(&format!("the headers in {path} are not UTF-8")))?;
                for line in lines.lines().filter(|line| !line.trim().is_empty()) {
                    let wrong =
                        || usage(&format!("--header: a line of {path} is not `Name: value`"));
                    add_header(&mut headers, line).ok_or_else(wrong)?;
                }
            } else {
                // The error does not contain the value, which may be a secret.
                let wrong = || usage("--header needs the form `Name: value`");
                add_header(&mut headers, given).ok_or_else(wrong)?;
            }
        }
        if let Some(path) = &self.token_file {
            if headers.contains_key(AUTHORIZATION) {
                return Err(usage("--token-file and a header Authorization exclude each other"));
            }
            let token = String::from_utf8(read(path, "--token-file")?).unwrap_or_default();
            let token = Some(token.trim()).filter(|token| !token.is_empty());
            let header = token.map(|token| format!("Authorization: Bearer {token}"));
            header.and_then(|header| add_header(&mut headers, &header)).ok_or_else(|| {
                let path = path.display();
                usage(&format!("--token-file {path} contains no token of one line of text"))
            })?;
        }
        Ok(headers)
    }
}

/// Adds a header of the form `Name: value`; returns `None` if it has another form.
fn add_header(headers: &mut HeaderMap, line: &str) -> Option<()> {
    let (name, value) = line.split_once(':')?;
    let name = HeaderName::try_from(name.trim()).ok()?;
    let mut value = HeaderValue::try_from(value.trim()).ok()?;
    value.set_sensitive(true);
    headers.append(name, value);
    Some(())
}

fn read(path: &Path, option: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| usage(&format!("{option}: reading {}: {error}", path.display())))
}

fn usage(message: &str) -> anyhow::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{message}\n")).into()
}

fn is_unprotected(address: &Url) -> bool {
    address.scheme() == "http" && !address.host_str().is_some_and(is_loopback)
}

fn is_other_server(attempt: &Attempt<'_>) -> bool {
    attempt.previous().first().is_some_and(|first| first.origin() != attempt.url().origin())
}

/// Returns an address without user and password.
fn shown(address: &Url) -> String {
    let mut address = address.clone();
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address.to_string()
}

/// Sends a request, and tries again for [`CALL_TIMEOUT`] while no connection can be made: the
/// service may be starting. Without a connection, nothing was sent, so that a request with an effect
/// is not repeated either.
pub(crate) async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    let last_attempt = Instant::now() + CALL_TIMEOUT - CONNECT_INTERVAL;
    loop {
        let attempt = request.try_clone().expect("the body of a request is not a stream");
        match attempt.send().await {
            Err(error)
                if error.is_connect()
                    && distrust(&error).is_none()
                    && Instant::now() < last_attempt =>
            {
                tokio::time::sleep(CONNECT_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Explains an error of [`send`]. `service` names the service, such as "the order service", and
/// `flag` the option with its address.
pub(crate) fn explain(
    error: reqwest::Error,
    service: &str,
    base: &Url,
    flag: &str,
) -> anyhow::Error {
    let base = shown(base);
    if let Some(reason) = distrust(&error) {
        return anyhow!(
            "the certificate of {service} at {base} is not trusted ({reason}): check \
             {flag}, and give the authority that signed the certificate with --ca-file"
        )
        .context(ExitReason::Configuration);
    }
    let error = error.without_url();
    if !error.is_connect() && !error.is_timeout() {
        return anyhow::Error::new(error).context(format!("calling {service} at {base}"));
    }
    anyhow::Error::new(error).context(ExitReason::Unreachable(format!(
        "{service} at {base} did not answer for 10 seconds; start it, or set another \
         address with {flag}"
    )))
}

/// Returns the error for the status 401 of the order or the courier service.
pub(crate) fn unauthorized(service: &str) -> anyhow::Error {
    anyhow!(
        "the {service} service, or a proxy in front of it, requires other credentials (status 401): \
         give them with --token-file or --header"
    )
    .context(ExitReason::Configuration)
}

/// Returns the status and the JSON of an answer. The error message names `service`.
pub(crate) async fn read_json(
    answer: Response,
    service: &str,
) -> anyhow::Result<(StatusCode, Value)> {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        return Err(unauthorized(service));
    }
    if status.is_redirection() {
        anyhow::bail!(
            "the {service} service redirects to another server (status {}), which is not followed; \
             give the address of that server",
            status.as_u16()
        );
    }
    let body = answer.json().await;
    let body = body.with_context(|| {
        format!(
            "the answer (status {}) is not JSON; is this the {service} service?",
            status.as_u16()
        )
    })?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "http://127.0.0.1:8081";
    const REMOTE: &str = "https://orders.example";

    fn options(headers: &[&str]) -> HttpOptions {
        let headers = headers.iter().map(|&header| header.to_owned()).collect();
        HttpOptions { headers, ..HttpOptions::default() }
    }

    fn file(text: &str) -> PathBuf {
        let name = format!("waybill-http-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn headers_come_from_the_command_line_and_from_files() {
        let (more, token) = (file("X-One: 1\n\nX-Two: a: b\n"), file("secret\n"));
        let from_file = format!("@{}", more.display());
        let mut options = options(&["X-Actor: ada", &from_file]);
        options.token_file = Some(token.clone());
        let headers = options.headers().unwrap();
        std::fs::remove_file(more).unwrap();
        std::fs::remove_file(token).unwrap();
        for (name, value) in [
            ("x-actor", "ada"),
            ("x-one", "1"),
            ("x-two", "a: b"),
            ("authorization", "Bearer secret"),
        ] {
            assert_eq!(headers[name], value);
        }
        // Neither form of a header is printed.
        let shown = format!("{options:?} {headers:?}");
        assert!(!shown.contains("secret") && !shown.contains("ada"), "{shown}");
    }

    #[test]
    fn wrong_options_are_named_without_their_values() {
        let (empty, lines) = (file(""), file("one\ntwo\n"));
        let url = |text: &str| text.parse::<Url>().unwrap();
        let with = |ca_file: Option<&PathBuf>, token_file: Option<&PathBuf>, headers: &[&str]| {
            let (ca_file, token_file) = (ca_file.cloned(), token_file.cloned());
            HttpOptions { ca_file, token_file, ..options(headers) }
        };
        for (options, address, expected) in [
            (with(None, None, &["password"]), LOCAL, "`Name: value`"),
            (with(None, None, &["a b: password"]), LOCAL, "`Name: value`"),
            (with(None, None, &["@/nowhere/x"]), LOCAL, "--header: reading /nowhere/x"),
            (with(None, Some(&empty), &[]), LOCAL, "contains no token"),
            (with(None, Some(&lines), &[]), LOCAL, "contains no token"),
            (with(None, Some(&lines), &["authorization: password"]), LOCAL, "exclude each other"),
            (with(Some(&empty), None, &[]), REMOTE, "is not a PEM file"),
            (with(Some(&empty), None, &[]), LOCAL, "--ca-file has no effect"),
        ] {
            let error = options.client(&[&url(address)]).unwrap_err();
            assert!(error.is::<clap::Error>(), "{error}");
            let text = error.to_string();
            assert!(text.contains(expected) && !text.contains("password"), "{text}");
        }
        std::fs::remove_file(empty).unwrap();
        std::fs::remove_file(lines).unwrap();
    }

    #[test]
    fn credentials_are_unprotected_beyond_this_machine_without_tls() {
        for (url, expected) in [
            (LOCAL, false),
            ("http://localhost:8081", false),
            (REMOTE, false),
            ("http://orders.example", true),
            ("http://192.0.2.1", true),
        ] {
            assert_eq!(is_unprotected(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = "https://ada:secret@orders.example/".parse().unwrap();
        assert_eq!(shown(&address), "https://orders.example/");
    }
}
