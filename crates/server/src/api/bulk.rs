//! Many at once: DAGs paused, runs and tasks changed, variables, pools and connections made, changed and deleted. What
//! fails is told beside what did not: one bad entry does not keep the others from being done.

mod history;

use axum::Json;
use axum::extract::State;
use millrace_settings::ConnectionForm;
use millrace_settings::mask::MASK;
use millrace_store::{DagFilter, DagRow, PoolRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::connections::{ConnectionBody, MEMBERS as CONNECTION_MEMBERS, form_of};
use super::dags::{Dag, MEMBERS as DAG_MEMBERS, PatchBody, dag_value};
use super::pools::{CreateBody as PoolBody, MEMBERS as POOL_MEMBERS};
use super::update_mask::UpdateMask;
use super::variables::{MEMBERS as VARIABLE_MEMBERS, VariableBody};
use super::{Given, Whole, body};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) use self::history::{ClearRunsBody, ClearedRuns, InstanceEntity, RunEntity, clear_runs, instances, runs};

/// More entries than these come in several requests.
const MOST: usize = 1000;

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum What {
    Create,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Existing {
    #[default]
    Fail,
    Skip,
    Overwrite,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Missing {
    #[default]
    Fail,
    Skip,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Action<T> {
    action: What,
    /// Whole ones; for `delete`, their names.
    entities: Vec<Entity<Whole<T>>>,
    /// Of `create`.
    #[serde(default)]
    action_on_existence: Existing,
    /// Of `update` and `delete`.
    #[serde(default)]
    action_on_non_existence: Missing,
    /// Of `update`: change only these members of the entities.
    #[serde(default)]
    update_mask: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Entity<T> {
    Name(String),
    Whole(T),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bulk{T}")]
pub(super) struct BulkBody<T> {
    actions: Vec<Whole<Action<T>>>,
}

impl<T> BulkBody<T> {
    fn check_count(&self) -> Answer<()> {
        let count: usize = self.actions.iter().map(|Whole(action)| action.entities.len()).sum();
        if count > MOST {
            return Err(Problem::invalid(format!("{count} entities are too many; send {MOST} at the most")));
        }
        Ok(())
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct BulkError {
    name: String,
    status_code: u16,
    error: String,
}

impl BulkError {
    fn new(name: String, problem: Problem) -> Self {
        Self { name, status_code: problem.status().as_u16(), error: problem.detail }
    }
}

#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct BulkResult {
    success: Vec<String>,
    errors: Vec<BulkError>,
}

impl BulkResult {
    /// Whether something was done to this one, or why it could not be.
    fn note(&mut self, name: String, done: Answer<bool>) {
        match done {
            Ok(true) => self.success.push(name),
            Ok(false) => {}
            Err(problem) => self.errors.push(BulkError::new(name, problem)),
        }
    }
}

#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct BulkAnswer {
    create: BulkResult,
    update: BulkResult,
    delete: BulkResult,
}

/// One thing that has a name, and may be there.
trait Named: Sized + Send {
    /// Those that a mask may name.
    const MEMBERS: &'static [&'static str];
    fn name(&self) -> String;
    /// The same, with what is there now where a member was not sent or the mask does not name it.
    fn merged(self, server: &Server, mask: &UpdateMask) -> impl Future<Output = Answer<Self>> + Send;
    fn exists(server: &Server, name: &str) -> impl Future<Output = Answer<bool>> + Send;
    fn put(self, server: &Server, person: &Person) -> impl Future<Output = Answer<()>> + Send;
    fn delete(server: &Server, person: &Person, name: &str) -> impl Future<Output = Answer<()>> + Send;
}

async fn all<T: Named>(server: &Server, person: &Person, bulk: BulkBody<T>) -> Answer<BulkAnswer> {
    bulk.check_count()?;
    let mut answer = BulkAnswer::default();
    let mask = |names: Option<Vec<String>>| UpdateMask::among(names.unwrap_or_default(), T::MEMBERS);
    for Whole(action) in &bulk.actions {
        mask(action.update_mask.clone())?;
    }
    for Whole(action) in bulk.actions {
        let mask = mask(action.update_mask)?;
        let result = match action.action {
            What::Create => &mut answer.create,
            What::Update => &mut answer.update,
            What::Delete => &mut answer.delete,
        };
        for entity in action.entities {
            let (name, whole) = match entity {
                Entity::Name(name) => (name, None),
                Entity::Whole(Whole(whole)) => (whole.name(), Some(whole)),
            };
            let how = (action.action, action.action_on_existence, action.action_on_non_existence);
            let done = one(server, person, how, &mask, (&name, whole)).await;
            result.note(name, done);
        }
    }
    Ok(answer)
}

/// Whether something was done.
async fn one<T: Named>(
    server: &Server,
    person: &Person,
    (what, existing, missing): (What, Existing, Missing),
    mask: &UpdateMask,
    (name, whole): (&str, Option<T>),
) -> Answer<bool> {
    use millrace_model::error_code::ErrorCode;
    let exists = T::exists(server, name).await?;
    match (what, whole) {
        (What::Update | What::Delete, _) if !exists && missing == Missing::Skip => return Ok(false),
        (What::Delete, _) => T::delete(server, person, name).await?,
        (What::Create | What::Update, None) => {
            return Err(Problem::invalid(format!("'{name}' is only a name; send the whole entity")));
        }
        (What::Create, Some(_)) if exists && existing == Existing::Skip => return Ok(false),
        (What::Create, Some(_)) if exists && existing == Existing::Fail => {
            return Err(Problem::new(ErrorCode::CONFLICT, format!("there is '{name}' already")));
        }
        (What::Update, Some(_)) if !exists => {
            return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no '{name}'")));
        }
        (What::Update, Some(whole)) => whole.merged(server, mask).await?.put(server, person).await?,
        (What::Create, Some(whole)) => whole.put(server, person).await?,
    }
    Ok(true)
}

impl Named for VariableBody {
    const MEMBERS: &'static [&'static str] = VARIABLE_MEMBERS;

    async fn merged(self, _server: &Server, mask: &UpdateMask) -> Answer<Self> {
        let value = mask.kept("value", Some(self.value)).unwrap_or_else(|| MASK.to_owned());
        // What is not named stays.
        Ok(Self { key: self.key, value, description: mask.kept("description", self.description) })
    }

    fn name(&self) -> String {
        self.key.clone()
    }

    async fn exists(server: &Server, name: &str) -> Answer<bool> {
        Ok(server.options.vault.variable(name).await?.is_some())
    }

    async fn put(self, server: &Server, person: &Person) -> Answer<()> {
        server.put_variable(person, &self).await
    }

    async fn delete(server: &Server, person: &Person, name: &str) -> Answer<()> {
        server.delete_variable(person, name).await
    }
}

impl Named for PoolBody {
    const MEMBERS: &'static [&'static str] = POOL_MEMBERS;

    async fn merged(self, server: &Server, mask: &UpdateMask) -> Answer<Self> {
        let before = server.pool(&self.name).await?;
        let include_deferred = mask.kept("include_deferred", self.include_deferred);
        Ok(Self {
            slots: if mask.keeps("slots") { self.slots } else { before.slots },
            description: mask.kept("description", self.description).or(before.description),
            include_deferred: include_deferred.or(Some(before.include_deferred)),
            name: self.name,
        })
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    async fn exists(server: &Server, name: &str) -> Answer<bool> {
        Ok(server.store().pools().await?.iter().any(|row| row.name == name))
    }

    async fn put(self, server: &Server, person: &Person) -> Answer<()> {
        server.put_pool(person, &PoolRow::from(self)).await
    }

    async fn delete(server: &Server, person: &Person, name: &str) -> Answer<()> {
        server.delete_pool(person, name).await
    }
}

/// A connection as it is sent.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct ConnectionEntity(Map<String, Value>);

impl JsonSchema for ConnectionEntity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        ConnectionBody::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ConnectionBody::json_schema(generator)
    }
}

impl ConnectionEntity {
    fn form(&self) -> Answer<ConnectionForm> {
        let mut fields = self.0.clone();
        fields.remove("connection_id");
        form_of(fields)
    }
}

impl Named for ConnectionEntity {
    const MEMBERS: &'static [&'static str] = CONNECTION_MEMBERS;

    async fn merged(self, server: &Server, mask: &UpdateMask) -> Answer<Self> {
        let before = server.named_connection(&self.name()).await?;
        // `***` keeps a secret.
        let Value::Object(mut merged) = before.form.to_masked_value() else {
            return Err(Problem::invalid("no object"));
        };
        merged.extend(self.0.into_iter().filter(|(name, _)| name == "connection_id" || mask.keeps(name)));
        Ok(Self(merged))
    }

    fn name(&self) -> String {
        self.0.get("connection_id").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    async fn exists(server: &Server, name: &str) -> Answer<bool> {
        Ok(server.options.vault.connection(name).await?.is_some())
    }

    async fn put(self, server: &Server, person: &Person) -> Answer<()> {
        server.put_connection(person, &self.name(), self.form()?).await
    }

    async fn delete(server: &Server, person: &Person, name: &str) -> Answer<()> {
        server.delete_connection(person, name).await
    }
}

pub(super) async fn variables(
    State(server): State<Shared>,
    person: Person,
    given: Given<BulkBody<VariableBody>>,
) -> Answer<Json<BulkAnswer>> {
    Ok(Json(all(&server, &person, body(given)?).await?))
}

pub(super) async fn pools(
    State(server): State<Shared>,
    person: Person,
    given: Given<BulkBody<PoolBody>>,
) -> Answer<Json<BulkAnswer>> {
    Ok(Json(all(&server, &person, body(given)?).await?))
}

pub(super) async fn connections(
    State(server): State<Shared>,
    person: Person,
    given: Given<BulkBody<ConnectionEntity>>,
) -> Answer<Json<BulkAnswer>> {
    let bulk = body(given)?;
    // What no connection can look like is refused before any is made, as with the others. Of one that is changed the type
    // is known already.
    for Whole(action) in &bulk.actions {
        for entity in &action.entities {
            if let Entity::Whole(Whole(ConnectionEntity(fields))) = entity {
                let mut fields = fields.clone();
                if matches!(action.action, What::Update) {
                    fields.entry("conn_type").or_insert_with(|| "http".into());
                }
                ConnectionEntity(fields).form()?;
            }
        }
    }
    Ok(Json(all(&server, &person, bulk).await?))
}

/// The DAGs that were paused or unpaused.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PausedDags {
    dags: Vec<Dag>,
    total_entries: u64,
}

