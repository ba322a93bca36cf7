//! Rows in several objects that are published together: the parts first, under keys of this try alone, and the list of
//! them last. Whoever reads by the list sees all rows or those of before.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use futures::future::try_join_all;
use futures::stream;
use millrace_operator_api::ports::{ObjectInfo, ObjectStore, PutOptions};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext, TaskError};

use crate::parts::files::encoding::Files;
use crate::parts::files::manifest::{self, FOLDER, Part};
use crate::parts::files::mark::{self, FileShape};
use crate::parts::files::publishing::{Claim, Destination, Known, already_exists, publish};
use crate::parts::proof::verifying::Totals;
use crate::parts::report::{unless_cancelled, while_doing};

/// What was published.
pub struct Published {
    pub totals: Totals,
    /// Of the parts, in the list's order.
    pub keys: Vec<String>,
    /// The list's.
    pub etag: Option<String>,
}

/// Writes the files of every reader, readers side by side, and then their list.
pub async fn publish_parts(
    context: &TaskContext,
    to: &Destination<'_>,
    claim: &Claim,
    readers: Vec<Files>,
    shape: &FileShape,
) -> Result<Published, TaskError> {
    let place = Place::new(context, to);
    place.remove_leftovers(claim).await?;
    let written = match place.write(readers, shape).await {
        Ok(parts) => place.write_list(claim, parts, shape).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(published) => {
            place.remove_replaced(claim, &published.keys).await;
            Ok(published)
        }
        Err(error) => {
            // What stays behind although this fails is found by the next try.
            if let Err(problem) = place.remove_own().await {
                context.warning(format!("parts of this try could not be removed: {problem}"));
            }
            Err(error)
        }
    }
}

/// Takes away the parts of a list that a single object has replaced.
pub async fn remove_replaced_parts(context: &TaskContext, to: &Destination<'_>, claim: &Claim, kept: &[String]) {
    Place::new(context, to).remove_replaced(claim, kept).await;
}

/// The parts' folders: `<key>.parts/<work>-<try>/`.
struct Place<'a> {
    context: &'a TaskContext,
    to: &'a Destination<'a>,
    /// Of every try of this work.
    works: String,
    /// Of this try.
    folder: String,
}

impl<'a> Place<'a> {
    fn new(context: &'a TaskContext, to: &'a Destination<'a>) -> Self {
        let works = format!("{}{FOLDER}{}-", to.key, context.work.short_hash());
        let folder = format!("{works}{}/", context.try_number);
        Self { context, to, works, folder }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.to.store
    }

    async fn write(&self, readers: Vec<Files>, shape: &FileShape) -> Result<Vec<Part>, TaskError> {
        let count = readers.len();
        let writers = readers.into_iter().enumerate().map(|(reader, mut files)| async move {
            let mut parts = Vec::new();
            while let Some(stream) = unless_cancelled(self.context, async {
                files.next(reader == 0).await.map_err(|error| while_doing("reading", error))
            })
            .await?
            {
                let number = parts.len() + 1;
                let name = if count == 1 { format!("{number:05}") } else { format!("{:02}-{number:05}", reader + 1) };
                let part = Destination {
                    store: self.to.store,
                    bucket: self.to.bucket.clone(),
                    key: format!("{}{name}{}", self.folder, shape.extension()),
                    replace: true,
                };
                let known = Known { shape: Some(shape), ..Known::default() };
                let (object, totals) = publish(self.context, &part, false, stream, known).await?;
                parts.push(Part { object, rows: totals.rows, fingerprint: totals.fingerprint });
            }
            Ok::<_, TaskError>(parts)
        });
        Ok(try_join_all(writers).await?.into_iter().flatten().collect())
    }

