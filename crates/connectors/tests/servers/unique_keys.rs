//! A check for unique keys takes an index's word only where the index has the column's own idea of what is equal.

use anyhow::Result;
use millrace_operator_api::ports::{TableCheck, TableName};

use crate::postgres;

#[tokio::test]
async fn an_index_is_believed_only_where_it_means_what_the_column_does() -> Result<()> {
    let cases = [
        // To the column a and A are one key, to the index they are not.
        (
            "other_rule",
            "k text COLLATE ci",
            "CREATE UNIQUE INDEX ON other_rule (k COLLATE \"C\")",
            "('a'), ('A')",
            false,
        ),
        (
            "worked_out",
            "k text, n serial",
            "CREATE UNIQUE INDEX ON worked_out ((k || repeat('x', n)))",
            "('a'), ('a')",
            false,
        ),
        ("of_a_part", "k text", "CREATE UNIQUE INDEX ON of_a_part (k) WHERE k <> 'a'", "('a'), ('a')", false),
        ("later", "k text, UNIQUE (k) DEFERRABLE", "SELECT 1", "('a'), ('b')", true),
        ("of_more", "k text, n serial, UNIQUE (k, n)", "SELECT 1", "('a'), ('a')", false),
        ("patterns", "k text", "CREATE UNIQUE INDEX ON patterns (k text_pattern_ops)", "('a'), ('b')", true),
        ("its_own", "k text COLLATE ci UNIQUE", "SELECT 1", "('a'), ('b')", true),
    ];
    let (database, _world, subject) =
        postgres::start("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
            .await?;
    for (table, columns, index, rows, expected) in cases {
        let filled = format!("INSERT INTO {table} (k) VALUES {rows}");
        database.execute(&format!("CREATE TABLE {table} ({columns}); {index}; {filled}"))?;
        let name = TableName { schema: None, name: table.to_owned() };
        let found = subject.warehouse.check(&name, &[TableCheck::Unique(vec!["k".to_owned()])]).await?;
        assert_eq!(found[0].passed, expected, "{table}: {}", found[0].found);
        let by_index = found[0].found.contains("index");
        assert_eq!(by_index, matches!(table, "patterns" | "its_own"), "{table}: {}", found[0].found);
    }
    Ok(())
}
