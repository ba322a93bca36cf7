//! What a file is made of before it is read as a DAG: the defaults of its folders, the files that it includes, the
//! overlay of the environment, and one copy of a part for each item of a list. Trees in, trees out; still only data.

mod for_each;
mod merge;

use std::collections::BTreeSet;

use serde_json::Map;

use crate::diagnostic::Diagnostic;
use crate::files::check_path;
use crate::options::ReadOptions;
use crate::source::{MAX_FILE_SIZE, Sources, Span};
use crate::tree::{self, Entry, Node, NodeKind};
use merge::merge;

/// The file whose keys all DAGs of its folder and of the folders below begin with.
const DEFAULTS: &str = "_defaults.yaml";
/// Files that include files that include files.
const MAX_INCLUDES: usize = 10;

/// Everything that composing one file needs and finds.
pub(crate) struct Composer<'s, 'a> {
    pub sources: &'s mut Sources<'a>,
    pub options: &'s ReadOptions<'a>,
    pub diagnostics: &'s mut Vec<Diagnostic>,
    /// Files that became part of it, and those it looked for in vain.
    pub files: &'s mut BTreeSet<String>,
    overlays: Vec<(String, Span)>,
    /// Nodes that items have added so far.
    copied: usize,
    /// False once a part could not be had, which was told: what the rest seems to lack may have been in it.
    is_whole: bool,
}

/// What a file came to.
pub(crate) struct Composed {
    /// The trees of the DAGs that it makes: one, unless it has a `for_each` of its own.
    pub roots: Vec<Node>,
    /// The environments that it has overlays for, in the order of the file.
    pub overlays: Vec<(String, Span)>,
    /// No included file and no `for_each` was lost to a mistake.
    pub is_whole: bool,
}

pub(crate) fn compose<'s, 'a>(
    root: Node,
    sources: &'s mut Sources<'a>,
    options: &'s ReadOptions<'a>,
    diagnostics: &'s mut Vec<Diagnostic>,
    files: &'s mut BTreeSet<String>,
) -> Composed {
    let mut composer =
        Composer { sources, options, diagnostics, files, overlays: Vec::new(), copied: 0, is_whole: true };
    if !matches!(root.kind, NodeKind::Map(_)) {
        return Composed { roots: vec![root], overlays: Vec::new(), is_whole: true };
    }
    let mut whole = composer.include(root, 0);
    for defaults in composer.defaults().into_iter().rev() {
        whole = merge(defaults, whole);
    }
    let whole = composer.overlay(whole);
    let roots = composer.expand_dags(whole, &Map::new());
    Composed { roots, overlays: composer.overlays, is_whole: composer.is_whole }
}

