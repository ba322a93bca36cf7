use std::time::Duration;

use anyhow::Result;
use millrace_store::{Counted, Store, TURN_ENDS};

use crate::bench::Bench;

async fn count(store: &Store, of: Counted, labels: &[&str]) -> Result<u64> {
    let rows = store.counts().await?;
    Ok(rows.iter().find(|row| row.of == of && row.labels == labels).map_or(0, |row| row.value))
}

pub async fn counts_of_all_processes_are_one(bench: Bench) -> Result<()> {
    let (one, other) = (bench.store().await?, bench.store().await?);
    one.count(Counted::Tries, &["bash", "success"], 2);
    one.count(Counted::Tries, &["bash", "failed"], 0);
    other.count(Counted::Tries, &["bash", "success"], 3);
    assert_eq!(count(&one, Counted::Tries, &["bash", "success"]).await?, 2, "its own, before they are written");
    let (first, second) = tokio::join!(one.write_counts(), other.write_counts());
    first.and(second)?;
    one.write_counts().await?;
    one.count(Counted::Tries, &["bash", "success"], 1);
    assert_eq!(count(&one, Counted::Tries, &["bash", "success"]).await?, 6);
    assert_eq!(count(&other, Counted::Tries, &["bash", "success"]).await?, 5);
    assert_eq!(count(&one, Counted::Tries, &["bash", "failed"]).await?, 0);
    assert_eq!(one.counts().await?.len(), 1, "nothing is no count");

    other.count_turn(Duration::from_millis(3));
    other.count_turn(Duration::from_mins(1));
    assert_eq!(count(&other, Counted::Turns, &["1"]).await?, 1);
    assert_eq!(count(&other, Counted::Turns, &[&TURN_ENDS.len().to_string()]).await?, 1);
    assert_eq!(count(&other, Counted::TurnTime, &[]).await?, 60_003_000);
    Ok(())
}
