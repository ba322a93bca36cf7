//! The production database: `prod.nps` on a real MariaDB.

use std::fmt::Write as _;

use millrace_testkit::{MariaDatabase, MariaDb};

/// Rows of `prod.nps` in all.
pub const ROWS: u64 = 200_370;

/// 200,000 rows evenly over the 365 days from 2024-01-01, one at each of 365 midnights to the second, and five without a
/// date; every 17th of the first without a score.
const FILL: &str = "
    SET time_zone = '+00:00';
    CREATE TABLE {table} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, created_at TIMESTAMP NULL, score SMALLINT,
        KEY by_date (created_at));
    INSERT INTO {table}
        SELECT seq, TIMESTAMPADD(SECOND, FLOOR((seq - 1) * 157.68), '2024-01-01'), IF(seq % 17 = 0, NULL, seq * 7 % 11)
        FROM seq_1_to_200000;
    INSERT INTO {table}
        SELECT 200000 + seq, TIMESTAMPADD(DAY, seq - 1, '2024-01-01'), seq % 11 FROM seq_1_to_365;
    INSERT INTO {table} SELECT 200365 + seq, NULL, seq FROM seq_1_to_5;
";

/// The source of all pipelines. The table is the same for all tests, which only read it.
pub struct Source {
    database: MariaDatabase,
}

impl Source {
    /// The table is made by the first test that asks for it, under another name first, so that nobody meets half of it.
    pub fn shared() -> Self {
        let database = MariaDb::shared().and_then(|server| server.create_database()).expect("a MariaDB");
        let source = Self { database };
        if source.count() != ROWS {
            let table = format!("prod.{}", source.database.name());
            source.execute("CREATE DATABASE IF NOT EXISTS prod");
            source.execute(&FILL.replace("{table}", &table));
            let renamed = source.database.execute(&format!("RENAME TABLE {table} TO prod.nps"));
            if renamed.is_err() {
                source.execute(&format!("DROP TABLE {table}"));
            }
        }
        assert_eq!(
            source.count(),
            ROWS,
            "prod.nps is not the table that these tests make: make clean-servers removes it"
        );
        source
    }

    fn count(&self) -> u64 {
        let answer = self.database.query("SELECT COUNT(*) FROM prod.nps");
        answer.ok().and_then(|rows| rows.first()?.first()?.parse().ok()).unwrap_or(0)
    }

    fn execute(&self, sql: &str) {
        self.database.execute(sql).expect("MariaDB does as it is told");
    }

    /// Rows as texts; NULL is `NULL`.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.query(&format!("SET time_zone = '+00:00'; {sql}")).expect("MariaDB answers")
    }

    /// All of `prod.nps` for which this holds, by id.
    pub fn rows_where(&self, condition: &str) -> Vec<Vec<String>> {
        let mut sql = "SELECT id, DATE_FORMAT(created_at, '%Y-%m-%d %H:%i:%s.%f'), score FROM prod.nps".to_owned();
        let _ = write!(sql, " WHERE {condition} ORDER BY id");
        self.query(&sql)
    }

    /// The rows of the days from `start`, without `end`.
    pub fn days(&self, start: &str, end: &str) -> Vec<Vec<String>> {
        self.rows_where(&format!("created_at >= '{start}' AND created_at < '{end}'"))
    }

    /// The connection as JSON.
    pub fn connection(&self) -> String {
        let server = self.database.server();
        serde_json::json!({
            "conn_type": "mysql", "host": "127.0.0.1", "port": server.port(), "schema": "prod",
            "login": server.user(), "password": server.password(),
        })
        .to_string()
    }

    pub fn password(&self) -> String {
        self.database.server().password().to_owned()
    }
}
