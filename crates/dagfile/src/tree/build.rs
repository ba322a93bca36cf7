//! From the parser's events to the tree, within bounds.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, MAX_DEPTH, MAX_NODES, MAX_TEXT, Node, NodeKind};
use crate::diagnostic::Diagnostic;
use crate::scalar;
use crate::source::{Position, Source, Span};

/// The one document of a file. `Err` when there is no going on; lesser problems are added to `diagnostics`.
pub(crate) fn build(source: &Source<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Node, Box<Diagnostic>> {
    let mut builder = Builder::new(source, diagnostics);
    let mut parser = Parser::new_from_str(&source.text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| Box::new(builder.syntax_error(&error)))?;
        let span = builder.span(span);
        match event {
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                if builder.root.is_some() {
                    let message = "a file holds one DAG, but here a second document begins".to_owned();
                    return Err(Box::new(Diagnostic::new("second-document", source, span, message)));
                }
            }
            Event::Alias(anchor) => builder.alias(anchor, span)?,
            Event::Scalar(text, style, anchor, tag) => {
                let kind = builder.scalar(&text, style, tag.as_deref(), span);
                builder.add(Node::new(span, kind), anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                builder.open(Children::List(Vec::new()), anchor, tag.as_deref(), span)?;
            }
            Event::MappingStart(anchor, tag) => {
                let map = Children::Map { entries: Vec::new(), keys: HashMap::new(), pending: None };
                builder.open(map, anchor, tag.as_deref(), span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(span),
        }
    }
    match builder.root.take() {
        Some(root) if !root.is_null() => Ok(root),
        _ => {
            let message = "the file is empty; a DAG needs at least 'tasks'".to_owned();
            Err(Box::new(Diagnostic::at_line("empty-file", 1, 1, message)))
        }
    }
}

enum Children {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashMap<String, usize>, pending: Option<(String, Span)> },
}

struct Frame {
    children: Children,
    anchor: usize,
    start: Position,
}

/// How much a subtree is.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
    height: usize,
}

impl Size {
    fn of(node: &Node) -> Self {
        let mut size = match &node.kind {
            NodeKind::Text(text) => Self { nodes: 1, text: text.len(), height: 0 },
            _ => Self { nodes: 1, text: 0, height: 0 },
        };
        let mut add = |child: Self, text: usize| {
            size.nodes += child.nodes;
            size.text += child.text + text;
            size.height = size.height.max(child.height + 1);
        };
        node.items().iter().for_each(|item| add(Self::of(item), 0));
        node.entries().iter().for_each(|entry| add(Self::of(&entry.value), entry.key.len()));
        size
    }
}

struct Builder<'s, 'd> {
    source: &'s Source<'s>,
    diagnostics: &'d mut Vec<Diagnostic>,
    /// Byte offset of each character; empty when all characters are one byte.
    offsets: Vec<usize>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, Size)>,
    total: Size,
    root: Option<Node>,
}

impl<'s, 'd> Builder<'s, 'd> {
    fn new(source: &'s Source<'s>, diagnostics: &'d mut Vec<Diagnostic>) -> Self {
        let offsets =
            if source.text.is_ascii() { Vec::new() } else { source.text.char_indices().map(|(at, _)| at).collect() };
        Self {
            source,
            diagnostics,
            offsets,
            frames: Vec::new(),
            anchors: HashMap::new(),
            total: Size::default(),
            root: None,
        }
    }

    fn position(&self, marker: &Marker) -> Position {
        let end = self.source.text.len();
        let offset = if self.offsets.is_empty() {
            marker.index().min(end)
        } else {
            self.offsets.get(marker.index()).copied().unwrap_or(end)
        };
        Position { line: marker.line(), column: marker.col() + 1, offset }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        self.source.between(self.position(&span.start), self.position(&span.end))
    }

