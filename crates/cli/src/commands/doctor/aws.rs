//! `millrace doctor aws`: tries what DAGs use of AWS, and says what they must be allowed.

mod policy;
mod uses;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use millrace_connectors::{Connectors, aws_identity};
use millrace_operator_api::connection::Connection;
use millrace_vault::{Vault, to_port_connection};
use serde_json::json;

use super::{Report, Status};
use crate::app::App;
use crate::dag_files;
use crate::output::{Format, notice, print_list, print_one, print_text};
use policy::{Grants, Policy};
use uses::{Objects, Uses};

pub(super) async fn run(app: &App, dag_id: Option<&str>) -> anyhow::Result<()> {
    let mut report = Report::default();
    let mut uses = used(app, dag_id, &mut report)?;
    let store = app.store_read_only().await?;
    let vault = app.vault_read_only(store.clone())?;
    let mut connections = connections(&vault, &uses.connections, &mut report).await;
    let stores = uses.add_staging(|conn_id| {
        let known = connections.get(conn_id).filter(|known| known.conn_type.eq_ignore_ascii_case("redshift"))?;
        Some((known.extra.text("s3_staging")?.to_owned(), known.extra.text("s3_conn_id")?.to_owned()))
    });
    let missing: BTreeSet<String> = stores.into_iter().filter(|conn_id| !connections.contains_key(conn_id)).collect();
    connections.extend(self::connections(&vault, &missing, &mut report).await);
    uses.add_own_objects(|conn_id| {
        connections.get(conn_id).is_some_and(|known| known.conn_type.eq_ignore_ascii_case("redshift"))
    });
    let mut policies = Vec::new();
    for (conn_id, connection) in &connections {
        match connection.conn_type.to_ascii_lowercase().as_str() {
            "aws" | "s3" => {
                let objects = uses.objects.get(conn_id);
                look_at_s3(app, connection, objects, &mut report).await;
                let mut grants = Grants::default();
                if let Some(objects) = objects {
                    grants.objects(objects, connection);
                }
                add(&mut policies, connection, grants);
            }
            "redshift" => {
                look_at_redshift(app, connection, &mut report).await;
                redshift_policies(connection, &uses, &connections, &mut policies);
            }
            _ if connection.extra.flag("iam") => {
                reach(app, connection, "database", &mut report).await;
                let mut grants = Grants::default();
                grants.rds(connection);
                add(&mut policies, connection, grants);
            }
            _ => {}
        }
    }
    if let Some(store) = store {
        store.close().await;
    }
    if policies.is_empty() && report.checks.is_empty() {
        report.ok("dags", "nothing of AWS is used");
    }
    conclude(app.format, &report, &policies)
}

fn used(app: &App, dag_id: Option<&str>, report: &mut Report) -> anyhow::Result<Uses> {
    let mut uses = Uses::default();
    match dag_id {
        Some(dag_id) => uses.add(&dag_files::find_in_files(app, dag_id)?),
        None => {
            for file in dag_files::check(app, &[], None)? {
                if file.has_errors() {
                    let what = format!("{} can't be used, and is left out here", file.path().display());
                    report.fail("dags", what, "`millrace validate` says why");
                    continue;
                }
                file.dags().iter().for_each(|dag| uses.add(dag));
            }
        }
    }
    if !uses.unknown.is_empty() {
        let what = format!("the connection is known at run time only: {}", uses.unknown.join(", "));
        report.warn("connections", what, "name it as it is, so that it can be looked at");
    }
    Ok(uses)
}

async fn connections(vault: &Vault, wanted: &BTreeSet<String>, report: &mut Report) -> BTreeMap<String, Connection> {
    let mut found = BTreeMap::new();
    for conn_id in wanted {
        match vault.connection(conn_id).await {
            Ok(Some(named)) => {
                found.insert(conn_id.clone(), to_port_connection(named));
            }
            Ok(None) => {
                let mend = format!("millrace connections add {conn_id}");
                report.fail("connections", format!("there is no connection {conn_id}"), mend);
            }
            Err(error) => report.fail("connections", error.to_string(), "set the connection again"),
        }
    }
    found
}

/// Whose the credentials are; false when there are none that are accepted.
async fn look_at_identity(app: &App, connection: &Connection, report: &mut Report) -> bool {
    let conn_id = &connection.conn_id;
    match aws_identity(connection).await {
        Ok(found) => {
            let whose = found.arn.unwrap_or_else(|| "credentials are there; its endpoint has no STS to ask".to_owned());
            report.ok("credentials", format!("{conn_id}: {whose}, region {}", found.region));
            true
        }
        Err(error) => {
            let mend = format!("set keys, a profile or a role_arn that may be taken in connection {conn_id}");
            report.fail("credentials", app.masker.mask(&error.to_string()), mend);
            false
        }
    }
}

