//! What changes while people look: this process's commits at once, other processes' by looking every second, and only
//! while somebody watches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_store::{Change, DagFilter, Result};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};

use crate::server::{Server, Shared};

const KEPT: usize = 4096;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks, however long they take.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long it is looked after the last one went: whoever comes again by then has missed nothing.
const LOOK_ON: Duration = Duration::from_secs(30);
/// DAGs are looked at less often than runs.
const DAGS_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) enum Message {
    Change(Change),
    /// Something was missed: read everything again.
    Refresh,
}

/// Which message it is: the watch that told it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of one process, and of one time that it watched.
    watch: u64,
    number: u64,
}

impl Mark {
    pub fn parse(text: &str) -> Option<Self> {
        let (watch, number) = text.split_once('-')?;
        Some(Self { watch: u64::from_str_radix(watch, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.watch, self.number)
    }
}

pub(crate) type Marked = (Mark, Message);

/// What was told, for those who lost the connection for a moment.
struct Told {
    /// Of the last one.
    mark: Mark,
    recent: VecDeque<Marked>,
}

pub(crate) struct Live {
    sender: broadcast::Sender<Marked>,
    told: Mutex<Told>,
    /// Somebody came to watch.
    arrival: Notify,
    /// Commits are heard and a first look was taken: from here on nothing is missed.
    is_looking: watch::Sender<bool>,
}

impl Live {
    /// `watch` is another one in each process.
    pub fn new(watch: u64) -> Self {
        let told = Told { mark: Mark { watch, number: 0 }, recent: VecDeque::new() };
        let is_looking = watch::Sender::new(false);
        Self { sender: broadcast::channel(KEPT).0, told: Mutex::new(told), arrival: Notify::new(), is_looking }
    }

    /// Gives a receiver once every later change will be told to it.
    pub async fn subscribe(&self) -> broadcast::Receiver<Marked> {
        self.subscribe_after(None).await.receiver
    }

    /// As `subscribe`, with what was told since the mark.
    pub async fn subscribe_after(&self, mark: Option<Mark>) -> Subscription {
        let mut receiver = self.sender.subscribe();
        self.arrival.notify_one();
        // The sender lives in `self`, so that this cannot fail.
        let _ = self.is_looking.subscribe().wait_for(|is_looking| *is_looking).await;
        // What came meanwhile is among what was told: from one lock on, each message is here or there. The first receiver
        // goes last: while nobody is here, the watch may stop.
        let told = self.told();
        let gone = std::mem::replace(&mut receiver, self.sender.subscribe());
        drop(gone);
        let missed = mark.and_then(|mark| {
            let is_kept =
                told.recent.front().map_or(told.mark.number + 1, |(first, _)| first.number) <= mark.number + 1;
            let is_known = mark.watch == told.mark.watch && mark.number <= told.mark.number;
            let later = told.recent.iter().filter(|(other, _)| other.number > mark.number).cloned();
            (is_known && is_kept).then(|| later.collect())
        });
        Subscription { receiver, at: told.mark, missed }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decided under the lock that `subscribe` reads through: whoever subscribes meanwhile waits for the next look.
    fn stop_looking_unless_watched(&self) -> bool {
        let stops = self.is_looking.send_if_modified(|is_looking| {
            let stops = self.sender.receiver_count() == 0;
            *is_looking &= !stops;
            stops
        });
        if stops {
            // What happens from here on is told to nobody.
            let mut told = self.told();
            told.mark.watch = told.mark.watch.wrapping_add(1);
            told.recent.clear();
        }
        stops
    }

    fn send(&self, message: Message) {
        let mut told = self.told();
        told.mark.number += 1;
        let marked = (told.mark, message);
        if told.recent.len() == KEPT {
            told.recent.pop_front();
        }
        told.recent.push_back(marked.clone());
        // An error says that nobody watches any more.
        let _ = self.sender.send(marked);
    }
}

pub(crate) struct Subscription {
    pub receiver: broadcast::Receiver<Marked>,
    /// The last that was told before.
    pub at: Mark,
    /// What was told since the mark that was asked for; None: nobody knows any more.
    pub missed: Option<Vec<Marked>>,
}

type Place = (DagId, Option<RunId>, Option<TaskId>, i32);

/// What was last told of each active run and its tasks, and of each DAG.
#[derive(Default)]
struct Known {
    states: HashMap<Place, String>,
    dags: HashMap<DagId, (bool, i64)>,
}

/// Runs until the server stops.
pub(crate) async fn watch(server: Shared) {
    let live = &server.live;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut commits: Option<broadcast::Receiver<Change>> = None;
    let mut known: Option<Known> = None;
    let mut dags_at: Option<Instant> = None;
    let mut not_before = Instant::now();
    let mut last_watched = Instant::now();
    loop {
        let commit = async {
            match &mut commits {
                Some(commits) => commits.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = server.stop.cancelled() => return,
            commit = commit => {
                match commit {
                    Ok(change) => {
                        if let Some(known) = &mut known {
                            known.states.insert(place(&change), change.state.clone());
                        }
                        live.send(Message::Change(change));
                    }
                    Err(RecvError::Lagged(_)) => live.send(Message::Refresh),
                    Err(RecvError::Closed) => return,
                }
                continue;
            }
            () = live.arrival.notified() => {}
            _ = tick.tick() => {}
        }
        if live.sender.receiver_count() > 0 {
            last_watched = Instant::now();
        } else if known.is_some() && last_watched.elapsed() < LOOK_ON {
            // Nobody is here, and somebody may come again.
        } else if live.stop_looking_unless_watched() {
            (commits, known, dags_at) = (None, None, None);
            continue;
        }
        commits.get_or_insert_with(|| server.store().changes());
        let began = Instant::now();
        if known.is_some() && began < not_before {
            continue;
        }
        let with_dags = dags_at.is_none_or(|at| at.elapsed() >= DAGS_EVERY);
        match look(&server, known.take(), with_dags).await {
            Ok(found) => {
                known = Some(found);
                dags_at = if with_dags { Some(began) } else { dags_at };
                live.is_looking.send_replace(true);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "could not look for changes");
                live.send(Message::Refresh);
                dags_at = None;
            }
        }
        // A look that takes long is made less often, but no page stands still for it.
        not_before = Instant::now() + (began.elapsed() * 10).min(LONGEST_REST);
    }
}

fn place(change: &Change) -> Place {
    (change.dag_id.clone(), change.run_id.clone(), change.task_id.clone(), change.map_index)
}

/// Compares with what is known, and tells the differences; without anything known, only looks.
async fn look(server: &Server, known: Option<Known>, with_dags: bool) -> Result<Known> {
    let (store, live) = (server.store(), &server.live);
    let is_first = known.is_none();
    let mut known = known.unwrap_or_default();
    let mut found = HashMap::new();
    let mut active = HashSet::new();
    for run in store.active_runs().await? {
        let (dag_id, run_id) = (run.row.dag_id, run.row.run_id);
        for instance in run.instances {
            let place = (dag_id.clone(), Some(run_id.clone()), Some(instance.task_id), instance.map_index);
            found.insert(place, instance.state.as_str().to_owned());
        }
        found.insert((dag_id.clone(), Some(run_id.clone()), None, -1), run.row.state.as_str().to_owned());
        active.insert((dag_id, run_id));
    }
    let ended: HashSet<(DagId, RunId)> = known
        .states
        .keys()
        .filter_map(|(dag_id, run_id, ..)| Some((dag_id.clone(), run_id.clone()?)))
        .filter(|run| !active.contains(run))
        .collect();
    for (dag_id, run_id) in ended {
        let Some(run) = store.run(dag_id.as_str(), run_id.as_str()).await? else { continue };
        for instance in store.instances(run.key).await? {
            let place = (dag_id.clone(), Some(run_id.clone()), Some(instance.task_id), instance.map_index);
            tell(live, &known, place, instance.state.as_str());
        }
        tell(live, &known, (dag_id, Some(run_id), None, -1), run.state.as_str());
    }
    if !is_first {
        for (place, state) in &found {
            tell(live, &known, place.clone(), state);
        }
    }
    known.states = found;
    if with_dags {
        let dags = store.dags(&DagFilter { include_stale: true, ..DagFilter::default() }).await?.rows;
        let dags: HashMap<DagId, (bool, i64)> =
            dags.into_iter().map(|dag| (dag.dag_id, (dag.is_paused, dag.version_key))).collect();
        for (dag_id, (is_paused, version)) in &dags {
            let state = match known.dags.get(dag_id) {
                _ if is_first => continue,
                Some((before, _)) if before != is_paused => {
                    if *is_paused {
                        "paused"
                    } else {
                        "unpaused"
                    }
                }
                Some((_, before)) if before == version => continue,
                _ => "version",
            };
            live.send(Message::Change(Change {
                dag_id: dag_id.clone(),
                run_id: None,
                task_id: None,
                map_index: -1,
                state: state.to_owned(),
            }));
        }
        known.dags = dags;
    }
    Ok(known)
}

fn tell(live: &Live, known: &Known, place: Place, state: &str) {
    if known.states.get(&place).is_some_and(|before| before == state) {
        return;
    }
    let (dag_id, run_id, task_id, map_index) = place;
    live.send(Message::Change(Change { dag_id, run_id, task_id, map_index, state: state.to_owned() }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(subscription: &Subscription) -> Option<Vec<u64>> {
        subscription.missed.as_ref().map(|missed| missed.iter().map(|(mark, _)| mark.number).collect())
    }

    #[tokio::test]
    async fn who_comes_again_is_told_what_was_missed() {
        let live = Live::new(0xA0);
        live.is_looking.send_replace(true);
        let first = live.subscribe_after(None).await;
        assert_eq!((first.at.to_string().as_str(), numbers(&first)), ("a0-0", None));
        for _ in 0..3 {
            live.send(Message::Refresh);
        }
        let mark = Mark::parse("a0-1").unwrap();
        assert_eq!(numbers(&live.subscribe_after(Some(mark)).await), Some(vec![2, 3]));
        let last = Mark::parse("a0-3").unwrap();
        assert_eq!(numbers(&live.subscribe_after(Some(last)).await), Some(vec![]));
        for strange in ["a1-1", "a0-4"] {
            assert_eq!(numbers(&live.subscribe_after(Mark::parse(strange)).await), None, "{strange}");
        }
        for _ in 0..KEPT {
            live.send(Message::Refresh);
        }
        assert_eq!(numbers(&live.subscribe_after(Some(mark)).await), None, "too long ago");
        assert_eq!(numbers(&live.subscribe_after(Some(last)).await).map(|missed| missed.len()), Some(KEPT));
        drop(first);
        assert!(live.stop_looking_unless_watched() && live.told().mark.watch == 0xA1);
        for bad in ["", "a0", "-1", "a0-", "x-1", "a0-1-2"] {
            assert_eq!(Mark::parse(bad), None, "{bad}");
        }
    }
}
