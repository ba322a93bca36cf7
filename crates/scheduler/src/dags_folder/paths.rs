//! Which files are DAG files.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use millrace_dagfile::{CALENDARS_FOLDER, MAX_FILE_SIZE};

/// Gitignore-like, one pattern a line, at the top of the folder.
const IGNORE_FILES: [&str; 2] = [".millraceignore", ".airflowignore"];
/// Folders within folders beyond this are not looked into: a link may lead in a circle.
const MAX_DEPTH: usize = 20;

/// What a dags folder holds, relative to it.
#[derive(Debug, Default)]
pub struct FoundFiles {
    /// The DAG files, sorted.
    pub paths: Vec<PathBuf>,
    /// Folders within it that cannot be read: what is in them is not known.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// The `.yaml` and `.yml` files under `folder`, relative to it and sorted. Left out are hidden files and folders (names
/// that begin with `.`), parts of other files (names that begin with `_`), folders that are links, the calendars, and what
/// `.millraceignore` or `.airflowignore` names. A folder that
/// does not exist holds none.
pub fn dag_file_paths(folder: &Path) -> io::Result<FoundFiles> {
    let ignored = IgnoreList::read(folder);
    let mut found = FoundFiles::default();
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((relative, depth)) = waiting.pop() {
        match list(folder, &relative, &ignored) {
            Ok((files, folders)) => {
                found.paths.extend(files);
                if depth < MAX_DEPTH {
                    waiting.extend(folders.into_iter().map(|path| (path, depth + 1)));
                }
            }
            // Gone since it was listed, or never there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if depth == 0 => return Err(error),
            Err(error) => found.unreadable.push((relative, error)),
        }
    }
    found.paths.sort();
    found.unreadable.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// The DAG files in one folder, and the folders.
fn list(folder: &Path, relative: &Path, ignored: &IgnoreList) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder.join(relative))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(text) = name.to_str().filter(|text| !text.starts_with('.')) else { continue };
        let path = relative.join(text);
        if ignored.matches(&path) {
            continue;
        }
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if kind.is_dir() {
            if path != Path::new(CALENDARS_FOLDER) {
                folders.push(path);
            }
        } else if is_dag_file(text) && (kind.is_file() || folder.join(&path).is_file()) {
            files.push(path);
        }
    }
    Ok((files, folders))
}

/// The names of the calendars that a dags folder has, sorted.
pub fn calendar_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join(CALENDARS_FOLDER)) else { return Vec::new() };
    let name = |entry: io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_suffix(".yaml").filter(|name| !name.starts_with('.')).map(str::to_owned)
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}

/// A name that begins with `_` is a part of other files.
fn is_dag_file(name: &str) -> bool {
    let ending = Path::new(name).extension();
    !name.starts_with('_') && ending.is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// The bytes of a DAG file, one more than allowed at the most: the reader then says that it is too large, and a file of any
/// size costs no more memory. What is no file (a pipe, a device) is refused, since reading it might never end.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file that a DAG names by its path relative to the folder. None when it is not there, is not text, or
/// lies outside of the folder, be it by a link.
pub fn read_sibling(folder: &Path, relative: &str) -> Option<String> {
    let inside = folder.canonicalize().ok()?;
    let path = inside.join(relative).canonicalize().ok()?;
    if !path.starts_with(&inside) || !path.is_file() {
        return None;
    }
    String::from_utf8(read_bounded(&path).ok()?).ok()
}

/// Patterns of names to leave out: `*` and `?` within a name; one with a `/` is matched from the top, another against
/// each name on the way.
struct IgnoreList {
    patterns: Vec<String>,
}

impl IgnoreList {
    fn read(folder: &Path) -> Self {
        let text: String = IGNORE_FILES
            .iter()
            .filter_map(|name| std::fs::read_to_string(folder.join(name)).ok())
            .collect::<Vec<_>>()
            .join("\n");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { patterns: lines.map(|line| line.trim_end_matches('/').to_owned()).collect() }
    }

    fn matches(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        self.patterns.iter().any(|pattern| match pattern.strip_prefix('/') {
            Some(anchored) => is_like(anchored, &text),
            None if pattern.contains('/') => is_like(pattern, &text),
            None => is_like(pattern, &name),
        })
    }
}

/// `*` stands for any run of characters but `/`, `?` for one of them.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        if at < pattern.len() && pattern[at] == '*' {
            star = Some((at, read));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == text[read] || (pattern[at] == '?' && text[read] != '/')) {
            (at, read) = (at + 1, read + 1);
        } else if let Some((star_at, from)) = star.filter(|(_, from)| text[*from] != '/') {
            star = Some((star_at, from + 1));
            (at, read) = (star_at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_within_a_name() {
        for (pattern, text, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "x/a.yaml", false),
            ("x/*", "x/a.yaml", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*b*c", "abbbc", true),
            ("*b*c", "abbb", false),
            ("", "a", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn finds_files_in_folders_and_leaves_out_what_is_hidden_or_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "b.yaml",
            "a.yml",
            "team/c.yaml",
            ".hidden.yaml",
            ".git/d.yaml",
            "e.txt",
            "drafts/f.yaml",
            "g_test.yaml",
            "calendars/holidays.yaml",
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(folder.path().join(".millraceignore"), "# not yet\ndrafts/\n*_test.yaml\n").unwrap();
        let found = dag_file_paths(folder.path()).unwrap();
        assert_eq!(found.paths, ["a.yml", "b.yaml", "team/c.yaml"].map(PathBuf::from));
        assert_eq!(calendar_names(folder.path()), ["holidays"]);
        assert!(dag_file_paths(&folder.path().join("nowhere")).unwrap().paths.is_empty());
    }

    #[test]
    fn siblings_stay_inside_even_by_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret.sql"), "secret").unwrap();
        std::fs::write(folder.path().join("a.sql"), "SELECT 1").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.sql"), folder.path().join("link.sql")).unwrap();
        assert_eq!(read_sibling(folder.path(), "a.sql").as_deref(), Some("SELECT 1"));
        assert_eq!(read_sibling(folder.path(), "link.sql"), None);
        assert_eq!(read_sibling(folder.path(), "missing.sql"), None);
    }

    #[test]
    fn reading_is_bounded_and_refuses_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let huge = folder.path().join("huge.yaml");
        std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read_bounded(&huge).unwrap().len(), MAX_FILE_SIZE + 1);
        assert_eq!(read_bounded(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
