//! The servers really start, are shared, and come back after a crash.

use millrace_testkit::{MariaDb, Postgres};

#[test]
fn a_postgres_database_works_and_is_dropped() {
    let postgres = Postgres::shared().unwrap();
    let database = postgres.create_database().unwrap();
    let name = database.name().to_owned();
    database.execute("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'één'), (2, NULL)").unwrap();
    let rows = database.query("SELECT a, b FROM t ORDER BY a").unwrap();
    assert_eq!(rows, [[Some("1".to_owned()), Some("één".to_owned())], [Some("2".to_owned()), None]]);
    drop(database);

    let other = postgres.create_database().unwrap();
    let left = other.query(&format!("SELECT datname FROM pg_database WHERE datname = '{name}'")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_second_asker_gets_the_same_postgres() {
    let first = Postgres::shared().unwrap();
    let second = Postgres::shared().unwrap();
    assert_eq!(first.url("postgres"), second.url("postgres"));
}

#[tokio::test]
async fn a_postgres_database_is_made_inside_of_a_runtime() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_database()", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), database.name());
}

#[test]
fn postgres_refuses_a_wrong_statement_in_words() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let error = format!("{:#}", database.execute("SELECT nothing FROM nowhere").unwrap_err());
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn a_private_postgres_survives_its_death() {
    let mut postgres = Postgres::private().unwrap();
    let database = postgres.create_database().unwrap();
    database.execute("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 1000)").unwrap();
    postgres.kill().unwrap();
    assert!(database.query("SELECT 1").is_err(), "it answers after its death");
    postgres.start().unwrap();
    assert_eq!(database.query("SELECT count(*) FROM t").unwrap(), [[Some("1000".to_owned())]]);
    postgres.stop().unwrap();
    assert!(database.query("SELECT 1").is_err(), "it answers after its end");
    postgres.start().unwrap();
    assert_eq!(database.query("SELECT sum(a) FROM t").unwrap(), [[Some("500500".to_owned())]]);
}

#[test]
fn a_mariadb_database_works_and_is_dropped() {
    let mariadb = MariaDb::shared().unwrap();
    let database = mariadb.create_database().unwrap();
    let name = database.name().to_owned();
    database.execute("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'één 🌊'), (2, NULL);").unwrap();
    assert_eq!(database.query("SELECT a, b FROM t ORDER BY a").unwrap(), [["1", "één 🌊"], ["2", "NULL"]]);
    drop(database);

    let other = mariadb.create_database().unwrap();
    let left = other.query(&format!("SHOW DATABASES LIKE '{name}'")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn mariadb_refuses_a_wrong_statement_in_words() {
    let database = MariaDb::shared().unwrap().create_database().unwrap();
    let error = format!("{:#}", database.execute("SELECT nothing FROM nowhere").unwrap_err());
    assert!(error.contains("nowhere"), "{error}");
}