    fn report(&mut self, code: &'static str, span: Span, message: String, hint: Option<String>) {
        self.diagnostics.push(Diagnostic::new(code, self.source, span, message).hint(hint));
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let start = self.position(error.marker());
        let span = self.source.between(start, start);
        let info = error.info();
        let line = self.source.line(start.line);
        let hint = if info.contains("tab") {
            Some("indent with blanks, not with tabs".to_owned())
        } else if let Some(at) = unquoted_template(line) {
            Some(format!("quote the value: \"{}…\"", line[at..].chars().take(20).collect::<String>()))
        } else if let Some(value) = needs_quotes(line, info) {
            Some(format!("write it in quotes: \"{value}\""))
        } else if let Some(key) = info
            .contains("mapping values are not allowed")
            .then(|| {
                [start.line.saturating_sub(1), start.line]
                    .into_iter()
                    .find_map(|at| key_without_blank(self.source.line(at)))
            })
            .flatten()
        {
            Some(format!("a blank belongs behind the colon: '{key}: …'"))
        } else if info.contains("mapping values are not allowed") {
            Some("a value with ': ' in it must be quoted; otherwise check the indentation".to_owned())
        } else if info.contains("unknown anchor") {
            Some("an alias (*name) needs an anchor (&name) before it".to_owned())
        } else if info.contains("did not find expected key") || info.contains("indentation") {
            Some("check the indentation of this line and of the one before".to_owned())
        } else {
            None
        };
        let info = if info == "recursion limit exceeded" { "the values are nested too deep" } else { info };
        Diagnostic::new("syntax", self.source, span, format!("the YAML cannot be read: {info}")).hint(hint)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> NodeKind {
        let untagged = if style == ScalarStyle::Plain { scalar::plain(text) } else { NodeKind::Text(text.to_owned()) };
        let Some(tag) = tag else { return untagged };
        // `!` alone means text.
        if tag.handle.is_empty() && tag.suffix == "!" {
            return NodeKind::Text(text.to_owned());
        }
        if tag.is_yaml_core_schema() {
            if let Some(kind) = scalar::tagged(&tag.suffix, text) {
                return kind;
            }
            let message = format!("'{text}' is not what its tag '!!{}' says", tag.suffix);
            self.report("bad-tag", span, message, None);
            return untagged;
        }
        self.unknown_tag(tag, span);
        untagged
    }

    fn unknown_tag(&mut self, tag: &Tag, span: Span) {
        let message = format!("the tag '{tag}' is not understood");
        self.report("bad-tag", span, message, Some("DAG files are plain data: leave the tag out".to_owned()));
    }

    fn grow(&mut self, size: Size, span: Span) -> Result<(), Box<Diagnostic>> {
        self.total.nodes += size.nodes;
        self.total.text += size.text;
        let message = if self.total.nodes > MAX_NODES {
            format!("the file holds more than {MAX_NODES} values (aliases count as what they stand for)")
        } else if self.total.text > MAX_TEXT {
            format!(
                "the file holds more than {} MiB of text (aliases count as what they stand for)",
                MAX_TEXT / 1024 / 1024
            )
        } else if self.frames.len() + size.height > MAX_DEPTH {
            format!("the values are nested more than {MAX_DEPTH} deep")
        } else {
            return Ok(());
        };
        Err(Box::new(Diagnostic::new("too-large", self.source, Span { end: span.start, ..span }, message)))
    }

    fn open(
        &mut self,
        children: Children,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        if let Some(tag) = tag {
            let expected = if matches!(children, Children::List(_)) { "seq" } else { "map" };
            if !(tag.is_yaml_core_schema() && tag.suffix == expected) {
                self.unknown_tag(tag, span);
            }
        }
        if let Some(Frame { children: Children::Map { pending: None, .. }, .. }) = self.frames.last() {
            let line = self.source.line(span.start.line);
            let hint = match unquoted_template(line) {
                Some(_) => "a template must be quoted: \"{{ … }}\"",
                None => "a key is a plain word",
            };
            let message = "a list or a map cannot be a key".to_owned();
            return Err(Box::new(Diagnostic::new("bad-key", self.source, span, message).hint(hint.to_owned())));
        }
        self.frames.push(Frame { children, anchor, start: span.start });
        self.grow(Size { nodes: 1, ..Size::default() }, span)
    }

    fn close(&mut self, span: Span) {
        let Some(frame) = self.frames.pop() else { return };
        let span = self.source.between(frame.start, span.end);
        let kind = match frame.children {
            Children::List(items) => NodeKind::List(items),
            Children::Map { entries, .. } => NodeKind::Map(self.merged(entries)),
        };
        self.attach(Node::new(span, kind), frame.anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            let message = "the alias stands inside the value that it refers to".to_owned();
            return Err(Box::new(Diagnostic::new("endless-alias", self.source, span, message)));
        };
        let (node, size) = (node.clone(), *size);
        self.grow(size, span)?;
        if let Some(Frame { children: Children::Map { pending: None, .. }, .. }) = self.frames.last()
            && matches!(node.kind, NodeKind::List(_) | NodeKind::Map(_))
        {
            return Err(Box::new(Diagnostic::new(
                "bad-key",
                self.source,
                span,
                "a list or a map cannot be a key".to_owned(),
            )));
        }
        self.attach(node, 0);
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Box<Diagnostic>> {
        self.grow(Size { height: 0, ..Size::of(&node) }, node.span)?;
        self.attach(node, anchor);
        Ok(())
    }

    fn attach(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            let size = Size::of(&node);
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.children {
            Children::List(items) => items.push(node),
            Children::Map { entries, keys, pending } => match pending.take() {
                None => {
                    let key = match &node.kind {
                        NodeKind::Text(text) => text.clone(),
                        // As written: 007 stays 007.
                        _ => self.source.slice(node.span).to_owned(),
                    };
                    *pending = Some((key, node.span));
                }
                Some((key, key_span)) => {
                    if let Some(line) = keys.get(&key).copied().filter(|_| key != "<<") {
                        let message = format!("the key '{key}' stands here twice; the first is in line {line}");
                        self.report("duplicate-key", key_span, message, None);
                        return;
                    }
                    keys.insert(key.clone(), key_span.start.line);
                    entries.push(Entry { key, key_span, value: node });
                }
            },
        }
    }

    /// Takes the entries of `<<` in, where the map has none of that name.
    fn merged(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        if !entries.iter().any(|entry| entry.key == "<<") {
            return entries;
        }
        let mut names: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.key != "<<" {
                all.push(entry);
                continue;
            }
            let sources = match entry.value.kind {
                NodeKind::Map(_) => vec![entry.value],
                NodeKind::List(items) if items.iter().all(|item| matches!(item.kind, NodeKind::Map(_))) => items,
                _ => {
                    let hint = Some("write <<: *name, or <<: [*one, *two]".to_owned());
                    self.report("bad-merge", entry.key_span, "'<<' takes in a map or a list of maps".to_owned(), hint);
                    continue;
                }
            };
            for source in sources {
                let NodeKind::Map(inherited) = source.kind else { continue };
                for item in inherited {
                    if names.insert(item.key.clone()) {
                        all.push(item);
                    }
                }
            }
        }
        all
    }
}

/// A value that begins with what means something else in YAML: `schedule: * * * * *`, `schedule: @daily`.
fn needs_quotes<'l>(line: &'l str, info: &str) -> Option<&'l str> {
    if !(info.contains("anchor or alias") || info.contains("unexpected character") || info.contains("tag")) {
        return None;
    }
    let value =
        [": ", "- "].iter().filter_map(|before| Some(line.split_once(before)?.1)).min_by_key(|value| value.len())?;
    let value = value.split(" #").next()?.trim();
    (value.starts_with(['*', '@', '%', '`', '&', '!']) && !value.contains(['"', '\\'])).then_some(value)
}

/// The key of a line such as `schedule:"@daily"`, which is a text to YAML.
fn key_without_blank(line: &str) -> Option<&str> {
    let (key, value) = line.trim_start().trim_start_matches("- ").split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_key && value.starts_with(|c: char| !c.is_whitespace() && c != '/')).then_some(key)
}

/// Where an unquoted `{{` begins a value in the line.
fn unquoted_template(line: &str) -> Option<usize> {
    let at = line.find("{{")?;
    let before = line[..at].trim_end();
    (before.ends_with([':', '-', ',', '[']) || before.is_empty()).then_some(at)
}
