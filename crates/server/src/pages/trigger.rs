//! What is asked before a run is started by hand: a field for each of the DAG's params, by what their values are.

mod field;

use axum::Form as Typing;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use millrace_model::json_text::flaw;
use millrace_model::param::{self, Param};
use millrace_store::DagRow;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::head::Tab;
use crate::access::person::Person;
use crate::deeds::actions::TriggerBody;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::words::{fill, say, t};
use field::Field;

/// What the form asks besides the params.
#[derive(Debug, Default, Serialize)]
struct Typed {
    conf: String,
    logical_date: String,
    dag_run_id: String,
    note: String,
}

/// What is wrong, by the name of the field.
#[derive(Debug, Default, Serialize)]
struct Errors {
    conf: Option<String>,
    logical_date: Option<String>,
    dag_run_id: Option<String>,
    note: Option<String>,
    /// Of no field.
    form: Option<String>,
}

impl Errors {
    fn of(problem: &Problem) -> Self {
        let text = Some(crate::format::sentence(&say(&problem.detail)));
        match problem.extra.get("path").and_then(Value::as_str) {
            Some("conf") => Self { conf: text, ..Self::default() },
            Some("logical_date") => Self { logical_date: text, ..Self::default() },
            Some("dag_run_id") => Self { dag_run_id: text, ..Self::default() },
            Some("note") => Self { note: text, ..Self::default() },
            _ => Self { form: text, ..Self::default() },
        }
    }
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let fields = fields(&server, &row);
    let form = Form { row: &row, fields, typed: Typed::default(), errors: Errors::default() };
    server.trigger_form(&person, &Wishes::of(&headers), form).await
}

/// Queues the run; what does not fit is shown beside its field, with everything that was typed still there.
pub(super) async fn trigger(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    Typing(pairs): Typing<Vec<(String, String)>>,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let text = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let whole = |name: &str| text(name).unwrap_or_default().to_owned();
    let row = server.dag_row(&dag_id, 0).await?;
    let mut form = Form {
        row: &row,
        fields: fields(&server, &row),
        typed: Typed {
            conf: whole("conf"),
            logical_date: whole("logical_date"),
            dag_run_id: whole("dag_run_id"),
            note: whole("note"),
        },
        errors: Errors::default(),
    };
    // A bare button asks for no more than a run.
    let mut conf = if text("has_fields").is_some() { form.read(&text) } else { Map::new() };
    match form.typed.conf.trim() {
        "" => {}
        text => match serde_json::from_str(text) {
            Ok(Value::Object(_)) if flaw(text.as_bytes()).is_some() => {
                form.errors.conf = flaw(text.as_bytes()).map(|flaw| flaw.to_string());
            }
            Ok(Value::Object(given)) => conf.extend(given),
            Ok(_) => form.errors.conf = Some(t("Must be a JSON object.").to_owned()),
            Err(error) => {
                form.errors.conf =
                    Some(fill("The configuration is not JSON: {error}", &[("error", &error.to_string())]));
            }
        },
    }
    if form.errors.conf.is_some() || form.fields.iter().any(|field| field.error.is_some()) {
        return server.trigger_form(&person, &wishes, form).await;
    }
    let given = |text: &String| Some(text.clone()).filter(|text| !text.trim().is_empty());
    let body = TriggerBody {
        dag_run_id: given(&form.typed.dag_run_id),
        logical_date: given(&form.typed.logical_date),
        conf: (!conf.is_empty()).then_some(Value::Object(conf)),
        note: given(&form.typed.note),
    };
    match server.trigger(&person, &dag_id, body, None).await {
        Ok((run, dag, _)) => Ok(started(&dag, &links::run(&dag_id, run.run_id.as_str()), &wishes)),
        // Who may not, or what has failed inside, is no matter of the form.
        Err(problem) if ![StatusCode::UNPROCESSABLE_ENTITY, StatusCode::CONFLICT].contains(&problem.status()) => {
            Err(problem)
        }
        Err(problem) => {
            form.take(&problem);
            server.trigger_form(&person, &wishes, form).await
        }
    }
}

/// A script goes there itself.
fn started(dag: &DagRow, page: &str, wishes: &Wishes) -> Response {
    if !wishes.wants("form") {
        return Redirect::to(page).into_response();
    }
    let held = dag
        .is_paused
        .then(|| fill("{dag} is paused: the run starts when it no longer is.", &[("dag", dag.dag_id.as_str())]));
    Json(json!({ "page": page, "notice": held })).into_response()
}

fn fields(server: &Server, row: &DagRow) -> Vec<Field> {
    let zone = row.dag.timetable.timezone;
    let shown = server.masked_members(&param::defaults(&row.dag.params));
    let masker = server.masker_of_dag(&row.dag);
    let one = |(name, value): (&String, &Value)| {
        let said = masker.mask_value(value);
        field::field(name, Param::of(&said), shown.get(name).unwrap_or(&Value::Null), zone)
    };
    row.dag.params_in_order().map(one).collect()
}

struct Form<'a> {
    row: &'a DagRow,
    fields: Vec<Field>,
    typed: Typed,
    errors: Errors,
}

impl Form<'_> {
    /// The run's conf, as far as it could be read; each field keeps what was typed and says what is wrong with it.
    fn read<'t>(&mut self, text: &impl Fn(&str) -> Option<&'t str>) -> Map<String, Value> {
        let zone = self.row.dag.timetable.timezone;
        let mut conf = Map::new();
        for field in &mut self.fields {
            let Some(param) = self.row.dag.params.get(&field.name).map(Param::of) else { continue };
            let typed = text(&format!("param.{}", field.name));
            match field.read(typed, param, zone) {
                Ok(Some(value)) => drop(conf.insert(field.name.clone(), value)),
                Ok(None) => {}
                Err(fault) => field.error = Some(say(&fault.breach.to_string())),
            }
            typed.unwrap_or_default().clone_into(&mut field.value);
        }
        conf
    }

    /// Puts a refusal where it belongs.
    fn take(&mut self, problem: &Problem) {
        let named = problem.extra.get("errors").and_then(Value::as_array);
        let mut is_said = false;
        for error in named.into_iter().flatten() {
            let word = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = word("name").split('[').next().unwrap_or_default();
            if let Some(field) = self.fields.iter_mut().find(|field| field.name == name) {
                field.error = Some(say(word("message")));
                is_said = true;
            }
        }
        if !is_said {
            self.errors = Errors::of(problem);
        }
    }
}

impl Server {
    async fn trigger_form(&self, person: &Person, wishes: &Wishes, form: Form<'_>) -> Answer {
        let Form { row, fields, typed, errors } = form;
        let any = fields.iter().any(|field| field.error.is_some())
            || [&errors.conf, &errors.logical_date, &errors.dag_run_id, &errors.note, &errors.form]
                .into_iter()
                .any(Option::is_some);
        let zone = row.dag.timetable.timezone.name();
        let values = values! { dag => self.dag_head(row, Tab::Grid), fields, typed, errors, any, zone };
        let template = if wishes.wants("form") { "parts/trigger_form.html" } else { "trigger.html" };
        let page = self.page(template, Some(person), wishes, values).await?;
        let status = if any { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        Ok((status, page).into_response())
    }
}
