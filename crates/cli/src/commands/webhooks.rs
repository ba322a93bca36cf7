//! `millrace webhooks …`

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::{WebhookRow, WebhookTarget};
use millrace_vault::NewWebhook;
use serde::Serialize;

use crate::app::App;
use crate::args::{WebhookCreateArgs, WebhooksCommand};
use crate::output::{notice, print_list, print_one};

const ACTOR: &str = "cli";

#[derive(Serialize)]
struct WebhookView {
    name: String,
    user: String,
    dag_id: Option<String>,
    asset: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<WebhookRow> for WebhookView {
    fn from(row: WebhookRow) -> Self {
        let (dag_id, asset) = match row.target {
            WebhookTarget::Dag(dag_id) => (Some(dag_id), None),
            WebhookTarget::Asset(asset) => (None, Some(asset)),
        };
        Self {
            name: row.name,
            user: row.user_name,
            dag_id,
            asset,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

pub async fn run(app: &App, command: WebhooksCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        WebhooksCommand::List { user } => {
            let rows = store.webhooks(user.as_deref()).await?;
            let views: Vec<WebhookView> = rows.into_iter().map(WebhookView::from).collect();
            print_list(app.format, &["name", "user", "dag_id", "asset", "expires_at", "last_used_at"], &views)
        }
        WebhooksCommand::Create(args) => create(app, args).await,
        WebhooksCommand::Revoke { name } => {
            if !store.delete_webhook(&name, ACTOR, app.now()).await? {
                bail!("there is no webhook '{name}'; `millrace webhooks list` shows those that exist");
            }
            notice(format!("the webhook '{name}' has ended"));
            Ok(())
        }
    }
}

async fn create(app: &App, args: WebhookCreateArgs) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Made {
        secret: String,
        address: String,
        #[serde(flatten)]
        view: WebhookView,
    }
    let store = app.store().await?;
    let WebhookCreateArgs { user, name, dag, asset, days } = args;
    if let Some(dag_id) = &dag
        && store.dag(dag_id, 0).await?.is_none()
    {
        bail!("there is no DAG '{dag_id}'; `millrace dags list` shows those that exist");
    }
    if let Some(asset) = &asset
        && !store.assets().await?.iter().any(|row| row.asset.as_str() == asset)
    {
        bail!("no DAG has to do with an asset '{asset}'; `millrace assets list` shows those that exist");
    }
    let target = match (dag, asset) {
        (Some(dag_id), _) => WebhookTarget::Dag(dag_id),
        (None, asset) => WebhookTarget::Asset(asset.unwrap_or_default()),
    };
    let expires_at = Some(app.now() + TimeDelta::days(days.into()));
    let new = NewWebhook { name, user_name: user, target, expires_at };
    let (secret, row) = app.vault(&store)?.add_webhook(new, ACTOR, app.now()).await?;
    notice("the secret is shown this once; send it as `Authorization: Bearer mrw_…`, or sign the body with it");
    let address = format!("/api/v1/webhooks/{}", row.name);
    print_one(app.format, &Made { secret, address, view: row.into() })
}
