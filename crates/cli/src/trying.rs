//! Trying a connection for somebody who is not at this machine.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use millrace_connectors::Connectors;
use millrace_server::ConnectionTest;
use millrace_settings::Home;

/// Opens no file of the home: its databases and keys are nobody's to look at or to look for. The demo's are there to be tried.
pub fn connection_test(home: &Home) -> ConnectionTest {
    let home = home.clone();
    Arc::new(move |connection| {
        let home = home.clone();
        Box::pin(async move {
            if Connectors::files_of(&connection).into_iter().any(|file| is_kept(&home, file)) {
                let conn_id = &connection.conn_id;
                return Err(format!(
                    "connection {conn_id:?}: a file in Millrace's home is not tried; keep data and certificates in another folder, and give its plain path"
                ));
            }
            Connectors::test(&connection).await.map_err(|error| error.to_string())
        })
    })
}

fn is_kept(home: &Home, file: &str) -> bool {
    let path = resolved(Path::new(file));
    // SQLite reads addresses, too, which write a path in other ways.
    file.starts_with("file:")
        || (path.starts_with(resolved(home.root())) && !path.starts_with(resolved(&home.demo_folder())))
}

/// Without links and `..`, as far as it is there; SQLite takes a `..` back by the text behind a folder that is not.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = path.ancestors().find_map(|it| Some((it.canonicalize().ok()?, path.strip_prefix(it).ok()?)));
    let Some((mut real, rest)) = real else { return path };
    for part in rest.components() {
        match part {
            Component::ParentDir => drop(real.pop()),
            other => real.push(other),
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use millrace_operator_api::connection::{Connection, Extra};

    use super::*;

    fn sqlite(file: &Path) -> Connection {
        Connection {
            conn_id: "x".to_owned(),
            conn_type: "sqlite".to_owned(),
            host: None,
            login: None,
            password: None,
            port: None,
            schema: Some(file.to_str().unwrap().to_owned()),
            extra: Extra(serde_json::Map::new()),
        }
    }

    #[tokio::test]
    async fn files_of_the_home_are_not_tried() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home")).unwrap();
        std::fs::create_dir_all(home.demo_folder()).unwrap();
        let beside = folder.path().join("beside.db");
        for file in [&home.database_file(), &home.demo_folder().join("shop.db"), &beside] {
            std::fs::write(file, "").unwrap();
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(home.root(), &link).unwrap();
        let test = connection_test(&home);
        for file in [beside, home.demo_folder().join("shop.db")] {
            let answer = test(sqlite(&file)).await;
            assert!(answer.as_ref().is_ok_and(|text| text.contains("SQLite")), "{file:?}: {answer:?}");
        }
        let root = home.root();
        for file in [
            home.database_file(),
            // Whether it is there is not told either.
            root.join("none.db"),
            root.join("demo/../millrace.db"),
            folder.path().join("none/../home/millrace.db"),
            link.join("millrace.db"),
            PathBuf::from(format!("file:{}", home.database_file().display())),
        ] {
            let refused = test(sqlite(&file)).await.unwrap_err();
            assert!(refused.contains("is not tried"), "{file:?}: {refused}");
        }
        for (kind, name) in [
            ("postgres", "sslrootcert"),
            ("redshift", "sslrootcert"),
            ("mysql", "ssl_ca"),
            ("http", "ca_file"),
            ("aws", "verify"),
        ] {
            let mut connection = sqlite(Path::new("db"));
            connection.conn_type = kind.to_owned();
            for file in ["encryption_key", "none"] {
                connection.extra.0 = serde_json::Map::from_iter([(name.to_owned(), root.join(file).to_str().into())]);
                let refused = test(connection.clone()).await.unwrap_err();
                assert!(refused.contains("is not tried"), "{kind}: {refused}");
            }
        }
        let mut checked = sqlite(Path::new("db"));
        checked.conn_type = "aws".to_owned();
        checked.extra.0 = serde_json::Map::from_iter([("verify".to_owned(), "true".into())]);
        assert!(Connectors::files_of(&checked).is_empty(), "a word is no file");
    }
}
