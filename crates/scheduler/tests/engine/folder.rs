//! The folder of DAG files against the store.

use millrace_dagfile::Defaults;
use millrace_scheduler::{DagsFolder, FolderOptions, SyncReport};
use millrace_store::{DagFilter, PoolRow, SyncDag};

use crate::stage::{Stage, dag};

struct Folder {
    stage: Stage,
    folder: DagsFolder,
}

fn options(stage: &Stage) -> FolderOptions {
    FolderOptions {
        folder: stage.home.path().join("dags"),
        catalogue: millrace_operators::catalogue(),
        defaults: Defaults::default(),
        paused_at_creation: true,
    }
}

impl Folder {
    async fn new() -> Self {
        let stage = Stage::new(1).await;
        let path = stage.home.path().join("dags");
        std::fs::create_dir(&path).unwrap();
        let folder = DagsFolder::new(options(&stage));
        Self { stage, folder }
    }

    /// What a new process knows of the folder: nothing but what is stored.
    fn start_again(&mut self) {
        self.folder = DagsFolder::new(options(&self.stage));
    }

    /// As if the files had been written long ago.
    fn make_old(&self, names: &[&str]) {
        for name in names {
            let path = self.stage.home.path().join("dags").join(name);
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(1)).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.stage.home.path().join("dags").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.stage.home.path().join("dags").join(name)).unwrap();
    }

    async fn sync(&mut self) -> SyncReport {
        self.folder.sync(&self.stage.store, self.stage.now()).await.unwrap()
    }

    /// `id`, with `!` when its file has an error and `-` when it is stale.
    async fn dags(&self) -> Vec<String> {
        let filter = DagFilter { include_stale: true, ..DagFilter::default() };
        let rows = self.stage.store.dags(&filter).await.unwrap().rows;
        let mark = |error, stale| format!("{}{}", if error { "!" } else { "" }, if stale { "-" } else { "" });
        rows.iter().map(|row| format!("{}{}", row.dag_id, mark(row.has_import_error, row.is_stale))).collect()
    }

    async fn errors(&self) -> Vec<String> {
        let rows = self.stage.store.import_errors().await.unwrap();
        rows.iter()
            .map(|row| format!("{}: {}", row.file_path, row.diagnostics[0]["message"].as_str().unwrap()))
            .collect()
    }
}

const GOOD: &str = "tasks:\n  a:\n    operator: noop\n";

#[tokio::test]
async fn case_96_a_broken_file_keeps_its_last_good_version_until_it_is_mended_or_gone() {
    let mut folder = Folder::new().await;
    folder.write("one.yaml", GOOD);
    folder.write("two.yml", GOOD);
    let report = folder.sync().await;
    assert_eq!((report.files, report.read, report.stored), (2, 2, 2));
    assert_eq!(folder.dags().await, ["one", "two"]);

    folder.write("one.yaml", "tasks: [broken\n");
    let report = folder.sync().await;
    assert_eq!((report.read, report.stored, report.broken), (1, 0, vec!["one.yaml".to_owned()]));
    assert_eq!(folder.dags().await, ["one!", "two"]);
    assert_eq!(folder.errors().await.len(), 1);

    folder.write("one.yaml", &format!("description: mended\n{GOOD}"));
    assert_eq!(folder.sync().await.stored, 1);
    assert_eq!(folder.dags().await, ["one", "two"]);
    assert!(folder.errors().await.is_empty());

    folder.remove("one.yaml");
    let report = folder.sync().await;
    assert_eq!(report.stale.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["one"]);
    assert_eq!(folder.dags().await, ["one-", "two"]);

    folder.write("one.yaml", GOOD);
    folder.sync().await;
    assert_eq!(folder.dags().await, ["one", "two"]);
}

#[tokio::test]
async fn a_broken_file_keeps_its_dag_after_a_restart_too() {
    let mut folder = Folder::new().await;
    folder.write("one.yaml", GOOD);
    folder.sync().await;
    folder.write("one.yaml", "tasks: [broken\n");
    folder.start_again();
    assert!(folder.sync().await.stale.is_empty());
    assert_eq!(folder.dags().await, ["one!"]);
}

#[tokio::test]
async fn two_files_with_one_dag_are_an_error_of_both_and_the_first_stays_in_service() {
    let mut folder = Folder::new().await;
    folder.write("a.yaml", &format!("dag_id: same\n{GOOD}"));
    folder.sync().await;
    folder.write("b.yaml", &format!("dag_id: same\ndescription: other\n{GOOD}"));
    let report = folder.sync().await;
    assert_eq!((report.stored, report.broken.len()), (0, 2));
    let message = "DAG 'same' is defined by several files: a.yaml, b.yaml";
    assert_eq!(folder.errors().await, [format!("a.yaml: {message}"), format!("b.yaml: {message}")]);
    assert_eq!(folder.dags().await, ["same!"]);
    folder.remove("a.yaml");
    assert_eq!(folder.sync().await.stored, 1);
    assert!(folder.errors().await.is_empty());
    assert_eq!(folder.dags().await, ["same"]);
}