    async fn write_list(&self, claim: &Claim, parts: Vec<Part>, shape: &FileShape) -> Result<Published, TaskError> {
        let fingerprints = parts.iter().map(|part| part.fingerprint);
        let totals = Totals {
            fingerprint: fingerprints.reduce(|all, part| all.zip(part).map(|(all, part)| all.merged(part))).flatten(),
            rows: parts.iter().map(|part| part.rows).sum(),
            bytes: parts.iter().map(|part| part.object.size).sum(),
            checksum: None,
        };
        let text = manifest::text(&parts, shape);
        let length = text.len() as u64;
        let mut metadata = mark::metadata(self.context, Some(shape), Some(totals.rows), None);
        mark::as_manifest(&mut metadata);
        let options = PutOptions {
            metadata,
            content_type: Some("application/json".to_owned()),
            only_if_absent: claim.only_if_absent,
        };
        let attempted = format!("writing {}", self.to.url());
        let body = Box::pin(stream::iter([Ok(bytes::Bytes::from(text))]));
        let list = unless_cancelled(self.context, async {
            match self.store().put(&self.to.bucket, &self.to.key, body, options).await {
                Ok(list) => Ok(list),
                Err(error) if error.kind == PortErrorKind::AlreadyExists => {
                    // The answer to our own publishing may have been lost, and the repetition refused.
                    let found = self.store().head(&self.to.bucket, &self.to.key).await?;
                    match found {
                        Some(list) if mark::is_of_this_try(self.context, &list) && mark::is_manifest(&list) => Ok(list),
                        other => Err(already_exists(self.to, other.as_ref())),
                    }
                }
                Err(error) => Err(while_doing(&attempted, error)),
            }
        })
        .await?;
        if list.size != length {
            let message = format!("{} holds {} bytes, but {length} were sent", self.to.url(), list.size);
            return Err(TaskError::Retry(message));
        }
        let keys = parts.into_iter().map(|part| part.object.key).collect();
        Ok(Published { totals, keys, etag: list.etag })
    }

    /// Removes what tries that died left, but not what the list that is there names.
    async fn remove_leftovers(&self, claim: &Claim) -> Result<(), TaskError> {
        let named = self.named_by(claim);
        let all = self.keys(&self.works).await.map_err(|error| while_doing("looking for leftovers", error))?;
        let leftovers: Vec<String> = all.into_iter().filter(|key| !named.contains(key)).collect();
        if leftovers.is_empty() {
            return Ok(());
        }
        self.context.info(format!("removing {} parts that an earlier try left", leftovers.len()));
        self.remove(leftovers).await.map_err(|error| while_doing("removing leftovers", error))
    }

    /// After the list has changed, nobody names these any more.
    async fn remove_replaced(&self, claim: &Claim, kept: &[String]) {
        let named: Vec<String> = self.named_by(claim).into_iter().filter(|key| !kept.contains(key)).collect();
        if !named.is_empty()
            && let Err(problem) = self.remove(named).await
        {
            self.context.warning(format!("parts that were replaced could not be removed: {problem}"));
        }
    }

    async fn remove_own(&self) -> Result<(), PortError> {
        let keys = self.keys(&self.folder).await?;
        if keys.is_empty() { Ok(()) } else { self.remove(keys).await }
    }

    /// Keys that the list which was there names, as far as they are ours to remove: those beside the list.
    fn named_by(&self, claim: &Claim) -> BTreeSet<String> {
        let beside = format!("{}{FOLDER}", self.to.key);
        claim
            .listed
            .iter()
            .filter(|(bucket, key)| *bucket == self.to.bucket && key.starts_with(&beside))
            .map(|(_, key)| key.clone())
            .collect()
    }

    async fn keys(&self, prefix: &str) -> Result<Vec<String>, PortError> {
        let found: Vec<ObjectInfo> = self.store().list(&self.to.bucket, prefix).try_collect().await?;
        Ok(found.into_iter().map(|object| object.key).collect())
    }

    async fn remove(&self, keys: Vec<String>) -> Result<(), PortError> {
        let report = self.store().delete(&self.to.bucket, keys).await?;
        match report.errors.first() {
            None => Ok(()),
            Some((key, message)) => Err(PortError::new(PortErrorKind::Other, format!("removing {key}: {message}"))),
        }
    }
}