impl Composer<'_, '_> {
    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: Option<&str>) {
        let problem = Diagnostic::of(code, self.sources, span, message.into()).hint(hint.map(str::to_owned));
        self.diagnostics.push(problem);
    }

    /// A tree from another file; none, with the reason told at `span`, when it cannot be had.
    fn load(&mut self, path: &str, text: String) -> Option<Node> {
        let source = self.sources.add(path, text);
        let mut problems = Vec::new();
        let tree = tree::build(source, &mut problems).map_err(|fatal| problems.push(*fatal)).ok();
        let lines: Vec<String> = problems.iter().map(|problem| source.line(problem.line).to_owned()).collect();
        for (mut problem, line) in problems.into_iter().zip(lines) {
            problem.file = Some(path.to_owned());
            problem.source_line = Some(line);
            self.diagnostics.push(problem);
        }
        tree
    }

    /// Outermost folder first.
    fn defaults(&mut self) -> Vec<Node> {
        let mut found = Vec::new();
        let mut folder = String::new();
        let folders: Vec<&str> = self.options.file_name.split(['/', '\\']).collect();
        for part in std::iter::once("").chain(folders[..folders.len() - 1].iter().copied()) {
            if !part.is_empty() {
                folder.push_str(part);
                folder.push('/');
            }
            let path = format!("{folder}{DEFAULTS}");
            if check_path(&path).is_err() {
                continue;
            }
            self.files.insert(path.clone());
            let Some(text) = (self.options.files)(&path) else { continue };
            let Some(node) = self.load(&path, text) else {
                self.is_whole = false;
                continue;
            };
            if let Some(own) = node.get("dag_id").map(|entry| entry.key_span) {
                self.error("unknown-key", own, "'dag_id' is each DAG's own and can't stand in _defaults.yaml", None);
            }
            if matches!(node.kind, NodeKind::Map(_)) {
                let node = self.include(node, 0);
                found.push(node);
            } else {
                let message = format!("_defaults.yaml is a map of the keys of DAGs, not {}", node.kind.noun());
                self.error("wrong-type", node.span, message, None);
            }
        }
        found
    }

    /// The node over the files that it names under `include`, the last of them uppermost.
    fn include(&mut self, node: Node, depth: usize) -> Node {
        let (mut node, include) = taken(node, "include");
        let Some(include) = include else { return node };
        let names: Vec<(String, Span)> = match &include.value.kind {
            NodeKind::Text(text) => vec![(text.clone(), include.value.span)],
            NodeKind::List(items) => {
                items.iter().filter_map(|item| Some((item.as_text()?.to_owned(), item.span))).collect()
            }
            _ => Vec::new(),
        };
        let listed = include.value.items().len().max(usize::from(include.value.as_text().is_some()));
        if names.is_empty() || names.len() != listed {
            self.is_whole = false;
            let message = "'include' must be the path of a file in the dags folder, or a list of such paths";
            self.error("wrong-type", include.value.span, message, None);
        }
        for (path, span) in names.into_iter().rev() {
            match self.included(&path, span, depth) {
                Some(part) => node = merge(part, node),
                None => self.is_whole = false,
            }
        }
        node
    }

    fn included(&mut self, path: &str, span: Span, depth: usize) -> Option<Node> {
        if depth >= MAX_INCLUDES {
            let message = format!("'{path}' is included by files that include each other, or too deep");
            self.error("endless-include", span, message, Some("take one of the includes out"));
            return None;
        }
        let path = path.trim().trim_start_matches("./");
        if let Err(error) = check_path(path) {
            let hint = "put the file into the dags folder and write its path from there";
            self.error("bad-file", span, format!("'{path}' can't be included: {error}"), Some(hint));
            return None;
        }
        self.files.insert(path.to_owned());
        let Some(text) = (self.options.files)(path) else {
            let message = format!("there is no file '{path}' to include");
            self.error("bad-file", span, message, Some("its path counts from the dags folder"));
            return None;
        };
        if text.len() > MAX_FILE_SIZE {
            self.error("too-large", span, format!("'{path}' is too large to be included"), None);
            return None;
        }
        let node = self.load(path, text)?;
        if !matches!(node.kind, NodeKind::Map(_)) {
            let message = format!("an included file is a map of the keys of DAGs, not {}", node.kind.noun());
            self.error("wrong-type", node.span, message, None);
            return None;
        }
        Some(self.include(node, depth + 1))
    }

    /// The tree with the environment's part of `overlays` on top.
    fn overlay(&mut self, node: Node) -> Node {
        let (node, overlays) = taken(node, "overlays");
        let Some(overlays) = overlays else { return node };
        if !matches!(overlays.value.kind, NodeKind::Map(_) | NodeKind::Null) {
            let message = "'overlays' must be a map: under each environment's name the keys that differ there";
            self.error("wrong-type", overlays.value.span, message, None);
            return node;
        }
        self.overlays.extend(overlays.value.entries().iter().map(|entry| (entry.key.clone(), entry.key_span)));
        let environment = self.options.defaults.environment.as_deref().unwrap_or_default();
        match overlays.value.get(environment).map(|entry| entry.value.clone()) {
            Some(part) if matches!(part.kind, NodeKind::Map(_)) => merge(node, part),
            Some(part) if !part.is_null() => {
                let message = format!("the overlay '{environment}' must be a map, not {}", part.kind.noun());
                self.error("wrong-type", part.span, message, None);
                node
            }
            _ => node,
        }
    }
}

/// The node without one of its entries, and that entry.
fn taken(mut node: Node, key: &str) -> (Node, Option<Entry>) {
    let NodeKind::Map(entries) = &mut node.kind else { return (node, None) };
    let entry = entries.iter().position(|entry| entry.key == key).map(|place| entries.remove(place));
    (node, entry)
}