#[tokio::test]
async fn what_did_not_change_is_not_read_again() {
    let mut folder = Folder::new().await;
    folder.write("one.yaml", GOOD);
    folder.sync().await;
    assert_eq!(folder.sync().await.read, 0);
    folder.folder.forget_stamps();
    let report = folder.sync().await;
    assert_eq!((report.read, report.stored), (1, 0));
}

#[tokio::test]
async fn a_change_is_seen_as_it_happens() {
    let mut folder = Folder::new().await;
    let mut changes = folder.folder.watch();
    folder.sync().await;
    // As editors do it: written beside, then renamed.
    folder.write(".one.yaml.swp", GOOD);
    let beside = folder.stage.home.path().join("dags/.one.yaml.swp");
    std::fs::rename(beside, folder.stage.home.path().join("dags/one.yaml")).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), changes.settled()).await.expect("a change is seen");
    assert_eq!(folder.sync().await.stored, 1);
}

#[tokio::test]
async fn case_25_a_bad_schedule_names_its_field_and_the_last_good_one_stays() {
    let mut folder = Folder::new().await;
    let dag = |schedule: &str| format!("schedule: {schedule}\nstart_date: 2024-01-01\n{GOOD}");
    folder.write("one.yaml", &dag("'0 0 1 12 0'"));
    folder.sync().await;
    for (schedule, named) in [("'0 0 1 13 0'", "month"), ("{every: 0s}", "every"), ("{every: -1h}", "every")] {
        folder.write("one.yaml", &dag(schedule));
        folder.sync().await;
        assert_eq!(folder.dags().await, ["one!"], "{schedule}");
        let errors = folder.errors().await;
        assert!(errors[0].contains(named), "{schedule}: {errors:?}");
        let kept = folder.stage.store.dag("one", 0).await.unwrap().unwrap();
        assert_eq!(kept.dag.timetable.schedule.display_text(), "0 0 1 12 0");
    }
}

#[tokio::test]
async fn case_71_a_pool_that_is_not_there_is_an_import_error_until_it_is() {
    let mut folder = Folder::new().await;
    let pooled = "default_args: {pool: etl}\ntasks:\n  a: {operator: noop}\n  b: {operator: noop}\n";
    folder.write("one.yaml", GOOD);
    folder.write("two.yaml", GOOD);
    folder.sync().await;
    folder.write("one.yaml", pooled);
    folder.write("new.yaml", pooled);
    folder.sync().await;
    assert_eq!(folder.errors().await, ["new.yaml: there is no pool 'etl'", "one.yaml: there is no pool 'etl'"]);
    assert_eq!(folder.dags().await, ["one!", "two"], "what was read before stays");
    assert_eq!(folder.stage.store.dag("one", 0).await.unwrap().unwrap().version_number, 1);
    let rows = folder.stage.store.import_errors().await.unwrap();
    assert_eq!(rows[0].diagnostics.len(), 1, "once, however many tasks it is for");

    let row = PoolRow { name: "etl".into(), slots: 1, description: None, include_deferred: false };
    for is_another in [false, true] {
        folder.stage.store.put_pool(&row, "cli", folder.stage.now()).await.unwrap();
        folder.make_old(&["new.yaml", "one.yaml", "two.yaml"]);
        folder.sync().await;
        assert!(folder.errors().await.is_empty());
        assert_eq!(folder.dags().await, ["new", "one", "two"]);
        assert_eq!(folder.stage.store.dag("one", 0).await.unwrap().unwrap().version_number, 2);
        assert_eq!(folder.sync().await.read, 0);

        // Whoever looks at the folder next: the one that read it, or a process that has just started.
        folder.stage.store.delete_pool("etl", "cli", folder.stage.now()).await.unwrap();
        if is_another {
            folder.start_again();
        }
        folder.sync().await;
        assert_eq!(folder.dags().await, ["new!", "one!", "two"], "they stay in service");
    }
}

