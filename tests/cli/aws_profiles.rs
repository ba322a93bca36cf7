//! Credentials that AWS's own files give: profiles, roles that are taken one with another, the cache of a single sign-on.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{ACCESS_KEY, SECRET_KEY, TestHome, Warehouse};

const ROLE: &str = "arn:aws:iam::000000000000:role/loader";

/// The second role is taken with the keys of the first.
const PROFILES: &str = "
[profile loader]
role_arn = arn:aws:iam::000000000000:role/loader
source_profile = base
region = us-east-1
[profile chained]
role_arn = arn:aws:iam::000000000000:role/loader
source_profile = loader
region = us-east-1
[profile corp]
sso_session = corp
sso_account_id = 000000000000
sso_role_name = Loader
region = us-east-1
[sso-session corp]
sso_region = us-east-1
sso_start_url = https://corp.awsapps.com/start
sso_registration_scopes = sso:account:access
[profile corp_as_before]
sso_region = us-east-1
sso_start_url = https://corp.awsapps.com/start
sso_account_id = 000000000000
sso_role_name = Loader
region = us-east-1
";

/// SHA-1 of the session's name, and of the start page for profiles of the older form.
const TOKENS: [&str; 2] = ["ee0bfd2552fbd840c02cc48b6e823320543c450f", "a51746d4aa793ae07b25e90c3a5db96fc7832bd7"];

/// A home in which nothing but AWS's own files knows a key.
fn home(warehouse: &Warehouse) -> TestHome {
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    std::fs::write(home.file("aws-config"), PROFILES).unwrap();
    let keys = format!("[base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    std::fs::write(home.file("aws-credentials"), keys).unwrap();
    for (name, file) in [("AWS_CONFIG_FILE", "aws-config"), ("AWS_SHARED_CREDENTIALS_FILE", "aws-credentials")] {
        let path = home.file(file).display().to_string();
        home.set(name, path);
    }
    let path = home.path().display().to_string();
    home.set("HOME", path).set("AWS_EC2_METADATA_DISABLED", "true");
    home.write_dag(
        "moves.yaml",
        "schedule: none\ntasks:\n  list:\n    operator: s3_list\n    bucket: warehouse-landing\n    aws_conn_id: lake\n",
    );
    connect(&mut home, warehouse, &json!({}));
    home
}

fn connect(home: &mut TestHome, warehouse: &Warehouse, more: &Value) {
    let mut extra = json!({"endpoint_url": warehouse.s3_url()});
    extra.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    home.set("MILLRACE_CONN_LAKE", json!({"conn_type": "aws", "extra": extra}).to_string());
}

fn lists(home: &TestHome) -> Result<(), String> {
    let tried = home.run(&["tasks", "test", "moves", "list", "2024-01-01"]);
    let said = format!("{}{}", tried.stdout, tried.stderr);
    assert!(!said.contains(SECRET_KEY), "{said}");
    if tried.code == 0 { Ok(()) } else { Err(said) }
}

#[test]
fn a_profile_takes_its_role_and_one_role_the_next() {
    let warehouse = Warehouse::start();
    let sts = warehouse.sts(ROLE);
    let mut home = home(&warehouse);
    assert!(lists(&home).is_err(), "no file names a default");
    home.set("AWS_ENDPOINT_URL_STS", sts.endpoint_url());
    home.set("AWS_PROFILE", "loader");
    lists(&home).unwrap();
    assert_eq!(sts.given(), 1);
    // The connection's word counts more than the environment's.
    connect(&mut home, &warehouse, &json!({"profile_name": "chained"}));
    lists(&home).unwrap();
    assert_eq!(sts.given(), 3);
    connect(&mut home, &warehouse, &json!({"profile_name": "nobody"}));
    let said = lists(&home).unwrap_err();
    assert!(said.contains("nobody"), "{said}");
}

/// The portal of a single sign-on: gives the keys of the S3 for this token, and nothing for another.
struct Portal {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Portal {
    fn start(token: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let store = Arc::clone(&asked);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                let (mut head, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).unwrap() > 2 {
                    head.push_str(&std::mem::take(&mut line));
                }
                let is_known = head.to_lowercase().contains(&format!("x-amz-sso_bearer_token: {token}"));
                let (status, body) = if is_known {
                    let keys = json!({"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY, "sessionToken": "",
                                      "expiration": 4_102_444_800_000_u64});
                    ("200 OK", json!({"roleCredentials": keys}))
                } else {
                    (
                        "401 Unauthorized",
                        json!({"__type": "UnauthorizedException", "message": "Session token not found or invalid"}),
                    )
                };
                store.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
                let body = body.to_string();
                let head =
                    format!("content-type: application/json\r\ncontent-length: {}\r\nconnection: close", body.len());
                socket.write_all(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}").as_bytes()).unwrap();
            }
        });
        Self { address, asked }
    }
}

#[test]
fn the_token_of_a_sign_on_is_found_in_its_cache() {
    let warehouse = Warehouse::start();
    let portal = Portal::start("token-of-today");
    let mut home = home(&warehouse);
    home.set("AWS_ENDPOINT_URL_SSO", portal.address.clone());
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    let write = |token: &str, until: &str| {
        let text = json!({"accessToken": token, "expiresAt": until, "region": "us-east-1",
                          "startUrl": "https://corp.awsapps.com/start"});
        for name in TOKENS {
            std::fs::write(cache.join(format!("{name}.json")), text.to_string()).unwrap();
        }
    };
    for profile in ["corp", "corp_as_before"] {
        connect(&mut home, &warehouse, &json!({"profile_name": profile}));
        let said = lists(&home).unwrap_err();
        assert!(said.contains("aws sso login --profile"), "nobody has signed on: {said}");
        write("token-of-today", "2099-01-01T00:00:00Z");
        lists(&home).unwrap();
        let asked = std::mem::take(&mut *portal.asked.lock().unwrap());
        assert!(asked[0].contains("role_name=Loader") && asked[0].contains("account_id=000000000000"), "{asked:?}");
        // The portal knows by itself when a token is too old, and is asked in the older form all the same.
        if profile == "corp" {
            write("token-of-today", "2024-01-01T00:00:00Z");
            let said = lists(&home).unwrap_err();
            assert!(said.contains("aws sso login --profile"), "the sign-on has expired: {said}");
        }
        write("another-token", "2099-01-01T00:00:00Z");
        let said = lists(&home).unwrap_err();
        assert!(said.contains("aws sso login --profile"), "it was ended at the portal: {said}");
        for name in TOKENS {
            std::fs::remove_file(cache.join(format!("{name}.json"))).unwrap();
        }
    }
}
