//! A certificate authority of a test, and the certificates that it signs, made by `openssl`.

use std::{path::PathBuf, process::Command};

use crate::support::Scratch;

/// The password of the key `client`.
pub(super) const KEY_PASSWORD: &str = "secret of the key";

/// The certificates of servers that no client may trust.
pub(super) const WRONG: [&str; 3] = ["other-authority", "expired", "other-name"];

const CONFIGURATION: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = a server of a test
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
subjectAltName = ${ENV::NAMES}
[ca]
default_ca = signer
[signer]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
";
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
const OWN_NAMES: &str = "DNS:localhost,IP:127.0.0.1";

/// Certificates for servers on this machine, by their kinds: `right`, and those of [`WRONG`]; for
/// `public`, the name of the example in SECURITY.md; and `client`, whose key is encrypted.
pub(super) struct Certificates {
    folder: Scratch,
}

impl Certificates {
    pub(super) fn new() -> Self {
        let certificates = Self { folder: Scratch::with_plain_name() };
        std::fs::write(certificates.path("openssl.cnf"), CONFIGURATION).unwrap();
        std::fs::write(certificates.path("index.txt"), "").unwrap();
        certificates.make_authority("ca");
        certificates.make_authority("other-ca");
        // The dates are in UTC, as YYYYMMDDHHMMSSZ.
        let (valid, expired) = ("20990101000000Z", "20200201000000Z");
        certificates.sign("right", "ca", OWN_NAMES, valid);
        certificates.sign("other-authority", "other-ca", OWN_NAMES, valid);
        certificates.sign("expired", "ca", OWN_NAMES, expired);
        certificates.sign("other-name", "ca", "DNS:another.example", valid);
        certificates.sign("public", "ca", "DNS:orders.example.com", valid);
        certificates.sign("client", "ca", "DNS:client.example", valid);
        let password = format!("pass:{KEY_PASSWORD}");
        let encrypt = ["pkey", "-in", "client.key", "-out", "encrypted.key", "-aes256", "-passout"];
        certificates.openssl(&[&encrypt[..], &[&password]].concat(), OWN_NAMES);
        let encrypted = certificates.path("encrypted.key");
        std::fs::rename(encrypted, certificates.path("client.key")).unwrap();
        certificates
    }

    /// Returns the file of the authority that the clients of a test trust.
    pub(super) fn ca(&self) -> String {
        self.text("ca.pem")
    }

    pub(super) fn certificate(&self, kind: &str) -> String {
        self.text(&format!("{kind}.pem"))
    }

    pub(super) fn key(&self, kind: &str) -> String {
        self.text(&format!("{kind}.key"))
    }

    /// Returns a file with the key and the certificate, as Kafka reads them.
    pub(super) fn key_and_certificate(&self, kind: &str) -> String {
        let path = self.path(&format!("{kind}-both.pem"));
        let read = |path: String| std::fs::read_to_string(path).unwrap();
        std::fs::write(&path, read(self.key(kind)) + &read(self.certificate(kind))).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// Writes a file beside the certificates and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.text(name)
    }

    fn make_authority(&self, name: &str) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name} of a test");
        let mut words = vec!["req", "-config", "openssl.cnf", "-x509", "-extensions", "authority"];
        words.extend(NEW_KEY);
        words.extend(["-subj", &subject, "-days", "30", "-keyout", &key, "-out", &certificate]);
        self.openssl(&words, OWN_NAMES);
    }

    /// Makes a key, and a certificate for it that is valid from 2020 to `end`.
    fn sign(&self, name: &str, authority: &str, names: &str, end: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let mut words = vec!["req", "-config", "openssl.cnf"];
        words.extend(NEW_KEY);
        words.extend(["-keyout", &key, "-out", &request]);
        self.openssl(&words, names);

        let certificate = format!("{name}.pem");
        let (signer, signer_key) = (format!("{authority}.pem"), format!("{authority}.key"));
        let mut words = vec!["ca", "-config", "openssl.cnf", "-batch", "-notext", "-extensions"];
        words.extend(["leaf", "-cert", &signer, "-keyfile", &signer_key, "-in", &request]);
        words.extend(["-out", &certificate, "-startdate", "20200101000000Z", "-enddate", end]);
        self.openssl(&words, names);
    }

    fn openssl(&self, words: &[&str], names: &str) {
        let mut command = Command::new("openssl");
        command.args(words).env("NAMES", names).current_dir(&self.folder.0);
        let output =
            command.output().expect("openssl is installed; scripts/setup --tests installs it");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words:?}: {error}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }
}