/// Pauses or unpauses the DAGs that the parameters choose and that the person may pause; `dag_id_pattern=~` chooses all.
pub(super) async fn pause(
    State(server): State<Shared>,
    person: Person,
    parameters: Parameters,
    given: Given<PatchBody>,
) -> Answer<Json<PausedDags>> {
    let is_paused = body(given)?.is_paused;
    UpdateMask::of(&parameters, DAG_MEMBERS)?;
    let (pattern, tags) = (parameters.text("dag_id_pattern"), parameters.all("tags"));
    if pattern.is_none() && tags.is_empty() {
        return Err(Problem::invalid("choose DAGs with 'dag_id_pattern' or 'tags'; 'dag_id_pattern=~' means all"));
    }
    let filter = DagFilter {
        search: pattern.filter(|text| *text != "~").map(|text| text.trim_matches('%').to_owned()),
        is_paused: Some(!is_paused),
        ..DagFilter::default()
    };
    // Those of the state that they are to have stay as they are.
    let rows = match parameters.flag("paused")? {
        Some(paused) if paused == is_paused => Vec::new(),
        _ => server.store().dags(&filter).await?.rows,
    };
    let is_meant = |row: &DagRow| tags.is_empty() || tags.iter().any(|tag| row.dag.tags.iter().any(|own| own == tag));
    let mut changed = Vec::new();
    for row in rows.into_iter().filter(is_meant) {
        if person.may_on(Act::PauseDags, row.dag_id.as_str(), &row.dag.tags) {
            changed.push(dag_value(&server, &server.set_paused(&person, row.dag_id.as_str(), is_paused).await?));
        }
    }
    Ok(Json(PausedDags { total_entries: changed.len() as u64, dags: changed }))
}
