//! Rows that the source has no more, found by its keys.

use millrace_operator_api::ports::{LoadMethod, LoadRequest, LoadRows, NewColumn, RowStream, TableName, Warehouse};
use millrace_operator_api::{PortErrorKind, TaskError, WorkId};

pub struct Reconciling<'a> {
    pub warehouse: &'a dyn Warehouse,
    pub target: &'a TableName,
    /// The key's columns as the target has them.
    pub keys: Vec<NewColumn>,
    pub work: WorkId,
}

impl Reconciling<'_> {
    /// Stages the source's keys beside the target, which compares them itself: neither side is held in memory. Gives the
    /// keys that were read and the rows that were deleted.
    pub async fn run(&self, keys: RowStream) -> Result<(Option<u64>, u64), TaskError> {
        let (warehouse, work) = (self.warehouse, &self.work);
        // The name is the same for every try, and no other run's.
        let staging = TableName {
            schema: self.target.schema.clone(),
            name: format!("millrace_keys_{}_{}", work.short_hash(), work.generation),
        };
        let place = warehouse.table_sql(&staging);
        let drop = format!("DROP TABLE IF EXISTS {place}");
        let forget = async |work: &WorkId| warehouse.execute(std::slice::from_ref(&drop), false, work).await;
        let names: Vec<String> = self.keys.iter().map(|key| key.name.clone()).collect();
        warehouse.create_table(&staging, &self.keys, &[], true).await?;
        let request = LoadRequest {
            columns: Some(names.clone()),
            ..LoadRequest::new(staging, LoadMethod::Replace, LoadRows::direct(keys), work.clone())
        };
        let loaded = match warehouse.load(request).await {
            Ok(loaded) => loaded,
            Err(error) => {
                if error.kind != PortErrorKind::Cancelled {
                    let _ = forget(work).await;
                }
                return Err(error.into());
            }
        };
        if loaded.rows_read == Some(0) {
            forget(work).await?;
            return Err(TaskError::Fail(
                "the source has no row at all, so every row would be deleted; use sync_mode: full_sync if that is meant"
                    .to_owned(),
            ));
        }
        let target = warehouse.table_sql(self.target);
        let same: Vec<String> =
            names.iter().map(|name| format!("k.{0} = {target}.{0}", warehouse.quote(name))).collect();
        // A try that died after its deletion left no keys to go by, and no keys must not mean no rows.
        let gone = format!(
            "FROM {target} WHERE EXISTS (SELECT 1 FROM {place}) AND NOT EXISTS (SELECT 1 FROM {place} AS k WHERE {})",
            same.join(" AND ")
        );
        let statements = [format!("SELECT COUNT(*) {gone}"), format!("DELETE {gone}"), drop.clone()];
        let answers = warehouse.execute(&statements, false, work).await?;
        let counted = answers.first().and_then(|answer| answer.rows.first()?.first()?.as_deref()?.parse().ok());
        Ok((loaded.rows_read, counted.unwrap_or(0)))
    }
}
