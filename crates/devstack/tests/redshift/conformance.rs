//! Every behaviour that a real cluster can be asked for, asked of the stand-in; and the page that lists them.

use std::path::Path;

use futures::future::BoxFuture;
use millrace_devstack::conformance::{CASES, Case, Cluster, Place, Verdict, read};

use crate::stand::{ROLE, Result, Stand};

impl Cluster for Stand {
    fn run<'a>(&'a self, statements: &'a [String]) -> BoxFuture<'a, std::result::Result<Vec<String>, String>> {
        Box::pin(async move {
            let text = |error: Box<dyn std::error::Error>| error.to_string();
            if let [statement] = statements {
                let done = match self.execute(statement).await {
                    Ok(done) => done,
                    // Refused before it ran, as several statements in one text are.
                    Err(error) => return Err(format!("{error}: {:?}", error.source().map(ToString::to_string))),
                };
                if let Some(error) = done.error() {
                    return Err(error.to_owned());
                }
                return if done.has_result_set() == Some(true) {
                    self.result(done.id()).await.map_err(text)
                } else {
                    Ok(Vec::new())
                };
            }
            let sqls: Vec<&str> = statements.iter().map(String::as_str).collect();
            let done = self.batch(&sqls).await.map_err(text)?;
            if let Some(error) = done.error() {
                return Err(error.to_owned());
            }
            match done.sub_statements().last() {
                Some(last) if last.has_result_set() == Some(true) => self.result(last.id()).await.map_err(text),
                _ => Ok(Vec::new()),
            }
        })
    }

    fn put<'a>(&'a self, address: &'a str, text: String) -> BoxFuture<'a, std::result::Result<(), String>> {
        Box::pin(async move {
            let key = address.strip_prefix("s3://lake/").ok_or("another bucket")?;
            Stand::put(self, key, text).await.map_err(|error| error.to_string())
        })
    }
}

/// What is wrong with the case here, if anything.
async fn wrong(stand: &Stand, number: usize, case: &Case) -> Option<String> {
    let place = Place { address: "s3://lake/conformance".to_owned(), right: ROLE.to_owned() };
    let verdict = case.check(stand, &format!("millrace_c{number}"), Some(&place)).await;
    match (&verdict, case.is_emulated) {
        (Verdict::AsExpected, true) | (Verdict::NotEmulated, false) => None,
        (other, _) => Some(format!("{}: {}: {other:?}", case.area, case.behaviour)),
    }
}

#[tokio::test]
async fn the_stand_in_does_what_redshift_does_or_says_that_it_does_not() -> Result {
    let stand = Stand::start().await?;
    let cases = read(CASES)?;
    let mut found = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        found.extend(wrong(&stand, number, case).await);
    }
    assert!(found.is_empty(), "{} of {} differ:\n{}", found.len(), cases.len(), found.join("\n"));
    let left = stand.rows("SELECT COUNT(*) FROM svv_tables WHERE table_name LIKE 'millrace%'").await?;
    assert_eq!(left, ["0"], "cases leave no tables");
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_kinder_is_found_out() -> Result {
    let stand = Stand::start().await?;
    let kinder = read(
        "## A\n* VARCHAR counts characters\n> CREATE TABLE {t} (v VARCHAR(4))\n> INSERT INTO {t} VALUES ('über')\n",
    )?;
    assert!(wrong(&stand, 0, &kinder[0]).await.is_some_and(|text| text.contains("too long")));
    let objects = read(CASES)?.into_iter().find(|case| case.behaviour.contains("plain key")).ok_or("no such case")?;
    assert_eq!(objects.check(&stand, "millrace_x", None).await, Verdict::LeftOut);
    Ok(())
}

#[test]
fn the_manual_lists_every_case() -> Result {
    let cases = read(CASES)?;
    let mut page = format!(
        "# What Redshift does, case by case\n\nLoads rely on these {} behaviours. `millrace devstack conformance CONNECTION` \
         asks a cluster, a\nworkgroup or the stand-in for each of them and says what is different; with `--s3`, `--s3-conn-id` \
         and\n`--iam-role` it tries COPY and UNLOAD too. The tables that it makes are its own, and it drops them.\n\nThe \
         stand-in is asked by its tests. Where it says *refused*, it does not emulate what Redshift does.\n\nThe list is \
         written from documentation and experience; nobody has run it against a real cluster yet.\n",
        cases.len()
    );
    let mut area = "";
    for case in &cases {
        if case.area != area {
            area = &case.area;
            page.push_str(&format!("\n## {area}\n\n| behaviour | stand-in |\n|---|---|\n"));
        }
        let here = if case.is_emulated { "emulated" } else { "refused" };
        page.push_str(&format!("| {} | {here} |\n", case.behaviour.replace('|', "\\|")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redshift-conformance.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &page)?;
    }
    assert_eq!(std::fs::read_to_string(&path)?, page, "run with WRITE_DOCS=1");
    Ok(())
}