async fn look_at_s3(app: &App, connection: &Connection, objects: Option<&Objects>, report: &mut Report) {
    if !look_at_identity(app, connection, report).await {
        return;
    }
    for place in objects.into_iter().flat_map(|objects| objects.needs.keys()) {
        let address = format!("s3://{}/{}", place.bucket, place.key);
        if place.bucket.contains('*') {
            let what = format!("{}: the bucket of {address} is known at run time only", connection.conn_id);
            report.warn(
                "bucket",
                what,
                "name the bucket as it is, or by a default of params: the policy allows it all",
            );
            continue;
        }
        // Nothing for what is not known, so that a policy for the pattern allows it.
        let prefix = place.key.replace('*', "");
        match Connectors::test_bucket(connection, &place.bucket, &prefix).await {
            Ok(()) => report.ok("bucket", format!("{}: {address} can be listed", connection.conn_id)),
            Err(error) => {
                let mend = "make the bucket, or give the identity the policy that is printed here";
                report.fail("bucket", app.masker.mask(&error.to_string()), mend);
            }
        }
    }
}

async fn look_at_redshift(app: &App, connection: &Connection, report: &mut Report) {
    if !is_data_api(connection) || look_at_identity(app, connection, report).await {
        reach(app, connection, "redshift", report).await;
    }
}

async fn reach(app: &App, connection: &Connection, area: &'static str, report: &mut Report) {
    let conn_id = &connection.conn_id;
    match Connectors::test(connection).await {
        Ok(text) => report.ok(area, app.masker.mask(&format!("{conn_id}: {text}"))),
        Err(error) => {
            let what = app.masker.mask(&format!("{conn_id}: {error}"));
            report.fail(area, what, format!("`millrace connections get {conn_id}` shows it"));
        }
    }
}

fn is_data_api(connection: &Connection) -> bool {
    let extra = &connection.extra;
    extra.text("mode") != Some("wire")
        && (extra.text("cluster_identifier").is_some() || extra.text("workgroup_name").is_some())
}

/// What the sender of statements needs, and what whoever the warehouse reads S3 as needs.
fn redshift_policies(
    connection: &Connection,
    uses: &Uses,
    connections: &BTreeMap<String, Connection>,
    policies: &mut Vec<Policy>,
) {
    let conn_id = &connection.conn_id;
    let (mut sends, mut loads) = (Grants::default(), Grants::default());
    if is_data_api(connection) {
        sends.data_api(connection);
    }
    for (aws, objects) in uses.of_warehouse(conn_id) {
        if let Some(aws) = connections.get(aws) {
            loads.objects(objects, aws);
        }
    }
    add(policies, connection, sends);
    if loads.is_empty() {
        return;
    }
    let extra = &connection.extra;
    let role = ["iam_role", "role_arn", "aws_iam_role"].iter().find_map(|name| extra.text(name));
    let of = match role {
        Some(role) if !role.eq_ignore_ascii_case("default") => {
            format!("the role {role}, which COPY and UNLOAD act with")
        }
        None if extra.text("aws_access_key_id").is_some() => "the keys that COPY and UNLOAD act with".to_owned(),
        _ => "the default role of the warehouse, which COPY and UNLOAD act with".to_owned(),
    };
    policies.push(Policy { of, connection: conn_id.clone(), policy: loads.policy() });
}

/// For the role of the connection, if it takes one; then its own credentials need no more than to take it.
fn add(policies: &mut Vec<Policy>, connection: &Connection, grants: Grants) {
    if grants.is_empty() {
        return;
    }
    let (conn_id, extra) = (connection.conn_id.clone(), &connection.extra);
    let is_redshift = connection.conn_type.eq_ignore_ascii_case("redshift");
    let role = extra.text("assume_role_arn").or_else(|| extra.text("role_arn").filter(|_| !is_redshift));
    let own = "its credentials".to_owned();
    let of = match role {
        Some(role) => {
            let mut takes = Grants::default();
            takes.assume(role);
            policies.push(Policy { of: own, connection: conn_id.clone(), policy: takes.policy() });
            format!("the role {role}")
        }
        None => own,
    };
    policies.push(Policy { of, connection: conn_id, policy: grants.policy() });
}

fn conclude(format: Format, report: &Report, policies: &[Policy]) -> anyhow::Result<()> {
    match format {
        Format::Json | Format::Yaml => print_one(format, &json!({"checks": report.checks, "policies": policies}))?,
        Format::Table | Format::Plain => {
            print_list(format, &["area", "status", "what", "mend"], &report.checks)?;
            for policy in policies {
                let text = serde_json::to_string_pretty(&policy.policy)?;
                print_text(&format!("\nConnection {}, {}:\n{text}", policy.connection, policy.of))?;
            }
        }
    }
    let said = format!(
        "{} broken, {} to look at, {} fine",
        report.count(Status::Fail),
        report.count(Status::Warn),
        report.count(Status::Ok)
    );
    if report.count(Status::Fail) > 0 {
        bail!("{said}");
    }
    notice(said);
    Ok(())
}
