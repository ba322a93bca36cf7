//! `branch`: which of the tasks after it go on.

use millrace_model::choice::Choice;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::parameter::{OneOrMany, rendered};
use crate::parts::truth::Truth;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Branch>("branch", "chooses which of the tasks directly after it go on").chooses();

/// Chooses which of the tasks directly after it go on: those of the first way whose condition is true, else those of
/// `otherwise`. The others directly after it are skipped at once; what comes after those follows by its trigger rule, so
/// that a task which joins the ways needs `none_failed_min_one_success`. Teardowns are never skipped.
///
/// A condition is `true` or `false`, or a template. A rendered text is false when it is empty, or `false`, `no`, `off`,
/// `none`, `null`, `[]`, `{}` or a number that is 0 (in any case, blanks aside); every other text is true.
///
/// The choice is kept: clearing a task that was skipped skips it again, and clearing the branch too chooses anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The ways, asked in this order.
    choose: Vec<Way>,
    /// The tasks (or groups) to follow when no condition is true. Left out: none.
    #[serde(default)]
    otherwise: OneOrMany,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Way {
    /// The condition.
    when: Template<Truth>,
    /// The tasks, or groups, directly after this one that go on.
    follow: OneOrMany,
}

impl Operator for Branch {
    fn check(&self, problems: &mut Problems) {
        if self.choose.is_empty() {
            problems.add("choose", "there is no way to choose");
        }
    }

    fn follows(&self) -> Vec<(String, String)> {
        let ways =
            self.choose.iter().flat_map(|way| way.follow.0.iter().map(|name| ("choose".to_owned(), name.clone())));
        ways.chain(self.otherwise.0.iter().map(|name| ("otherwise".to_owned(), name.clone()))).collect()
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async {
            let mut followed = None;
            for (index, way) in self.choose.iter().enumerate() {
                if rendered(&format!("choose[{index}].when"), &way.when)?.0 {
                    followed = Some(&way.follow.0);
                    break;
                }
            }
            let names = followed.unwrap_or(&self.otherwise.0).clone();
            match names.as_slice() {
                [] => context.info("no condition is true: nothing after it is followed"),
                names => context.info(format!("follows {}", names.join(", "))),
            }
            Ok(Outcome { result: Some(json!(names)), choice: Some(Choice::Follow(names)) })
        })
    }
}
