//! `wait_for_file`: until a file is there.

use std::path::Path;

use millrace_operator_api::{
    BoxFuture, Operator, OperatorEntry, Outcome, PortErrorKind, Problems, TaskContext, TaskError,
};
use millrace_template::Template;
use serde_json::json;

use crate::parts::parameter::{rendered_text, written};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::sensor::{Look, sensor};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<WaitForFile>("wait_for_file", "waits until a file of the machine is there")
        .aliases(&["FileSensor"])
        .parameter_aliases(&[("filepath", "path")]);

sensor! {
    /// Waits until a file of the machine is there, without holding a slot. The result is its path and size.
    pub struct WaitForFile {
        /// The absolute path.
        path: Template<String>,
    }
}

impl Operator for WaitForFile {
    fn check(&self, problems: &mut Problems) {
        self.patience().check(problems);
        if written(&self.path).is_some_and(|path| !Path::new(&path).is_absolute()) {
            problems.add("path", "path must be absolute");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl WaitForFile {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let path = rendered_text("path", &self.path)?;
        let scratch = context.ports.scratch();
        let found = unless_cancelled(context, async {
            match scratch.read_outside(Path::new(&path)).await {
                Ok((file, _)) => Ok(Look::Found(Some(json!({ "path": path, "size": file.size })))),
                Err(error) if error.kind == PortErrorKind::NotFound => Ok(Look::NotYet(format!("{path} is not there"))),
                Err(error) => Err(while_doing(&format!("looking for {path}"), error)),
            }
        });
        self.patience().decide(context, found.await?)
    }
}
