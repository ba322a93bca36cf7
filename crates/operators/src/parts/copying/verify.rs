//! Whether the target holds what it should after a copy.

use millrace_operator_api::ports::{CheckResult, LoadReport, TableCheck, Warehouse};

use super::config::{SyncMode, TablePlan, Verify};
use super::watermark::or_without_value;

/// What is known of the copy.
pub struct Copied<'a> {
    pub rows: u64,
    pub report: &'a LoadReport,
    /// The value from which on rows were read, as the target has it; `None` where that is not known, or all were read.
    pub from: Option<String>,
    /// The lowest and the highest value of the incremental field that came in.
    pub lowest: Option<&'a str>,
    pub highest: Option<&'a str>,
    /// The key and the incremental field by the names of the target.
    pub keys: &'a [String],
    /// Those of the key whose blanks at the end the target passes over when it compares.
    pub padded_keys: &'a [String],
    pub field: Option<&'a str>,
    /// Rows without a value of the field were read too.
    pub reads_nulls: bool,
    /// Its column of the target holds texts.
    pub field_is_text: bool,
    /// The rows were summed up as they passed.
    pub is_summed: bool,
}

impl Copied<'_> {
    /// The rows of the source that the target took, of this try or of the one that did it.
    fn arrived(&self) -> Option<u64> {
        let read = if self.report.was_loaded_before { self.report.rows_read? } else { self.rows };
        read.checked_sub(self.rejected())
    }

    fn rejected(&self) -> u64 {
        self.report.rows_rejected.unwrap_or(0)
    }

    /// The rows of the target that stand for those that were read, as SQL; `None` for all.
    pub fn window(&self, warehouse: &dyn Warehouse, plan: &TablePlan) -> Option<String> {
        let (Some(field), Some(from)) = (self.field, &self.from) else { return None };
        let bound = warehouse.literal(from);
        Some(self.with_nulls(
            warehouse,
            field,
            &format!("{} {} {bound}", warehouse.quote(field), plan.watermark_op.sign()),
        ))
    }

    /// That no key names two rows, of those that meet a condition. What the target takes for one is told apart.
    fn unique(&self, warehouse: &dyn Warehouse, condition: &str) -> String {
        let quoted = self.keys.iter().map(|key| warehouse.quote(key));
        let keys = quoted.clone().collect::<Vec<_>>().join(", ");
        let lengths = self.padded_keys.iter().map(|key| format!("LENGTH({})", warehouse.quote(key)));
        let told_apart = quoted.chain(lengths).collect::<Vec<_>>().join(", ");
        format!(
            "SELECT CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END, COUNT(*) FROM (SELECT {keys} FROM {{table}} WHERE {condition} \
             GROUP BY {told_apart} HAVING COUNT(*) > 1) AS doubles"
        )
    }

    fn with_nulls(&self, warehouse: &dyn Warehouse, field: &str, condition: &str) -> String {
        if !self.reads_nulls {
            return condition.to_owned();
        }
        or_without_value(condition, &warehouse.quote(field), self.field_is_text)
    }
}

/// What the target is asked.
pub fn checks(warehouse: &dyn Warehouse, plan: &TablePlan, copied: &Copied<'_>) -> Vec<TableCheck> {
    let mut checks = Vec::new();
    if plan.verify.contains(&Verify::Counts)
        && plan.sync_mode == SyncMode::FullSync
        && let Some(rows) = copied.arrived()
    {
        checks.push(TableCheck::Sql {
            name: format!("rows = {rows}"),
            sql: format!("SELECT CASE WHEN COUNT(*) = {rows} THEN 1 ELSE 0 END, COUNT(*) FROM {{table}}"),
        });
    }
    if plan.verify.contains(&Verify::Keys) && !copied.keys.is_empty() {
        checks.push(match (copied.field, &copied.from) {
            // Only what was merged can have become double, and the table may be large.
            (Some(field), Some(from)) => {
                let since = format!("{} >= {}", warehouse.quote(field), warehouse.literal(from));
                TableCheck::Sql {
                    name: format!("unique({}) since {from}", copied.keys.join(", ")),
                    sql: copied.unique(warehouse, &copied.with_nulls(warehouse, field, &since)),
                }
            }
            _ if !copied.padded_keys.is_empty() => {
                let complete = copied.keys.iter().map(|key| format!("{} IS NOT NULL", warehouse.quote(key)));
                TableCheck::Sql {
                    name: format!("unique({})", copied.keys.join(", ")),
                    sql: copied.unique(warehouse, &complete.collect::<Vec<_>>().join(" AND ")),
                }
            }
            _ => TableCheck::Unique(copied.keys.to_vec()),
        });
    }
    if plan.verify.contains(&Verify::Watermark)
        && copied.rejected() == 0
        && let (Some(field), Some(lowest), Some(highest)) = (copied.field, copied.lowest, copied.highest)
    {
        checks.push(reaches(warehouse, field, ("max", ">=", highest)));
        // Of several rows with one key the older ones are not there, nor one that is older than the target's.
        let arrived = copied.report.rows_inserted.zip(copied.report.rows_updated).map(|(new, old)| new + old);
        if arrived == Some(copied.rows) {
            checks.push(reaches(warehouse, field, ("min", "<=", lowest)));
        }
    }
    checks
}

