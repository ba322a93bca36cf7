//! The files of the folder.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use millrace_dagfile::{MAX_FILE_SIZE, check_path};

/// Folders in folders are followed so far.
const MAX_DEPTH: usize = 16;

/// Size and time of change.
pub type Stamp = (u64, SystemTime);

pub fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Every `.yaml` and `.yml` file below the folder, relative to it, sorted. Names that begin with `.` or `_` are passed
/// over, folders too. A folder that does not exist is empty.
pub fn dag_file_paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    match walk(folder, Path::new(""), 0, &mut found) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(()) => {
            found.sort();
            Ok(found)
        }
    }
}

fn walk(root: &Path, below: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        let path = below.join(&name);
        // An entry may vanish between listing and looking.
        let Ok(kind) = std::fs::metadata(entry.path()) else { continue };
        if kind.is_dir() && depth < MAX_DEPTH {
            walk(root, &path, depth + 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

/// The bytes of a file, one more than allowed at the most, so that the reader can say that it is too large.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a `.sql` or `.sh` file inside the folder. Neither its path nor a link leads out of it.
pub fn read_sibling(folder: &Path, relative: &str) -> Option<String> {
    check_path(relative).ok()?;
    let root = folder.canonicalize().ok()?;
    let path = root.join(relative).canonicalize().ok()?;
    if !path.starts_with(&root) || !path.is_file() {
        return None;
    }
    let bytes = read_bounded(&path).ok()?;
    if bytes.len() > MAX_FILE_SIZE {
        return None;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_dag_files_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b.yaml", "a.yml", "sub/c.yaml", ".hidden.yaml", "_part.yaml", "x.sql", ".git/d.yaml"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found: Vec<String> =
            dag_file_paths(folder.path()).unwrap().iter().map(|p| p.display().to_string()).collect();
        assert_eq!(found, ["a.yml", "b.yaml", "sub/c.yaml"]);
        assert!(dag_file_paths(&folder.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn siblings_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret.sql"), "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("q.sql"), "SELECT 1").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.sql"), folder.path().join("link.sql")).unwrap();
        assert_eq!(read_sibling(folder.path(), "q.sql").as_deref(), Some("SELECT 1"));
        for bad in ["link.sql", "../secret.sql", "/etc/passwd", "missing.sql"] {
            assert_eq!(read_sibling(folder.path(), bad), None, "{bad}");
        }
    }
}
