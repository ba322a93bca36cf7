//! What files were like when they were read: whether they must be read again is answered without opening them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use millrace_model::pool::PoolSizes;
use serde_json::Value;

use super::FolderOptions;

/// A file that was written a moment ago may be written once more without its time showing it: some file systems count
/// whole seconds.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Files by their paths in the folder, each with its stamp; None: it was not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps {
    files: Vec<(String, Option<String>)>,
    newest: SystemTime,
}

impl Stamps {
    pub fn of(folder: &Path, path: &str) -> Self {
        let mut stamps = Self { files: Vec::with_capacity(1), newest: SystemTime::UNIX_EPOCH };
        stamps.add(folder, path);
        stamps
    }

    pub fn add(&mut self, folder: &Path, path: &str) {
        let stamp = stamp(&folder.join(path));
        if let Some((_, written_at)) = stamp {
            self.newest = self.newest.max(written_at);
        }
        self.files.push((path.to_owned(), stamp.map(|(text, _)| text)));
    }

    pub fn still_hold(&self, folder: &Path) -> bool {
        self.files.iter().all(|(path, known)| *known == stamp(&folder.join(path)).map(|(text, _)| text))
    }

    /// Whether another process may rely on them.
    pub fn are_settled(&self) -> bool {
        SystemTime::now().duration_since(self.newest).is_ok_and(|age| age > SETTLED_AFTER)
    }

    pub fn to_json(&self) -> Value {
        self.files.iter().map(|(path, stamp)| Value::from(vec![Some(path.clone()), stamp.clone()])).collect()
    }

    /// None: not written by [`Stamps::to_json`].
    pub fn of_json(value: &Value) -> Option<Self> {
        let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str().map(str::to_owned)));
        let files = value.as_array()?.iter().map(pair).collect::<Option<Vec<_>>>()?;
        Some(Self { files, newest: SystemTime::UNIX_EPOCH })
    }
}

/// Which file it is, when it was written and changed, how long it is. A file that was put in its place with the same
/// time and length is another one.
fn stamp(path: &Path) -> Option<(String, SystemTime)> {
    let facts = std::fs::metadata(path).ok()?;
    let text = format!(
        "{}.{}.{}.{}.{}.{}",
        facts.ino(),
        facts.mtime(),
        facts.mtime_nsec(),
        facts.ctime(),
        facts.ctime_nsec(),
        facts.len()
    );
    Some((text, facts.modified().ok()?))
}

/// Tells readers apart that may make different DAGs of one file: another program, another configuration, other pools.
pub(super) fn reader_mark(options: &FolderOptions, pools: &PoolSizes) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    format!("{:?}", options.defaults).hash(&mut hasher);
    options.folder.hash(&mut hasher);
    for name in pools.keys() {
        name.hash(&mut hasher);
    }
    if let Some((program, _)) = std::env::current_exe().ok().and_then(|path| stamp(&path)) {
        program.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