#[tokio::test]
async fn a_changed_calendar_is_a_new_version_of_the_dags_that_name_it() {
    let mut folder = Folder::new().await;
    let scheduled = format!("schedule: '@daily'\nstart_date: 2024-01-01\ncalendar: holidays\n{GOOD}");
    folder.write("one.yaml", &scheduled);
    folder.write("two.yaml", GOOD);
    folder.write("calendars/weekends.yaml", "days: [sat, sun]\n");
    folder.sync().await;
    assert_eq!(folder.errors().await, ["one.yaml: there is no calendar 'holidays'"]);

    folder.write("calendars/holidays.yaml", "days: {12-25: Christmas}\ninclude: weekends\n");
    let report = folder.sync().await;
    assert_eq!((report.files, report.read, report.stored), (2, 1, 1), "a calendar is no DAG");
    assert_eq!(folder.dags().await, ["one", "two"]);

    folder.write("calendars/weekends.yaml", "days: [fri, sat]\n");
    let report = folder.sync().await;
    assert_eq!((report.read, report.stored), (1, 1), "by way of another calendar");
    let dag = folder.stage.store.dag("one", 0).await.unwrap().unwrap();
    let friday = "2024-01-05".parse().unwrap();
    let refusal = dag.dag.calendar.as_ref().and_then(|rule| rule.refusal(friday));
    assert_eq!((dag.version_number, refusal.as_deref()), (2, Some("calendar holidays: 2024-01-05")));
}

#[tokio::test]
async fn a_process_that_has_just_started_reads_only_what_was_changed_since_another_did() {
    let mut folder = Folder::new().await;
    folder.write("one.yaml", GOOD);
    folder.write("two.yaml", &format!("description: with a secret twin\n{GOOD}"));
    folder.write("fresh.yaml", GOOD);
    folder.write("broken.yaml", "tasks: [broken\n");
    folder.make_old(&["one.yaml", "two.yaml", "broken.yaml"]);
    assert_eq!(folder.sync().await.read, 4);

    folder.start_again();
    let report = folder.sync().await;
    assert_eq!((report.files, report.read), (4, 2), "the broken one, and the one that was written this very moment");
    assert_eq!(report.stored, 0);
    assert_eq!(folder.dags().await, ["fresh", "one", "two"]);

    // As long as before, and as old.
    folder.write("two.yaml", &format!("description: with a public twin\n{GOOD}"));
    folder.make_old(&["two.yaml", "fresh.yaml"]);
    folder.start_again();
    let report = folder.sync().await;
    assert_eq!((report.read, report.stored), (3, 1));

    // Its DAG was taken from it meanwhile: what is stored is not what is in the file.
    folder.remove("one.yaml");
    folder.sync().await;
    assert_eq!(folder.dags().await, ["fresh", "one-", "two"]);
    folder.write("one.yaml", GOOD);
    folder.start_again();
    assert_eq!(folder.sync().await.read, 2);
    assert_eq!(folder.dags().await, ["fresh", "one", "two"]);
}

/// Who may read everything reads it all the same: what nobody can read is a path that is too long.
#[tokio::test]
async fn a_folder_that_cannot_be_read_hides_no_other() {
    let mut folder = Folder::new().await;
    let (dags, beside) = (folder.stage.home.path().join("dags"), folder.stage.home.path().join("beside"));
    let long = "x".repeat(240);
    let nine = std::path::PathBuf::from_iter([long.as_str(); 9]);
    std::fs::create_dir_all(dags.join(&nine)).unwrap();
    std::fs::create_dir_all(beside.join(&nine)).unwrap();
    std::fs::rename(beside.join(&long), dags.join(&nine).join(&long)).unwrap();
    folder.write("good.yaml", GOOD);
    assert_eq!(folder.sync().await.stored, 1);
    let error = folder.stage.store.import_errors().await.unwrap().remove(0);
    assert!(error.file_path.starts_with("xxx"), "{}", error.file_path);
    assert!(error.diagnostics[0]["message"].as_str().unwrap().contains("it cannot be read"), "{error:?}");
    // What was read there before stays in service.
    let within = format!("{}/kept.yaml", error.file_path);
    let kept = dag("kept", serde_json::Value::Null, &["a"]);
    let file = SyncDag { dag: &kept, file_path: &within, source: GOOD, paused_at_creation: false };
    folder.stage.store.sync_dags(&[file], folder.stage.now()).await.unwrap();
    folder.write("other.yaml", GOOD);
    folder.start_again();
    assert_eq!(folder.sync().await.stored, 1);
    assert_eq!(folder.dags().await, ["good", "kept", "other"]);
    // It is told once.
    assert!(folder.sync().await.broken.is_empty());
    std::fs::remove_dir_all(dags.join(&long)).unwrap();
    folder.sync().await;
    assert_eq!(
        (folder.dags().await, folder.errors().await.len()),
        (vec!["good".into(), "kept-".into(), "other".into()], 0)
    );
}
