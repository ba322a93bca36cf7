//! Who people are to a provider of identities: found by its subject, never by a name or an e-mail address, which may be
//! somebody else's tomorrow.

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::people::user::{ADMIN, COLUMNS, read};
use crate::sql::{micros, values};
use crate::{AuditRow, Result, Store, StoreError, UserRow, sql};

/// A person whom a provider vouches for.
#[derive(Debug, Clone)]
pub struct VouchedFor {
    pub issuer: String,
    pub subject: String,
    /// What a new person is called here.
    pub wanted_name: String,
    /// What the provider's groups make of them.
    pub role: String,
}

const ATTEMPTED: &str = "sign in with a provider";

impl Store {
    /// The person of this subject with the role of today, or a new one. Refused when the wanted name is that of somebody
    /// who is not linked, and for whoever is shut out.
    pub async fn person_vouched_for(&self, who: &VouchedFor, now: DateTime<Utc>) -> Result<UserRow> {
        let tx = self.begin(ATTEMPTED).await?;
        let text = format!(
            "SELECT {COLUMNS} FROM user_identity i JOIN \"user\" u ON u.name = i.user_name WHERE i.issuer = $1 AND i.subject = $2"
        );
        let keys = || values![who.issuer.as_str(), who.subject.as_str()];
        let known = sql::one(&tx.inner, ATTEMPTED, text, keys()).await?.as_ref().map(read).transpose()?;
        let actor = format!("oidc:{}", who.issuer);
        let row = match known {
            Some(row) if row.is_disabled() => {
                return Err(StoreError::Refused {
                    attempted: ATTEMPTED,
                    reason: format!("'{}' is shut out", row.name),
                });
            }
            Some(row) => {
                // Whoever takes the last admin's groups away at the provider does not lock everybody out here.
                let stays = row.role == ADMIN && who.role != ADMIN && tx.keep_an_admin(&row, ATTEMPTED).await.is_err();
                if !stays {
                    tx.write_role(&row, &who.role, &actor, now).await?;
                }
                row
            }
            None => {
                if tx.user(&who.wanted_name).await?.is_some() {
                    let name = &who.wanted_name;
                    let reason = format!(
                        "there is a user '{name}' already who is not linked with this sign-in; an admin does that with \
                         `millrace users link {name} SUBJECT` (the subject is {})",
                        who.subject
                    );
                    return Err(StoreError::Refused { attempted: ATTEMPTED, reason });
                }
                // No password fits an empty hash.
                let row = tx.insert_user(&who.wanted_name, "", &who.role, &actor, now).await?;
                tx.insert_identity(&who.issuer, &who.subject, &row.name, now).await?;
                row
            }
        };
        let sql = "UPDATE user_identity SET last_used_at = $3 WHERE issuer = $1 AND subject = $2";
        let values = values![who.issuer.as_str(), who.subject.as_str(), micros(now)];
        sql::run(&tx.inner, ATTEMPTED, sql, values).await?;
        let row = tx.user(&row.name).await?.unwrap_or(row);
        tx.commit().await?;
        Ok(row)
    }

    /// From now on this subject is this person.
    pub async fn link_identity(
        &self,
        issuer: &str,
        subject: &str,
        name: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let attempted = "link a user with a provider";
        let tx = self.begin(attempted).await?;
        if tx.user(name).await?.is_none() {
            return Err(StoreError::NotFound { kind: "user", name: name.to_owned() });
        }
        let sql = "DELETE FROM user_identity WHERE issuer = $1 AND subject = $2 RETURNING user_name";
        let before = sql::one(&tx.inner, attempted, sql, values![issuer, subject]).await?;
        let before = before.map(|row| row.text("user_name")).transpose()?.map(|name| json!({ "name": name }));
        tx.insert_identity(issuer, subject, name, now).await?;
        let details = json!({ "name": name, "issuer": issuer, "subject": subject });
        let audit = AuditRow::new(actor, "user_linked", details, now);
        tx.audit(&audit.with_change(before, Some(json!({ "name": name })))).await?;
        tx.commit().await
    }
}

impl crate::Tx {
    async fn insert_identity(&self, issuer: &str, subject: &str, name: &str, now: DateTime<Utc>) -> Result<()> {
        let sql = "INSERT INTO user_identity (issuer, subject, user_name, created_at) VALUES ($1, $2, $3, $4)";
        sql::run(&self.inner, ATTEMPTED, sql, values![issuer, subject, name, micros(now)]).await?;
        Ok(())
    }
}
