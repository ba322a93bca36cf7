//! The addresses of runs and backfills.

use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde_json::Value;

use super::asked::dates;
use super::update_mask::masked;
use super::{Given, asset_events, backfills, bulk, explain, runs, wait};
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::deeds::actions::TriggerBody;
use crate::deeds::backfills::BackfillBody;
use crate::deeds::changes::{ClearRunBody, PatchRunBody, RepinBody, RepinnedRun, Touched};
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::query::Parameters;
use crate::server::Shared;

const LIST: &str = "list";

#[expect(clippy::too_many_lines, reason = "a table: an entry for each address")]
pub(super) fn doors() -> Doors {
    use Act::{Backfill, ChangeRuns, DeleteHistory, ReadDags, TriggerRuns};
    super::under()
        .get("/dags/{dag_id}/dagRuns", ReadDags, runs::list)
        .does(
            dates(op("List runs, newest first; ~ for those of every DAG"))
                .page()
                .many(
                    "state",
                    Kind::Words(&["queued", "running", "success", "failed"]),
                    "In this state; may be repeated",
                )
                .query("run_type", Kind::Text, "scheduled, manual, backfill or asset_triggered")
                .many("dag_ids", Kind::Text, "Of this DAG, where the address says ~; may be repeated")
                .query("run_id_pattern", Kind::Text, "A part of the run's id")
                .query("duration_gte", Kind::Seconds, "That took so long, or longer")
                .query("duration_lte", Kind::Seconds, "That took so long at the most")
                .ordered(runs::ORDERS)
                .gives::<runs::DagRuns>(),
        )
        .post("/dags/{dag_id}/dagRuns", TriggerRuns, runs::trigger)
        .does(
            op("Start a run")
                .header("Idempotency-Key", "The same key and body within a day: the same run")
                .takes::<TriggerBody>()
                .gives::<runs::DagRun>(),
        )
        // Where the address says ~, the entities say which DAG.
        .patch("/dags/{dag_id}/dagRuns", Access::OfSomeDag(ChangeRuns), bulk::runs)
        .does(
            op("Give many runs a state or a note, or delete them; ~ for those of several DAGs")
                .takes::<bulk::BulkBody<bulk::RunEntity>>()
                .gives::<bulk::BulkAnswer>(),
        )
        .post("/dags/{dag_id}/dagRuns/list", ReadDags, runs::list_asked)
        .does(
            op("List runs, with many names to choose by; ~ for those of every DAG")
                .takes::<runs::ListBody>()
                .gives::<runs::DagRuns>(),
        )
        // The address of listing is also that of a run which somebody has named so.
        .get("/dags/{dag_id}/dagRuns/list", ReadDags, async |server: State<Shared>, Path(dag_id): Path<String>| {
            runs::get(server, Path((dag_id, LIST.to_owned()))).await
        })
        .does(op("Show the run named list").gives::<runs::DagRun>())
        .patch(
            "/dags/{dag_id}/dagRuns/list",
            ChangeRuns,
            async |server: State<Shared>,
                   Path(dag_id): Path<String>,
                   person: Person,
                   query: Parameters,
                   given: Given<PatchRunBody>| {
                runs::patch(server, Path((dag_id, LIST.to_owned())), person, query, given).await
            },
        )
        .does(masked(op("Give the run named list a state or a note")).takes::<PatchRunBody>().gives::<runs::DagRun>())
        .delete(
            "/dags/{dag_id}/dagRuns/list",
            DeleteHistory,
            async |server: State<Shared>, Path(dag_id): Path<String>, person: Person| {
                runs::delete(server, Path((dag_id, LIST.to_owned())), person).await
            },
        )
        .does(op("Delete the run named list").gives_nothing())
        .post("/dags/{dag_id}/clearDagRuns", ChangeRuns, bulk::clear_runs)
        .does(op("Run many runs again").takes::<bulk::ClearRunsBody>().gives::<bulk::ClearedRuns>())
        .get("/backfills", ReadDags, backfills::list)
        .does(
            op("List backfills")
                .page()
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("active", Kind::Flag, "Only those that go on, or only others")
                .ordered(backfills::ORDERS)
                .gives::<backfills::Backfills>(),
        )
        .post("/backfills", Access::OfSomeDag(Backfill), backfills::create)
        .does(op("Run past dates").takes::<BackfillBody>().gives::<backfills::Backfill>())
        .post("/backfills/dry_run", Access::OfSomeDag(Backfill), backfills::dry_run)
        .does(
            op("List the dates that a backfill would run").takes::<BackfillBody>().gives::<backfills::BackfillDates>(),
        )
        .get("/backfills/{key}", ReadDags, backfills::get)
        .does(op("Show a backfill").gives::<backfills::Backfill>())
        .put("/backfills/{key}/pause", Access::OfSomeDag(Backfill), backfills::pause)
        .does(op("Pause a backfill").gives::<backfills::Backfill>())
        .put("/backfills/{key}/unpause", Access::OfSomeDag(Backfill), backfills::unpause)
        .does(op("Let a backfill go on").gives::<backfills::Backfill>())
        .put("/backfills/{key}/cancel", Access::OfSomeDag(Backfill), backfills::cancel)
        .does(op("Cancel a backfill").gives::<backfills::Backfill>())
        .get("/dags/{dag_id}/dagRuns/{run_id}", ReadDags, runs::get)
        .does(op("Show a run").gives::<runs::DagRun>())
        .patch("/dags/{dag_id}/dagRuns/{run_id}", ChangeRuns, runs::patch)
        .does(masked(op("Give a run a state or a note")).takes::<PatchRunBody>().gives::<runs::DagRun>())
        .delete("/dags/{dag_id}/dagRuns/{run_id}", DeleteHistory, runs::delete)
        .does(op("Delete a run that has ended, with all that belongs to it").gives_nothing())
        .post("/dags/{dag_id}/dagRuns/{run_id}/clear", ChangeRuns, runs::clear)
        .does(
            op("Run a run again; a dry run lists what it would touch").takes::<ClearRunBody>().gives::<RunOrTouched>(),
        )
        .post("/dags/{dag_id}/dagRuns/{run_id}/repin", ChangeRuns, runs::repin)
        .does(
            op("Give a run the newest version of its DAG; a dry run says what would change")
                .takes::<RepinBody>()
                .gives::<RepinnedRun>(),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/wait", ReadDags, wait::run)
        .does(
            op("Wait for a run to end; a stream of lines says what it is whenever that changes")
                .query("timeout", Kind::Number, "Seconds, 30 unless told, 55 at the most; of a stream, a day")
                .query(
                    "interval",
                    Kind::Number,
                    "What Airflow's clients send; the end is told at once whatever it says",
                )
                .gives::<runs::DagRun>()
                .gives_text(wait::LINES),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/explain", ReadDags, explain::run)
        .does(op("Say why a run waits").gives::<Value>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents", ReadDags, asset_events::of_run)
        .does(op("List the asset events that made a run").gives::<asset_events::AssetEvents>())
}

/// A run, or what clearing it would touch.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "never made")]
#[expect(dead_code, reason = "the handler answers with one of them; this describes both")]
enum RunOrTouched {
    Run(runs::DagRun),
    Touched(Touched),
}
