//! Tables that were built, did not pass their checks and were kept for inspection: until their task builds a good one.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{BuildRequest, TableName};
use sha2::{Digest, Sha256};

use crate::parts::session::{Session, ask, in_schema_of};
use crate::parts::sql::{beside, literal, name_with_suffix, quote, table};

/// Digits of a work's hash at the end of such a name.
const OF_WORK: usize = 8;

/// What is kept of this work. No table that is being built is called so. Whoever builds the target for this task, a test of the
/// DAG or another installation, finds what any of them has kept: a good build makes all of it old.
pub fn name_of(request: &BuildRequest) -> TableName {
    let work = &request.work;
    let task = Sha256::digest(format!("{}\0{}\0{}", work.dag_id, work.task_id, request.target));
    let suffix = format!("__failed_{}_{}", hex::encode(&task[..4]), &work.short_hash()[..OF_WORK]);
    beside(&request.target, &name_with_suffix(&request.target.name, &suffix))
}

/// With what the names begin of all that this task has kept of the target.
pub fn prefix_of(request: &BuildRequest) -> String {
    let mut name = name_of(request).name;
    name.truncate(name.len() - OF_WORK);
    name
}

/// Keeps what was built, in the place of what an earlier try kept; says where it stands.
pub async fn keep(session: &dyn Session, request: &BuildRequest, build: &TableName) -> TableName {
    let kept = name_of(request);
    let statements = vec![
        format!("DROP TABLE IF EXISTS {}", table(&kept)),
        format!("ALTER TABLE {} RENAME TO {}", table(build), quote(&kept.name)),
    ];
    match session.run("keep", statements).await {
        Ok(_) => kept,
        Err(error) => {
            tracing::info!(table = %build, error = error.message, "what was built keeps its name");
            build.clone()
        }
    }
}

/// Drops what failed runs of this task kept. That one cannot be dropped fails nothing.
pub async fn forget(session: &dyn Session, request: &BuildRequest) {
    let kept = match kept(session, request).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::debug!(error = error.message, "whether failed builds were kept is not known");
            return;
        }
    };
    for name in kept {
        let kept = beside(&request.target, &name);
        if let Err(error) = session.clean_up(format!("DROP TABLE IF EXISTS {}", table(&kept))).await {
            tracing::info!(table = %kept, error = error.message, "a failed build stays");
        }
    }
}

async fn kept(session: &dyn Session, request: &BuildRequest) -> Result<Vec<String>, PortError> {
    // Redshift writes names in lower case.
    let prefix = prefix_of(request).to_lowercase();
    let asked = format!(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} AND c.relkind = 'r' \
         AND LEFT(lower(c.relname), {}) = {}",
        in_schema_of(&request.target, session.dialect(), "c.oid"),
        prefix.chars().count(),
        literal(&prefix)
    );
    let found = ask(session, "failed-builds", asked).await?;
    Ok(found.rows.into_iter().filter_map(|row| row.into_iter().next()?).collect())
}
