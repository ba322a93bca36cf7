//! What is told to whoever follows requests through many programs.

/// The target of the events of `tracing` that are spans, each said once at its end: its name as the message, `begin` and
/// `end` in microseconds since 1970, `error` if it failed, and what it was of (`dag`, `run`, `task`, `try`, `map_index`, …).
/// They are of level TRACE, so that nobody hears them who does not ask for them.
pub const SPANS: &str = "millrace_spans";
