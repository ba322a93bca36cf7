//! Connections as nobody would write them, and the configuration.

use millrace_settings::{Config, ConnectionForm, Home, Masker};
use millrace_testkit::Fuzz;

const SEEDS: &[&str] = &[
    "postgres://me:p%40ss%2Fw@db.example:5432/app?sslmode=require&x=1",
    "mysql://u@h/d",
    "aws://AKIA:se%2Bcret@/?region_name=eu-west-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9000",
    "http://https://hooks.example/x?timeout=5",
    "redshift://u:p@c.abc.eu-west-1.redshift.amazonaws.com:5439/dev?__extra__=%7B%22a%22%3A%7B%22b%22%3A%5B1%5D%7D%7D",
    "sqlite:///%2Ftmp%2Fx.db",
    r#"{"conn_type": "postgres", "host": "h", "login": "u", "password": "hunter22", "port": 5432, "schema": "s", "extra": {"sslmode": "require"}}"#,
    r#"{"conn_type": "aws", "extra": "{\"role_arn\": \"arn:aws:iam::1:role/x\", \"api_token\": \"secret-one\"}"}"#,
    "generic://:pass@[::1]:80/",
];

#[test]
fn fuzz_connections() {
    let words = [
        "://",
        "@",
        ":",
        "%40",
        "%2F",
        "?",
        "&",
        "=",
        "__extra__=",
        "extra",
        "password",
        "[::1]",
        "%zz",
        "%",
        "+",
        "0",
        "65536",
    ];
    Fuzz::new("connections", 4_000).seeds(SEEDS).words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let form = match ConnectionForm::parse(&text) {
            Ok(form) => form,
            Err(error) => {
                let said = error.to_string();
                assert!(said.len() > 5, "{said}");
                return said.chars().filter(|letter| letter.is_ascii_lowercase()).take(24).collect();
            }
        };
        let value = form.to_value();
        assert_eq!(ConnectionForm::from_value(value.clone()).unwrap().to_value(), value, "as JSON");
        let uri = form.to_uri();
        let again = ConnectionForm::parse_uri(&uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
        // An address has no place for it.
        let mut without = value.clone();
        without.as_object_mut().unwrap().remove("description");
        assert_eq!(again.to_value(), without, "as the address {uri}");
        let masked = form.to_masked_value();
        for secret in form.secrets().iter().filter(|secret| secret.len() > 12) {
            let shown = masked.to_string();
            let same_elsewhere = without.to_string().matches(secret.as_str()).count() > 1;
            assert!(same_elsewhere || !shown.contains(secret.as_str()), "{secret} in {shown}");
        }
        let restored = ConnectionForm::from_value(masked).unwrap().keeping_masked_from(Some(&form)).unwrap();
        assert_eq!(restored.to_value()["password"], value["password"], "what is sent back masked is what it was");
        format!("{} {} {} {}", form.host.is_some(), form.port.is_some(), form.login.is_some(), form.extra.len().min(3))
    });
}

#[test]
fn fuzz_masking() {
    let masker = Masker::new();
    for secret in ["hunter22", "p@ss/w ord", "한국어비밀번호", "se+cret%"] {
        masker.add(secret);
    }
    let seeds = [
        "password=hunter22",
        "https://u:p%40ss%2Fw%20ord@h/",
        "se+cret% se%2Bcret%25",
        "한국어비밀번호",
        "x://a:bcdefg@h",
    ];
    Fuzz::new("masking", 3_000).seeds(seeds).words(&["hunter22", "hunter", "p@ss/w ord", "://", "@", "***"]).run(
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let masked = masker.mask(&text);
            assert!(!masked.contains("hunter22") && !masked.contains("p@ss/w ord"), "{masked}");
            masked.matches("***").count().min(5)
        },
    );
}

#[test]
fn fuzz_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    let reference: String =
        Config::reference().lines().map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    let seeds =
        ["[core]\nparallelism = 4\n".to_owned(), reference, "dags_folder = \"x\"\n[server]\nport = 80\n".to_owned()];
    Fuzz::new("configuration", 400).seeds(seeds).words(&["[server]", "[x]", "= true", "= [1]", "'''", "port"]).run(
        |bytes| {
            std::fs::write(home.config_file(), bytes).unwrap();
            match Config::load(&home, []) {
                Ok(config) => config.entries().len().to_string(),
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("millrace.toml"), "{said}");
                    said.chars().filter(|letter| letter.is_ascii_lowercase()).rev().take(24).collect()
                }
            }
        },
    );
}
