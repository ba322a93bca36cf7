//! The least that a DAG must be allowed, as IAM policies: one for each identity that acts.

use std::collections::{BTreeMap, BTreeSet};

use millrace_operator_api::connection::Connection;
use millrace_operators::permissions::Need;
use serde::Serialize;
use serde_json::{Value, json};

use super::uses::Objects;

const READ: &[&str] = &["s3:GetObject"];
const WRITE: &[&str] = &["s3:AbortMultipartUpload", "s3:PutObject"];
const DELETE: &[&str] = &["s3:DeleteObject"];
const COPIED_FROM: &[&str] = &["s3:GetObjectTagging"];
const COPIED_TO: &[&str] = &["s3:PutObjectTagging"];
const SEND: &[&str] = &["redshift-data:BatchExecuteStatement", "redshift-data:ExecuteStatement"];
/// Of statements, which have no name of their own in policies.
const FOLLOW: &[&str] =
    &["redshift-data:CancelStatement", "redshift-data:DescribeStatement", "redshift-data:GetStatementResult"];

/// What an identity must be allowed.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "`policy` is what an account calls the document")]
pub(super) struct Policy {
    /// Whose it is, in words.
    pub of: String,
    pub connection: String,
    pub policy: Value,
}

/// Actions by resource and condition (JSON text; empty: none).
#[derive(Debug, Default)]
pub(super) struct Grants {
    allowed: BTreeMap<(String, String), BTreeSet<&'static str>>,
    /// Key patterns by bucket's resource and the account that it must belong to.
    listed: BTreeMap<(String, Option<String>), BTreeSet<String>>,
}

