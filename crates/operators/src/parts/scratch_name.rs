//! Names of files in a run's scratch folder.

/// Why a scratch file can't be called that.
pub fn name_problem(name: &str) -> Option<String> {
    if name.trim().is_empty() {
        return Some("file is empty".to_owned());
    }
    let is_path = name.starts_with('.') || name.contains(['/', '\\', '\0']);
    is_path.then(|| {
        format!("'{name}' is not a plain name of a file in the run's scratch folder; write one such as nps.csv")
    })
}
