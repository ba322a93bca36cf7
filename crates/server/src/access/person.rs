//! Who asks, and what they may.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use chrono::{DateTime, Utc};
use http::request::Parts;
use millrace_model::error_code::ErrorCode;
use millrace_model::instant::format_utc_micros;
use millrace_store::Granted;

use crate::access::permission::{Act, Role, Scope};
use crate::problem::{Answer, Problem};
use crate::server::Server;

/// How the person proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    Basic,
    Bearer,
    /// The row of the session.
    Session(i64),
    /// The name of the webhook.
    Webhook(String),
}

/// A role for one DAG or for all with a tag.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub of: Granted,
    pub role: Role,
}

#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub name: String,
    /// Everywhere.
    pub role: Role,
    pub grants: Arc<[Grant]>,
    /// Of the token, if it was one.
    pub scope: Scope,
    pub via: Via,
    /// When the token ends, if it was one.
    pub until: Option<DateTime<Utc>>,
    /// Keys the tokens of forms.
    pub form_key: [u8; 32],
}

impl Person {
    /// For the audit log.
    pub fn actor(&self) -> String {
        match &self.via {
            Via::Webhook(name) => format!("webhook:{name}"),
            Via::Session(_) => format!("web:{}", self.name),
            Via::Basic | Via::Bearer => format!("rest:{}", self.name),
        }
    }

    /// To whatever there is.
    pub fn may(&self, act: Act) -> bool {
        self.role >= act.least() && self.scope.allows(act)
    }

    /// To at least one DAG.
    pub fn may_somewhere(&self, act: Act) -> bool {
        let by_grant = || act.is_of_dag() && self.grants.iter().any(|grant| grant.role >= act.least());
        self.scope.allows(act) && (self.role >= act.least() || by_grant())
    }

    pub fn may_on(&self, act: Act, dag_id: &str, tags: &[String]) -> bool {
        let is_meant = |grant: &&Grant| match &grant.of {
            Granted::Dag(granted) => granted == dag_id,
            Granted::Tag(tag) => tags.contains(tag),
        };
        let by_grant = || act.is_of_dag() && self.grants.iter().filter(is_meant).any(|it| it.role >= act.least());
        self.scope.allows(act) && (self.role >= act.least() || by_grant())
    }

    pub fn require(&self, act: Act) -> Answer<()> {
        if self.may(act) { Ok(()) } else { Err(self.refused(act)) }
    }

    /// A token makes nothing that lets its holder in when it has ended itself.
    pub fn check_ends(&self, ends: DateTime<Utc>) -> Answer<()> {
        match self.until {
            Some(until) if ends > until => {
                let text = format!(
                    "a token makes nothing that ends after itself ({}); ask for fewer days, or sign in with the password",
                    format_utc_micros(until)
                );
                Err(Problem::new(ErrorCode::FORBIDDEN, text))
            }
            _ => Ok(()),
        }
    }

    pub fn refused(&self, act: Act) -> Problem {
        let text = if self.scope.allows(act) {
            format!(
                "the user {} has the role {}; what was asked for ({}) takes the role {}",
                self.name,
                self.role,
                act.describe(),
                act.least()
            )
        } else {
            format!("the token's scope does not allow {} ({})", act.name(), act.describe())
        };
        Problem::new(ErrorCode::FORBIDDEN, text).with("act", act.name().into())
    }

    /// Says of which DAG: of several that were asked for, another one may be allowed.
    fn refused_on(&self, act: Act, dag_id: &str) -> Problem {
        let problem = self.refused(act);
        Problem { detail: format!("DAG {dag_id}: {}", problem.detail), ..problem }
    }
}

impl Server {
    /// Whether this person may do this to this DAG; a DAG that there isn't is nobody's by a tag.
    pub async fn require_on(&self, person: &Person, act: Act, dag_id: &str) -> Answer<()> {
        if person.may(act) {
            return Ok(());
        }
        if !person.may_somewhere(act) {
            return Err(person.refused(act));
        }
        let row = self.store().dag(dag_id, 0).await?;
        let tags = row.map(|row| row.dag.tags.clone()).unwrap_or_default();
        if person.may_on(act, dag_id, &tags) { Ok(()) } else { Err(person.refused_on(act, dag_id)) }
    }

    /// Those of these DAGs whose runs this person may change.
    pub async fn dags_to_change(
        &self,
        person: &Person,
        dag_ids: impl Iterator<Item = &str>,
    ) -> Answer<BTreeSet<String>> {
        let dag_ids: BTreeSet<&str> = dag_ids.collect();
        let mut found = BTreeSet::new();
        for dag_id in dag_ids {
            match self.require_on(person, Act::ChangeRuns, dag_id).await {
                Ok(()) => drop(found.insert(dag_id.to_owned())),
                Err(problem) if problem.code == ErrorCode::FORBIDDEN => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // The guard lets nobody pass without one.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::new(ErrorCode::UNAUTHENTICATED, "sign in first"))
    }
}

#[cfg(test)]
pub(crate) fn tests_person(role: Role) -> Person {
    Person {
        name: "a".to_owned(),
        role,
        grants: Arc::new([]),
        scope: Scope::All,
        via: Via::Basic,
        until: None,
        form_key: [1; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_holds_for_its_dag_or_tag_only() {
        let mut person = tests_person(Role::Viewer);
        person.grants = Arc::new([
            Grant { of: Granted::Dag("mine".to_owned()), role: Role::Operator },
            Grant { of: Granted::Tag("finance".to_owned()), role: Role::Admin },
        ]);
        let finance = ["finance".to_owned()];
        assert!(person.may_on(Act::TriggerRuns, "mine", &[]));
        assert!(person.may_on(Act::TriggerRuns, "other", &finance));
        assert!(!person.may_on(Act::TriggerRuns, "other", &[]));
        assert!(!person.may(Act::TriggerRuns) && person.may_somewhere(Act::TriggerRuns));
        assert!(!person.may_on(Act::ManagePeople, "other", &finance), "no grant reaches what is of no DAG");
        person.scope = Scope::parse("viewer").unwrap();
        assert!(!person.may_on(Act::TriggerRuns, "mine", &[]), "nor beyond the token's scope");
    }
}