pub(super) fn region(connection: &Connection) -> String {
    let extra = &connection.extra;
    extra.text("region_name").or_else(|| extra.text("region")).unwrap_or("*").to_owned()
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

impl Grants {
    fn allow(&mut self, resource: impl Into<String>, condition: Option<&Value>, actions: &[&'static str]) {
        let condition = condition.map(ToString::to_string).unwrap_or_default();
        self.allowed.entry((resource.into(), condition)).or_default().extend(actions);
    }

    pub fn is_empty(&self) -> bool {
        self.allowed.is_empty() && self.listed.is_empty()
    }

    /// What is done with objects, and with the keys that they are encrypted with: that of `aws`, and those that are named
    /// where they are written. In buckets of the account that `aws` names only.
    pub fn objects(&mut self, objects: &Objects, aws: &Connection) {
        let region = region(aws);
        let arn = format!("arn:{}:s3:::", partition(&region));
        let owner = aws.extra.text("expected_bucket_owner").map(ToOwned::to_owned);
        let condition = owner.as_deref().map(of_account);
        for place in objects.needing(Need::List) {
            let bucket = (format!("{arn}{}", place.bucket), owner.clone());
            self.listed.entry(bucket).or_default().insert(place.key.clone());
        }
        let of = [
            (Need::Read, READ),
            (Need::Write, WRITE),
            (Need::Delete, DELETE),
            (Need::CopiedFrom, COPIED_FROM),
            (Need::CopiedTo, COPIED_TO),
        ];
        for (need, actions) in of {
            for place in objects.needing(need) {
                self.allow(format!("{arn}{}/{}", place.bucket, place.key), condition.as_ref(), actions);
            }
        }
        for key in aws.extra.text("kms_key_id").into_iter().chain(objects.keys.iter().map(String::as_str)) {
            self.key(key, &region, objects);
        }
    }

    fn key(&mut self, key: &str, region: &str, objects: &Objects) {
        let (resource, condition) = kms(key, region);
        if objects.needing(Need::Write).next().is_some() {
            // The parts of an upload are read again by the service when they are put together.
            self.allow(resource, condition.as_ref(), &["kms:Decrypt", "kms:GenerateDataKey"]);
        } else if objects.needing(Need::Read).next().is_some() {
            self.allow(resource, condition.as_ref(), &["kms:Decrypt"]);
        }
    }

    /// Statements by the Data API, and the database user they run as.
    pub fn data_api(&mut self, connection: &Connection) {
        let (extra, region) = (&connection.extra, region(connection));
        let arn = |rest: &str| format!("arn:{}:{rest}", partition(&region));
        let database = connection.schema.as_deref().unwrap_or("*");
        let secret = extra.text("secret_arn");
        // The resource of a workgroup holds its id, which the connection does not know.
        if let Some(cluster) = extra.text("cluster_identifier") {
            self.allow(arn(&format!("redshift:{region}:*:cluster:{cluster}")), None, SEND);
            let user = extra.text("db_user").or(connection.login.as_deref()).filter(|user| !user.is_empty());
            let named = arn(&format!("redshift:{region}:*:dbname:{cluster}/{database}"));
            match user {
                _ if secret.is_some() => {}
                Some(user) => {
                    let user = arn(&format!("redshift:{region}:*:dbuser:{cluster}/{user}"));
                    self.allow(user, None, &["redshift:GetClusterCredentials"]);
                    self.allow(named, None, &["redshift:GetClusterCredentials"]);
                }
                None => self.allow(named, None, &["redshift:GetClusterCredentialsWithIAM"]),
            }
        } else {
            let workgroup = arn(&format!("redshift-serverless:{region}:*:workgroup/*"));
            self.allow(workgroup.clone(), None, SEND);
            if secret.is_none() {
                self.allow(workgroup, None, &["redshift-serverless:GetCredentials"]);
            }
        }
        if let Some(secret) = secret {
            self.allow(secret, None, &["secretsmanager:GetSecretValue"]);
        }
        self.allow("*", None, FOLLOW);
    }

    /// Signing in to a database of RDS with a token.
    pub fn rds(&mut self, connection: &Connection) {
        let region = region(connection);
        let user = connection.login.as_deref().unwrap_or("*");
        self.allow(format!("arn:{}:rds-db:{region}:*:dbuser:*/{user}", partition(&region)), None, &["rds-db:connect"]);
    }

    pub fn assume(&mut self, role: &str) {
        self.allow(role, None, &["sts:AssumeRole"]);
    }

    pub fn policy(&self) -> Value {
        let mut statements = Vec::new();
        for ((bucket, owner), keys) in &self.listed {
            let mut statement = json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [bucket]});
            if let Some(owner) = owner {
                statement["Condition"] = of_account(owner);
            }
            if !keys.contains("*") {
                statement["Condition"]["StringLike"] = json!({"s3:prefix": keys});
            }
            statements.push(statement);
        }
        let mut grouped: BTreeMap<(&BTreeSet<&str>, &str), Vec<&str>> = BTreeMap::new();
        for ((resource, condition), actions) in &self.allowed {
            grouped.entry((actions, condition)).or_default().push(resource);
        }
        for ((actions, condition), resources) in grouped {
            let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resources});
            if let Ok(condition) = serde_json::from_str::<Value>(condition) {
                statement["Condition"] = condition;
            }
            statements.push(statement);
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }
}

/// Only what belongs to the account.
fn of_account(owner: &str) -> Value {
    json!({"StringEquals": {"s3:ResourceAccount": owner}})
}

/// The key's resource; an alias is no resource but a condition.
fn kms(key: &str, region: &str) -> (String, Option<Value>) {
    let keys = format!("arn:{}:kms:{region}:*:key/", partition(region));
    let alias = key.find("alias/").map(|at| &key[at..]);
    match alias {
        Some(alias) => {
            (format!("{keys}*"), Some(json!({"ForAnyValue:StringEquals": {"kms:ResourceAliases": [alias]}})))
        }
        None if key.starts_with("arn:") => (key.to_owned(), None),
        None => (format!("{keys}{key}"), None),
    }
}
