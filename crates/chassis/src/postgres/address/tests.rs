use super::*;

fn with(text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Address> {
    Address::parse_with("DATABASE_URL", text, |name| {
        variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
    })
}

/// Returns the error for an address that contains the word `secret` in each value.
fn error(text: &str, variables: &[(&str, &str)]) -> String {
    let error = with(text, variables).err().unwrap_or_else(|| panic!("{text} is accepted"));
    let error = format!("{error:#}");
    assert!(!error.contains("secret"), "{error}");
    error
}

fn file(name: &str, text: &str) -> String {
    let path = std::env::temp_dir().join(format!("waybill-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_part_of_an_address_is_used() {
    let text = "postgresql://ad%40a:se%2Fcret@[::1]:6000/of%20ada?sslmode=require&options=-cx%3Dy";
    let options = with(text, &[]).unwrap().options();
    assert_eq!((options.get_host(), options.get_port()), ("::1", 6000));
    assert_eq!((options.get_username(), options.get_database()), ("ad@a", Some("of ada")));
    assert_eq!(options.get_options(), Some("-cx=y"));
    assert!(matches!(options.get_ssl_mode(), sqlx::postgres::PgSslMode::Require));
    let login = with(text, &[]).unwrap().login();
    assert_eq!(login.password.as_deref(), Some("se/cret"));

    let text = "postgres:///?host=/var/run/pg&user=u&dbname=d&password=p&port=7";
    let options = with(text, &[]).unwrap().options();
    assert_eq!(options.get_socket().unwrap().to_str(), Some("/var/run/pg"));
    assert_eq!((options.get_username(), options.get_port()), ("u", 7));
    let options = with("postgres://%2Frun%2Fpg/d", &[]).unwrap().options();
    assert_eq!(options.get_socket().unwrap().to_str(), Some("/run/pg"));
}

#[test]
fn the_variables_of_psql_fill_only_what_is_missing() {
    let variables = [
        ("PGHOST", "there"),
        ("PGPORT", "6543"),
        ("PGUSER", "bob"),
        ("PGDATABASE", "of_bob"),
        ("PGSSLMODE", "require"),
        ("PGPASSWORD", "of the variable"),
    ];
    let filled = with("postgres://", &variables).unwrap();
    let options = filled.options();
    assert_eq!((options.get_host(), options.get_port()), ("there", 6543));
    assert_eq!((options.get_username(), options.get_database()), ("bob", Some("of_bob")));
    assert!(matches!(options.get_ssl_mode(), sqlx::postgres::PgSslMode::Require));
    // A user who is created gets the password in the address, not the one of a session.
    assert_eq!(filled.login().password, None);

    let options = with("postgres://ada@here:1/x?sslmode=disable", &variables).unwrap().options();
    assert_eq!((options.get_host(), options.get_port()), ("here", 1));
    assert_eq!((options.get_username(), options.get_database()), ("ada", Some("x")));
    assert!(matches!(options.get_ssl_mode(), sqlx::postgres::PgSslMode::Disable));
}

#[test]
fn addresses_of_another_kind_are_refused() {
    for other in [
        "",
        "localhost",
        "jdbc:postgresql://u:secret@h/db",
        "mysql://u:secret@h/db",
        "https://u:secret@h/",
        "postgres:u:secret@h",
        "host=h password=secret",
    ] {
        let error = error(other, &[]);
        assert!(error.contains("DATABASE_URL is not a PostgreSQL address"), "{error}");
    }
    for malformed in ["postgres://u:secret@h:port/db", "postgres://u:p@h/db#secret"] {
        error(malformed, &[]);
    }
    for several in ["postgres://u@h,secret/db", "postgres:///?host=a,secret"] {
        assert!(error(several, &[]).contains("several hosts"));
    }
}

#[test]
fn parameters_that_would_not_protect_are_named_without_value() {
    for (query, named) in [
        ("channel_binding=require", "channel_binding"),
        ("require_auth=secret", "require_auth"),
        ("sslcrl=secret", "sslcrl"),
        ("gssencmode=require", "gssencmode"),
        ("sslmod=secret", "sslmod"),
        ("sslmode=secret", "sslmode"),
        ("port=secret", "port"),
        ("sslrootcert=/secret", "sslrootcert"),
        ("sslmode=disable&sslcert=secret&sslkey=secret", "sslcert"),
        ("sslmode=require&sslcert=secret", "sslkey"),
        ("sslmode=require&sslkey=secret", "sslcert"),
        ("sslmode=verify-ca", "sslrootcert"),
        ("sslmode=verify-full&sslrootcert=/secret", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "verify-full"),
    ] {
        let error = error(&format!("postgres://u:secret@h/db?{query}"), &[]);
        assert!(error.contains(named) && error.contains("DATABASE_URL"), "{error}");
    }
    for (name, value) in [
        ("PGSSLMODE", "verify_full"),
        ("PGCHANNELBINDING", "require"),
        ("PGSSLROOTCERT", "/secret"),
        ("PGPORT", "secret"),
    ] {
        let error = error("postgres://u:secret@h/db", &[(name, value)]);
        assert!(error.contains(name), "{error}");
    }
    // A password with an unencoded question mark is not shown as a parameter.
    assert!(error("postgres://u:1?secret@h/db", &[]).contains("%3F"));
}

#[test]
fn parameters_without_a_meaning_for_security_are_accepted() {
    let text = "postgres://u@h/db?connect_timeout=3&keepalives=1&target_session_attrs=any\
                &channel_binding=prefer&gssencmode=disable&sslnegotiation=postgres";
    let address = with(text, &[]).unwrap();
    assert_eq!(address.without_effect, ["connect_timeout", "keepalives", "target_session_attrs"]);
}

#[test]
fn the_protection_of_a_connection_is_known() {
    let root = file("root.pem", "-----BEGIN CERTIFICATE-----\n");
    let mode = |query: &str, variables: &[(&str, &str)]| {
        let address = with(&format!("postgres://u@h/db?{query}"), variables);
        address.map(|address| address.mode)
    };
    for (query, expected) in [
        ("", tls::Mode::Unverified),
        ("sslmode=require", tls::Mode::Unverified),
        ("sslmode=verify-full", tls::Mode::Verified),
        ("sslmode=verify-full&sslrootcert=system", tls::Mode::Verified),
        (&format!("sslmode=verify-ca&sslrootcert={root}"), tls::Mode::Verified),
        // libpq verifies the certificate then, so the same address is as safe here.
        (&format!("sslmode=require&sslrootcert={root}"), tls::Mode::Verified),
        ("sslmode=disable", tls::Mode::Off { unused_root: None }),
    ] {
        assert_eq!(mode(query, &[]).unwrap(), expected, "{query}");
    }
    let unused = mode(&format!("sslmode=disable&sslrootcert={root}"), &[]).unwrap();
    assert!(matches!(unused, tls::Mode::Off { unused_root: Some(_) }));
    // psql's variables are for addresses with TLS.
    let variables = [("PGSSLROOTCERT", "/nowhere"), ("PGSSLCERT", "/nowhere")];
    assert_eq!(mode("sslmode=disable", &variables).unwrap(), tls::Mode::Off { unused_root: None });
    let required = with(&format!("postgres://u@h/db?sslmode=require&sslrootcert={root}"), &[]);
    let required = required.unwrap().options().get_ssl_mode();
    assert!(matches!(required, sqlx::postgres::PgSslMode::VerifyCa));

    for (name, text) in [("no.pem", "no certificate"), ("encrypted.pem", "ENCRYPTED PRIVATE KEY")] {
        let wrong = file(name, text);
        assert!(mode(&format!("sslmode=verify-full&sslrootcert={wrong}"), &[]).is_err());
        std::fs::remove_file(wrong).unwrap();
    }
    std::fs::remove_file(root).unwrap();
}

#[test]
fn the_address_of_a_local_server_has_no_tls() {
    let address = Address::parse_local("postgres://u:p@127.0.0.1:15432/d").unwrap();
    let options = address.options();
    assert!(matches!(options.get_ssl_mode(), sqlx::postgres::PgSslMode::Disable));
    assert_eq!(options.get_port(), 15432);
}
