//! Failures of the store that are planned: at any point that comes, or at one by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use millrace_model::alert::AlertKind;
use millrace_model::change::SlotOutcome;
use millrace_store::faults::{Fault, FaultPoint, Faults};

/// A place in the store's code: where a call can fail, and what it is for.
pub type Place = (FaultPoint, &'static str);

/// Transactions that a world comes by only when the database refuses a run for itself, which few worlds see: many of them
/// have struck these, a few need not have.
const SELDOM: &[&str] = &["write a setting", "take a setting"];

/// Transactions of the store that no world comes by: others than schedulers, and people who ask them for something, begin
/// them. All the rest must fail in one.
const ELSEWHERE: &[&str] = &[
    // Tries that really run.
    "record a checkpoint",
    "record a remote statement",
    "keep rendered parameters",
    // A command that runs one task by itself.
    "take a task",
    "finish a task that was taken",
    // The loop around the engine: its folder of DAG files, its cleaning.
    "record an import error",
    "note what DAG files were like",
    "ask for DAG files to be read",
    "mark DAGs stale",
    "delete old rows",
    "note the cleaning",
    // A process that says what is in force.
    "take away settings",
    // Whoever signs in.
    "add a user",
    "delete a user",
    "give a user another role",
    "change a password",
    "shut a user out or let one in",
    "begin a session",
    "end a session",
    "note the use of a session",
    "give a session another token",
    "note the use of an API token",
    "write the audit log",
    // What tasks look up, and notes.
    "write a connection",
    "delete a connection",
    "write a variable",
    "delete a variable",
    "take a turn",
    "delete a pool",
    "note that alerts were seen",
    "note something of a run",
    // Whoever tells people of what happened.
    "take notifications",
    "note how a notification went",
    "tell callbacks again",
    // Whole databases.
    "import",
];

#[derive(Debug, Clone, Copy)]
struct Plan {
    point: FaultPoint,
    /// None: whatever it is for.
    name: Option<&'static str>,
    fault: Fault,
    after: usize,
    times: usize,
}

#[derive(Default)]
struct Seen {
    plans: Vec<Plan>,
    came: BTreeSet<Place>,
    struck: BTreeSet<Place>,
    /// Since `begin`, the last.
    just_struck: Option<FaultPoint>,
}

#[derive(Default)]
pub struct PlannedFaults(Mutex<Seen>);

impl PlannedFaults {
    /// `times` failures one after another, once `after` such points have been passed.
    pub fn plan(&self, point: FaultPoint, fault: Fault, after: usize, times: usize) {
        self.0.lock().unwrap().plans.push(Plan { point, name: None, fault, after, times });
    }

    /// As [`Self::plan`], of one place.
    pub fn plan_at(&self, (point, name): Place, fault: Fault, after: usize, times: usize) {
        self.0.lock().unwrap().plans.push(Plan { point, name: Some(name), fault, after, times });
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().plans.clear();
    }

    pub fn is_armed(&self) -> bool {
        !self.0.lock().unwrap().plans.is_empty()
    }

    pub fn begin(&self) {
        self.0.lock().unwrap().just_struck = None;
    }

    /// Where something failed since `begin`, if anything did: the last place.
    pub fn end(&self) -> Option<FaultPoint> {
        self.0.lock().unwrap().just_struck
    }

    /// The places that were passed or struck.
    pub fn came(&self) -> BTreeSet<Place> {
        self.0.lock().unwrap().came.clone()
    }

    pub fn struck(&self) -> BTreeSet<Place> {
        self.0.lock().unwrap().struck.clone()
    }
}

impl Faults for PlannedFaults {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        let mut seen = self.0.lock().unwrap();
        seen.came.insert((point, attempted));
        let mut fault = None;
        for plan in &mut seen.plans {
            if plan.point != point || plan.name.is_some_and(|name| name != attempted) {
                continue;
            }
            if plan.after > 0 {
                plan.after -= 1;
            } else if fault.is_none() {
                plan.times -= 1;
                fault = Some(plan.fault);
            }
        }
        seen.plans.retain(|plan| plan.times > 0);
        if fault.is_some() {
            seen.struck.insert((point, attempted));
            seen.just_struck = Some(point);
        }
        fault
    }
}

