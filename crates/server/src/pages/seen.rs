//! Forms bring along which version of a thing they were drawn from: of two who change what both of them saw, the second is
//! told, and a form for a new thing replaces none that is there.

use millrace_model::error_code::ErrorCode;

use crate::problem::{Answer, Problem};

/// `seen` is what the form brought, empty for a new thing; `now` is the version that is there. `kind` and `name` say what
/// it is.
pub(super) fn check_seen(seen: &str, now: Option<&str>, kind: &str, name: &str) -> Answer<()> {
    let text = match (seen, now) {
        ("", None) => return Ok(()),
        ("", Some(_)) => format!("there is a {kind} '{name}' already"),
        (seen, Some(now)) if seen == now => return Ok(()),
        (_, Some(_)) => format!("the {kind} '{name}' was changed meanwhile; look at what it is now, then change it"),
        (_, None) => format!("the {kind} '{name}' was deleted meanwhile"),
    };
    Err(Problem::new(ErrorCode::CONFLICT, text))
}