/// That the target's values go as far as those that came in.
fn reaches(warehouse: &dyn Warehouse, field: &str, (figure, sign, bound): (&str, &str, &str)) -> TableCheck {
    let field_sql = warehouse.quote(field);
    TableCheck::Sql {
        name: format!("{figure}({field}) {sign} {bound}"),
        // Of the column itself: SQLite makes the text a number beside a column of numbers, and not beside its extremes.
        sql: format!(
            "SELECT CASE WHEN SUM(CASE WHEN {field_sql} {sign} {} THEN 1 ELSE 0 END) > 0 THEN 1 ELSE 0 END, \
             {figure}({field_sql}) FROM {{table}}",
            warehouse.literal(bound)
        ),
    }
}

/// What was asked for and cannot be looked at now, and why.
pub fn left_out(plan: &TablePlan, copied: &Copied<'_>) -> Vec<String> {
    let report = copied.report;
    let mut left_out = Vec::new();
    let asks = |what| plan.verify.contains(&what);
    if asks(Verify::Counts) {
        let is_compared = plan.sync_mode == SyncMode::FullSync && copied.arrived().is_some();
        if !is_compared && report.was_loaded_before {
            left_out.push("counts: how many rows the earlier try read is not known".to_owned());
        } else if !is_compared && count_merged(plan, copied).is_none() {
            left_out.push("counts: the target does not say what became of the rows".to_owned());
        }
    }
    let rejected = copied.rejected();
    if asks(Verify::Watermark) && copied.field.is_some() {
        if report.was_loaded_before {
            left_out.push("watermark: the rows did not come by again".to_owned());
        } else if rejected > 0 {
            left_out.push(format!("watermark: {rejected} rows were refused, and the newest may be one of them"));
        }
    }
    if asks(Verify::Checksums) {
        if report.was_loaded_before {
            left_out.push("checksums: the rows did not come by again".to_owned());
        } else if rejected > 0 {
            left_out.push(format!(
                "checksums: {rejected} rows were refused, so that the target cannot hold all that was read"
            ));
        } else if !copied.is_summed {
            left_out.push("checksums: with a limit only a part of the rows came by".to_owned());
        }
    }
    left_out
}

/// What the numbers say by themselves.
pub fn count_merged(plan: &TablePlan, copied: &Copied<'_>) -> Option<CheckResult> {
    let report = copied.report;
    if !plan.verify.contains(&Verify::Counts) || report.was_loaded_before {
        return None;
    }
    let read = report.rows_read?;
    let rejected = copied.rejected();
    let (arrived, unchanged) = match plan.sync_mode {
        SyncMode::FullSync => (report.rows_inserted?, Some(0)),
        SyncMode::IncrementalSync => (report.rows_inserted? + report.rows_updated?, report.rows_unchanged),
    };
    let is_all = match unchanged {
        Some(unchanged) => arrived + unchanged + rejected == copied.rows,
        // The others were there already, as new or newer.
        None => arrived + rejected <= copied.rows,
    };
    Some(CheckResult {
        name: format!("{} rows of the source arrived", copied.rows),
        passed: read == copied.rows && is_all,
        found: format!("{read} read, {arrived} inserted or updated, {rejected} refused"),
    })
}
