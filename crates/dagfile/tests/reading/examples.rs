//! The DAGs that come with the product are right.

use std::fs;
use std::path::Path;

use millrace_dagfile::{ReadOptions, read_dag, render_all};

fn check(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let files = |path: &str| fs::read_to_string(folder.join(path)).ok();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        count += 1;
        let text = fs::read_to_string(&path).unwrap();
        let options = ReadOptions { files: &files, ..ReadOptions::new(name, millrace_operators::catalogue()) };
        let result = read_dag(&text, &options);
        assert!(result.diagnostics.is_empty(), "{}", render_all(&result.diagnostics, name, &text));
        let dag = result.dags.into_iter().next().unwrap();
        assert_eq!(format!("{}.yaml", dag.dag_id), name);
        assert!(dag.description.is_some());
    }
    assert!(count > 0);
}

#[test]
fn examples() {
    check("dags");
}

#[test]
fn demo() {
    check("crates/cli/demo");
}
