pub(crate) const NAME: &str = "m0001_dags_and_runs";
pub(crate) const DESCRIPTION: &str =
    "DAGs and their versions, backfills, runs, task instances, tries and what they report";

// The partial indexes on unfinished rows are what keeps the scheduler's cost independent of history.
pub(crate) const UP: &str = "
CREATE TABLE dag (
    id {ID},
    dag_id TEXT NOT NULL UNIQUE,
    file_path TEXT NOT NULL,
    is_paused BOOLEAN NOT NULL,
    is_stale BOOLEAN NOT NULL DEFAULT FALSE,
    version_id BIGINT NOT NULL,
    next_logical_date BIGINT,
    next_interval_start BIGINT,
    next_interval_end BIGINT,
    next_run_after BIGINT,
    first_seen_at BIGINT NOT NULL,
    last_changed_at BIGINT NOT NULL
);

CREATE TABLE dag_version (
    id {ID},
    dag_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    content_hash TEXT NOT NULL,
    data TEXT NOT NULL,
    file_path TEXT NOT NULL,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (dag_id, number)
);

CREATE TABLE backfill (
    id {ID},
    dag_id TEXT NOT NULL,
    from_date BIGINT NOT NULL,
    to_date BIGINT NOT NULL,
    reprocess TEXT NOT NULL CHECK (reprocess IN ('none', 'failed', 'completed')),
    max_active_runs BIGINT NOT NULL,
    conf TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'cancelled')),
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE UNIQUE INDEX backfill_one_active ON backfill (dag_id) WHERE completed_at IS NULL;

CREATE TABLE dag_run (
    id {ID},
    dag_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    run_type TEXT NOT NULL CHECK (run_type IN ('scheduled', 'manual', 'backfill', 'asset_triggered')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'success', 'failed')),
    state_reason TEXT,
    logical_date BIGINT NOT NULL,
    data_interval_start BIGINT NOT NULL,
    data_interval_end BIGINT NOT NULL,
    run_after BIGINT NOT NULL,
    queued_at BIGINT,
    start_date BIGINT,
    end_date BIGINT,
    conf TEXT NOT NULL,
    version_id BIGINT NOT NULL REFERENCES dag_version (id),
    backfill_id BIGINT REFERENCES backfill (id),
    backfill_ordinal BIGINT,
    made_by_schedule BOOLEAN NOT NULL,
    triggered_by TEXT NOT NULL,
    clear_number BIGINT NOT NULL DEFAULT 0,
    note TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (dag_id, run_id),
    UNIQUE (dag_id, logical_date)
);
CREATE INDEX dag_run_unfinished ON dag_run (dag_id, run_after) WHERE state IN ('queued', 'running');
CREATE INDEX dag_run_newest ON dag_run (dag_id, run_after);
CREATE INDEX dag_run_by_schedule ON dag_run (dag_id, data_interval_end) WHERE made_by_schedule;
CREATE INDEX dag_run_of_backfill ON dag_run (backfill_id, state) WHERE backfill_id IS NOT NULL;

CREATE TABLE task_instance (
    id {ID},
    run_id BIGINT NOT NULL REFERENCES dag_run (id),
    task_id TEXT NOT NULL,
    map_index BIGINT NOT NULL,
    operator TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'deferred', 'awaiting_input',
        'up_for_retry', 'up_for_reschedule', 'restarting', 'success', 'failed', 'upstream_failed', 'skipped',
        'removed')),
    state_reason TEXT,
    try_number BIGINT NOT NULL DEFAULT 0,
    max_tries BIGINT NOT NULL,
    generation BIGINT NOT NULL DEFAULT 0,
    lost_workers BIGINT NOT NULL DEFAULT 0,
    pool TEXT NOT NULL,
    pool_slots BIGINT NOT NULL,
    priority_weight BIGINT NOT NULL,
    queued_at BIGINT,
    start_date BIGINT,
    end_date BIGINT,
    next_try_at BIGINT,
    lease_owner TEXT,
    lease_token TEXT,
    lease_expires_at BIGINT,
    UNIQUE (run_id, task_id, map_index)
);
CREATE INDEX task_instance_leased ON task_instance (lease_owner) WHERE lease_owner IS NOT NULL;

CREATE TABLE task_try (
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    try_number BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('none', 'scheduled', 'queued', 'running', 'deferred', 'awaiting_input',
        'up_for_retry', 'up_for_reschedule', 'restarting', 'success', 'failed', 'upstream_failed', 'skipped',
        'removed')),
    state_reason TEXT,
    owner TEXT NOT NULL,
    queued_at BIGINT NOT NULL,
    start_date BIGINT,
    end_date BIGINT,
    error TEXT,
    rendered TEXT,
    PRIMARY KEY (instance_id, try_number)
){BY_KEY};

CREATE TABLE task_checkpoint (
    id {ID},
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    try_number BIGINT NOT NULL,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    row_count BIGINT,
    byte_count BIGINT,
    total_rows BIGINT,
    at BIGINT NOT NULL
);
CREATE INDEX task_checkpoint_of_instance ON task_checkpoint (instance_id, try_number);

CREATE TABLE load_ledger (
    id {ID},
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    try_number BIGINT NOT NULL,
    stage TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    rows_read BIGINT,
    rows_written BIGINT,
    rows_inserted BIGINT,
    rows_updated BIGINT,
    rows_deleted BIGINT,
    rows_rejected BIGINT,
    byte_count BIGINT,
    checksum TEXT,
    remote_ids TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX load_ledger_of_instance ON load_ledger (instance_id, try_number);

CREATE TABLE xcom (
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (instance_id, key)
){BY_KEY};

CREATE TABLE remote_statement (
    id {ID},
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    generation BIGINT NOT NULL,
    client_token TEXT NOT NULL,
    conn_id TEXT NOT NULL,
    remote_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('intended', 'sent', 'succeeded', 'failed', 'cancelled')),
    details TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (instance_id, generation, client_token)
);
";

pub(crate) const DOWN: &str = "
DROP TABLE remote_statement;
DROP TABLE xcom;
DROP TABLE load_ledger;
DROP TABLE task_checkpoint;
DROP TABLE task_try;
DROP TABLE task_instance;
DROP TABLE dag_run;
DROP TABLE backfill;
DROP TABLE dag_version;
DROP TABLE dag;
";