/// What a set of worlds has shown of the store's places.
#[derive(Default)]
pub struct Coverage {
    /// With a world that came by.
    came: BTreeMap<Place, u64>,
    struck: BTreeSet<Place>,
    told: BTreeSet<&'static str>,
}

impl Coverage {
    /// What people were told of in a world.
    pub fn tell(&mut self, told: BTreeSet<&'static str>) {
        self.told.extend(told);
    }

    pub fn add(&mut self, seed: u64, came: BTreeSet<Place>, struck: BTreeSet<Place>) {
        for place in came {
            self.came.entry(place).or_insert(seed);
        }
        self.struck.extend(struck);
    }

    /// Some places that were passed and never struck, all by one world.
    pub fn missing(&self, most: usize) -> Option<(u64, Vec<Place>)> {
        let mut missing = self.came.iter().filter(|(place, _)| !self.struck.contains(*place)).peekable();
        let seed = *missing.peek()?.1;
        let of_seed = missing.filter(|(_, of)| **of == seed).map(|(place, _)| *place);
        Some((seed, of_seed.take(most).collect()))
    }

    pub fn len(&self) -> usize {
        self.struck.len()
    }

    /// There was something to look at for each rule about what is told and what becomes of dates. Every transaction of the
    /// store has failed before it was opened, before it was committed and when its answer was on its way.
    pub fn check(&self) {
        // Files are edited, and never broken.
        let kinds = AlertKind::ALL.iter().filter(|kind| **kind != AlertKind::ImportError).map(|kind| kind.as_str());
        let fates = [SlotOutcome::Skipped, SlotOutcome::Coalesced].map(SlotOutcome::as_str);
        let untold: Vec<&str> = kinds.chain(fates).filter(|it| !self.told.contains(it)).collect();
        assert!(untold.is_empty(), "no world has seen {untold:?}");
        let named = |of: fn(&FaultPoint) -> bool| -> BTreeSet<&str> {
            self.struck.iter().filter(|(point, _)| of(point)).map(|(_, name)| *name).collect()
        };
        let transactions = names_in_the_store(&["begin(", "begin_in_turn(", "begin_as_leader("]);
        assert!(transactions.contains("commit a batch") && transactions.contains("take the lead"), "{transactions:?}");
        let points: [fn(&FaultPoint) -> bool; 3] = [
            |point| *point == FaultPoint::Begin,
            |point| *point == FaultPoint::BeforeCommit,
            |point| *point == FaultPoint::AfterCommit,
        ];
        for point in points {
            let struck = named(point);
            let spared: Vec<&String> = transactions
                .iter()
                .filter(|name| ![ELSEWHERE, SELDOM].concat().contains(&name.as_str()))
                .filter(|name| !struck.contains(name.as_str()))
                .collect();
            assert!(spared.is_empty(), "never struck: {spared:?}");
            let known: Vec<&&str> = ELSEWHERE.iter().filter(|name| struck.contains(**name)).collect();
            assert!(known.is_empty(), "struck, though they are said to be elsewhere: {known:?}");
        }
        let gone: Vec<&&str> = ELSEWHERE.iter().filter(|name| !transactions.contains(**name)).collect();
        assert!(gone.is_empty(), "the store has no such transactions: {gone:?}");
        let statements = named(|point| *point == FaultPoint::Statement);
        let all = names_in_the_store(&["sql::run(", "sql::all(", "sql::one(", "sql::all_at_once("]);
        let spared: Vec<&String> = all.iter().filter(|name| !statements.contains(name.as_str())).collect();
        eprintln!("{} statements were struck; no world comes by these {}: {spared:?}", statements.len(), spared.len());
    }
}

/// The first text that follows one of these calls in the store's code, which names what is attempted.
fn names_in_the_store(calls: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            for call in calls {
                names.extend(text.split(call).skip(1).filter_map(first_text));
            }
        }
    }
    names
}

/// Its first argument, or the second after a short one.
fn first_text(arguments: &str) -> Option<String> {
    let (before, rest) = arguments.split_once('"')?;
    let before = before.trim();
    let is_first = before.is_empty() || (before.ends_with(',') && before.len() < 40 && !before.contains([';', '{']));
    is_first.then(|| rest.split('"').next().map(str::to_owned)).flatten()
}
