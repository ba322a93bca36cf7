//! Webhooks: made, listed and revoked by people; delivered to by other systems.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use millrace_store::{WebhookRow, WebhookTarget};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Given, Instant, body, cut, instant, listed, optional};
use crate::access::client::Client;
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::doors::Doors;
use crate::links;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;
use crate::webhooks::{Delivered, WebhookWish};

pub(super) fn doors() -> Doors {
    let whose = "Somebody else's, or ~ for everybody's";
    super::under()
        .get("/webhooks", Act::WriteWebhooks, list)
        .does(op("List webhooks").page().query("username", Kind::Text, whose).gives::<Webhooks>())
        .post("/webhooks", Act::WriteWebhooks, create)
        .does(op("Make a webhook; its secret is told once").takes::<WebhookBody>().creates::<Webhook>())
        .get("/webhooks/{name}", Act::WriteWebhooks, get)
        .does(op("Show a webhook").gives::<Webhook>())
        .delete("/webhooks/{name}", Act::WriteWebhooks, revoke)
        .does(op("End a webhook").gives_nothing())
        // Who knows the webhook's secret needs no other right.
        .post("/webhooks/{name}", Access::Open, deliver)
        .does(
            op("Deliver to a webhook: start its run, or tell of its asset")
                .header("Authorization", "Bearer and the secret of the webhook; or a signature")
                .header(
                    "X-Hub-Signature-256",
                    "sha256= and the HMAC-SHA256 of the body under the secret, in hexadecimal",
                )
                .header(
                    "X-Millrace-Timestamp",
                    "When it was signed, in seconds since 1970: the signature is that of time.delivery.body then",
                )
                .header("X-Millrace-Delivery", "The same delivery again within a day: the same run")
                .takes::<Map<String, Value>>()
                .gives::<Delivery>(),
        )
}

listed!(Webhooks { webhooks: Webhook });

/// For a DAG or for an asset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    name: String,
    /// A delivery starts a run of it.
    #[serde(default)]
    dag_id: Option<String>,
    /// A delivery says that it is up to date.
    #[serde(default)]
    asset: Option<String>,
    #[serde(default)]
    expires_in_days: Option<u32>,
    /// Somebody else's rights, for who manages people.
    #[serde(default)]
    username: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Webhook {
    name: String,
    username: String,
    dag_id: Option<String>,
    asset: Option<String>,
    /// Where deliveries go.
    href: String,
    created_at: Instant,
    expires_at: Option<Instant>,
    last_used_at: Option<Instant>,
    /// Once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// What a delivery did.
#[derive(Serialize, JsonSchema)]
struct Delivery {
    webhook: String,
    dag_id: Option<String>,
    dag_run_id: Option<String>,
    /// Of the run.
    href: Option<String>,
    asset_event_id: Option<i64>,
    /// It came before, within a day, and did this then.
    repeated: bool,
}

fn webhook_value(row: &WebhookRow) -> Webhook {
    Webhook {
        name: row.name.clone(),
        username: row.user_name.clone(),
        dag_id: row.target.dag_id().map(str::to_owned),
        asset: row.target.asset().map(str::to_owned),
        href: links::api_webhook(&row.name),
        created_at: instant(row.created_at),
        expires_at: optional(row.expires_at),
        last_used_at: optional(row.last_used_at),
        secret: None,
    }
}

async fn list(State(server): State<Shared>, person: Person, parameters: Parameters) -> Answer<Json<Webhooks>> {
    let page = parameters.page()?;
    let wanted = parameters.text("username").unwrap_or(&person.name);
    if wanted != person.name {
        person.require(Act::ManagePeople)?;
    }
    let rows = server.store().webhooks(Some(wanted).filter(|name| *name != "~")).await?;
    let (rows, total_entries) = cut(rows, page);
    Ok(Json(Webhooks { webhooks: rows.iter().map(webhook_value).collect(), total_entries }))
}

async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<WebhookBody>,
) -> Answer<(StatusCode, Json<Webhook>)> {
    let given = body(given)?;
    let target = match (given.dag_id, given.asset) {
        (Some(dag_id), None) => WebhookTarget::Dag(dag_id),
        (None, Some(asset)) => WebhookTarget::Asset(asset),
        _ => return Err(Problem::invalid("send 'dag_id' or 'asset', one of them")),
    };
    let wish = WebhookWish { name: given.name, user_name: given.username, target, days: given.expires_in_days };
    let (secret, row) = server.add_webhook(&person, wish).await?;
    let mut value = webhook_value(&row);
    value.secret = Some(secret);
    Ok((StatusCode::CREATED, Json(value)))
}

async fn get(State(server): State<Shared>, person: Person, Path(name): Path<String>) -> Answer<Json<Webhook>> {
    Ok(Json(webhook_value(&server.webhook_of(&person, &name).await?)))
}

async fn revoke(State(server): State<Shared>, person: Person, Path(name): Path<String>) -> Answer<StatusCode> {
    server.revoke_webhook(&person, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deliver(
    State(server): State<Shared>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Json<Delivery>> {
    let done = server.deliver(client.address, &name, &headers, &body).await?;
    let nothing =
        Delivery { webhook: name, dag_id: None, dag_run_id: None, href: None, asset_event_id: None, repeated: false };
    Ok(Json(match done {
        Delivered::Run { run, is_repeated } => Delivery {
            repeated: is_repeated,
            href: Some(links::api_run(run.dag_id.as_str(), run.run_id.as_str())),
            dag_id: Some(run.dag_id.as_str().to_owned()),
            dag_run_id: Some(run.run_id.as_str().to_owned()),
            ..nothing
        },
        Delivered::Event(event) => {
            Delivery { repeated: event.is_none(), asset_event_id: event.map(|event| event.id), ..nothing }
        }
    }))
}
