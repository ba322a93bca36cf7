//! Copying and moving objects inside the store, so that a try which follows one that died ends right.

use futures::{StreamExt, TryStreamExt, stream};
use millrace_operator_api::ports::{ByteStream, CopyRequest, ObjectInfo, ObjectPlace, ObjectStore, PutOptions};
use millrace_operator_api::{PortErrorKind, Problems, TaskContext, TaskError};
use millrace_template::Template;
use serde_json::{Value, json};

use crate::parts::files::manifest::{self, FOLDER};
use crate::parts::files::mark;
use crate::parts::files::place::PlaceFields;
use crate::parts::files::publishing::{Claim, Destination};
use crate::parts::files::splitting::remove_replaced_parts;
use crate::parts::parameter::{is_blank, rendered_option, rendered_text};
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

/// Objects copied, and then removed by one request.
const BATCH: usize = 1_000;
const AT_ONCE: usize = 8;

/// The parameters of `s3_copy` and `s3_move`.
pub struct Relocation<'a> {
    pub bucket: Option<&'a Template<String>>,
    pub key: Option<&'a Template<String>>,
    pub prefix: Option<&'a Template<String>>,
    pub dest_bucket: Option<&'a Template<String>>,
    pub dest_key: Option<&'a Template<String>>,
    pub dest_prefix: Option<&'a Template<String>>,
    pub aws_conn_id: &'a Template<String>,
    pub replace: bool,
    /// Remove the source afterwards.
    pub is_move: bool,
}

/// What goes where, rendered.
enum Route {
    One(ObjectPlace, ObjectPlace),
    /// Bucket and prefix.
    Many(ObjectPlace, ObjectPlace),
}

#[derive(Debug, Default, Clone, Copy)]
struct Done {
    objects: u64,
    bytes: u64,
}

impl Relocation<'_> {
    fn verb(&self) -> &'static str {
        if self.is_move { "move" } else { "copy" }
    }

    fn from(&self) -> Option<PlaceFields<'_>> {
        self.key.map(|key| PlaceFields { bucket: ("s3_bucket", self.bucket), key: ("s3_key", key) })
    }

    fn to(&self) -> Option<PlaceFields<'_>> {
        let is_address = |key: &Template<String>| key.raw().as_str().is_some_and(|key| key.starts_with("s3"));
        self.dest_key.map(|key| {
            let same = self.bucket.filter(|_| self.dest_bucket.is_none() && !is_address(key));
            PlaceFields { bucket: ("dest_bucket", self.dest_bucket.or(same)), key: ("dest_key", key) }
        })
    }

    pub fn check(&self, problems: &mut Problems) {
        if is_blank(self.aws_conn_id) {
            problems.add("aws_conn_id", "aws_conn_id is empty");
        }
        match (self.key, self.prefix) {
            (None, None) => problems.add("", format!("say what to {}: s3_key or s3_prefix", self.verb())),
            (Some(_), Some(_)) => problems.add("s3_prefix", "s3_key and s3_prefix exclude each other"),
            (Some(_), None) => {
                if self.dest_key.is_none() || self.dest_prefix.is_some() {
                    problems.add("dest_key", "one object (s3_key) goes to dest_key");
                }
                if let Some(from) = self.from() {
                    from.check(problems);
                }
                // Without a bucket of its own it goes to that of the source, which an address may name.
                if let Some(to) = self.to().filter(|to| to.bucket.1.is_some()) {
                    to.check(problems);
                }
            }
            (None, Some(prefix)) => {
                if self.dest_prefix.is_none() || self.dest_key.is_some() {
                    problems.add("dest_prefix", "the objects under s3_prefix go under dest_prefix");
                }
                if self.bucket.is_none() {
                    problems.add("s3_bucket", "say which bucket: s3_bucket");
                }
                if is_blank(prefix) {
                    problems.add("s3_prefix", "an empty prefix is the whole bucket; name what is meant");
                }
            }
        }
    }

    fn route(&self) -> Result<Route, TaskError> {
        if let (Some(from), Some(to)) = (self.from(), self.to()) {
            let to = match (to.rendered(), self.dest_bucket, self.from()) {
                (Ok(place), ..) => place,
                // The source may be an address: then its bucket is also that of the target.
                (Err(_), None, Some(from)) if self.bucket.is_none() => {
                    let key = self.dest_key.map(|key| rendered_text("dest_key", key)).transpose()?;
                    ObjectPlace { bucket: from.rendered()?.bucket, key: key.unwrap_or_default() }
                }
                (Err(error), ..) => return Err(error),
            };
            let from = from.rendered()?;
            if from == to {
                return Err(TaskError::Fail(format!("{} would be {} onto itself", from.url(), self.past())));
            }
            return Ok(Route::One(from, to));
        }
        let prefix = rendered_option("s3_prefix", self.prefix)?.unwrap_or_default();
        let dest_prefix = rendered_option("dest_prefix", self.dest_prefix)?.unwrap_or_default();
        let Some(bucket) = self.bucket else { return Err(TaskError::Fail("say which bucket: s3_bucket".to_owned())) };
        let bucket = rendered_text("s3_bucket", bucket)?;
        let dest_bucket = match self.dest_bucket {
            Some(dest) => rendered_text("dest_bucket", dest)?,
            None => bucket.clone(),
        };
        if prefix.trim().is_empty() {
            return Err(TaskError::Fail(
                "parameter s3_prefix is empty after rendering, which is the whole bucket; nothing was changed"
                    .to_owned(),
            ));
        }
        if bucket == dest_bucket && dest_prefix.starts_with(&prefix) {
            return Err(TaskError::Fail(format!(
                "dest_prefix '{dest_prefix}' lies under s3_prefix '{prefix}' of the same bucket: what was {} would be found \
                 again; choose another place",
                self.past()
            )));
        }
        Ok(Route::Many(ObjectPlace { bucket, key: prefix }, ObjectPlace { bucket: dest_bucket, key: dest_prefix }))
    }

    fn past(&self) -> &'static str {
        if self.is_move { "moved" } else { "copied" }
    }

    pub async fn run(&self, context: &TaskContext) -> Result<Value, TaskError> {
        let started_at = context.clock.now();
        let route = self.route()?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", self.aws_conn_id)?).await?;
        let (Route::One(from, to) | Route::Many(from, to)) = &route;
        let star = if matches!(route, Route::Many(..)) { "*" } else { "" };
        let (source, target) = (format!("{}{star}", from.url()), format!("{}{star}", to.url()));
        let mut done = Done::default();
        let result = unless_cancelled(context, async {
            match &route {
                Route::One(from, to) => self.one(context, store.as_ref(), (from, to), &mut done).await,
                Route::Many(from, to) => self.many(context, store.as_ref(), (from, to), &mut done).await,
            }
        })
        .await;
        let mut entry = ledger_entry(context, self.verb(), &source, &target, started_at);
        entry.bytes = Some(done.bytes);
        context.reporter.ledger(entry);
        result.map_err(|error| while_doing(&format!("{} objects were {} before", done.objects, self.past()), error))?;
        context.info(format!("{} {source} to {target}: {} objects, {} bytes", self.past(), done.objects, done.bytes));
        Ok(json!({
            "bucket": to.bucket, "key": to.key, "url": to.url(), "objects": done.objects, "bytes": done.bytes,
        }))
    }

    async fn one(
        &self,
        context: &TaskContext,
        store: &dyn ObjectStore,
        (from, to): (&ObjectPlace, &ObjectPlace),
        done: &mut Done,
    ) -> Result<(), TaskError> {
        let Some(object) = look(store, from).await? else {
            // The try that moved it died before it could say so.
            return match look(store, to).await? {
                Some(there) if self.is_move && mark::is_own(context, &there) && mark::came_from(&there, from) => {
                    context.info(format!("an earlier try of this task had moved {} to {}", from.url(), to.url()));
                    *done = Done { objects: 1, bytes: there.size };
                    Ok(())
                }
                _ => Err(TaskError::Retry(format!("{} does not exist", from.url()))),
            };
        };
        // Nobody finds the parts of a list without it: it comes after them, and goes after them.
        if mark::is_manifest(&object) {
            let beside = |place: &ObjectPlace| ObjectPlace { key: format!("{}{FOLDER}", place.key), ..place.clone() };
            self.all(context, store, (&beside(from), &beside(to)), done).await?;
        }
        self.copy(context, store, &object, to.clone()).await?;
        if self.is_move {
            remove(store, std::slice::from_ref(&object)).await?;
        }
        *done = Done { objects: done.objects + 1, bytes: done.bytes + object.size };
        Ok(())
    }

    async fn many(
        &self,
        context: &TaskContext,
        store: &dyn ObjectStore,
        (from, to): (&ObjectPlace, &ObjectPlace),
        done: &mut Done,
    ) -> Result<(), TaskError> {
        self.all(context, store, (from, to), done).await?;
        if done.objects == 0 && !(self.is_move && has_begun(context).await?) {
            return Err(TaskError::Retry(format!("there is nothing under {}", from.url())));
        }
        Ok(())
    }

    /// All that lies under a prefix.
    async fn all(
        &self,
        context: &TaskContext,
        store: &dyn ObjectStore,
        (from, to): (&ObjectPlace, &ObjectPlace),
        done: &mut Done,
    ) -> Result<(), TaskError> {
        // Pages follow the last key, so that removing what was listed does not disturb what is still to come.
        let mut batches = store.list(&from.bucket, &from.key).try_chunks(BATCH);
        loop {
            let batch = batches.try_next().await;
            let batch = batch.map_err(|error| while_doing(&format!("listing {}", from.url()), error.1))?;
            let Some(objects) = batch else { break };
            self.check_apart(&objects, (from, to))?;
            note_that_it_began(context).await?;
            let copies: Vec<_> = objects
                .iter()
                .map(|object| self.copy(context, store, object, destination(object, (from, to))))
                .collect();
            stream::iter(copies).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
            if self.is_move {
                remove(store, &objects).await?;
            }
            done.objects += objects.len() as u64;
            done.bytes += objects.iter().map(|object| object.size).sum::<u64>();
            context.checkpoint(self.verb(), format!("{} objects, {} bytes", done.objects, done.bytes));
        }
        Ok(())
    }

    /// Where the source lies under the destination, an object may come to where another one is still to be taken from.
    fn check_apart(&self, objects: &[ObjectInfo], (from, to): (&ObjectPlace, &ObjectPlace)) -> Result<(), TaskError> {
        let again = objects
            .iter()
            .find(|object| from.bucket == to.bucket && destination(object, (from, to)).key.starts_with(&from.key));
        let Some(object) = again else { return Ok(()) };
        Err(TaskError::Fail(format!(
            "{} would be {} to {}, which lies under s3_prefix '{}' again and may be the place of another object; it and what \
             follows stay as they are: take what lies under it by a task of its own, or choose another place",
            object.url(),
            self.past(),
            destination(object, (from, to)).url(),
            from.key
        )))
    }

    async fn copy(
        &self,
        context: &TaskContext,
        store: &dyn ObjectStore,
        from: &ObjectInfo,
        to: ObjectPlace,
    ) -> Result<(), TaskError> {
        let to = &to;
        let existing = look(store, to).await?;
        let is_own = existing.as_ref().is_some_and(|there| mark::is_own(context, there));
        if is_own && existing.as_ref().is_some_and(|there| mark::is_copy_of(there, from)) {
            return Ok(());
        }
        if existing.is_some() && !is_own && !self.replace {
            return Err(taken(to));
        }
        let mut metadata = mark::metadata(context, None, None, None);
        metadata.extend([mark::origin(from)]);
        let only_if_absent = existing.is_none() && !self.replace;
        let listed = match existing.as_ref().filter(|there| mark::is_manifest(there)) {
            Some(list) => manifest::places(store, list).await?,
            None => Vec::new(),
        };
        let copied = match manifest::at(store, &from.bucket, &from.key).await? {
            Some(list) => {
                let text =
                    manifest::text_at(store, &ObjectInfo { etag: from.etag.clone(), ..list.clone() }, to).await?;
                let options = PutOptions {
                    metadata: list.metadata.into_iter().chain(metadata).collect(),
                    content_type: Some("application/json".to_owned()),
                    only_if_absent,
                };
                let body: ByteStream = Box::pin(stream::iter([Ok(bytes::Bytes::from(text))]));
                store.put(&to.bucket, &to.key, body, options).await.map(|_| ())
            }
            None => {
                let request = CopyRequest {
                    from: ObjectPlace { bucket: from.bucket.clone(), key: from.key.clone() },
                    to: to.clone(),
                    only_if_etag: from.etag.clone(),
                    metadata,
                    only_if_absent,
                };
                store.copy(request).await.map(|_| ())
            }
        };
        match copied {
            Ok(()) if listed.is_empty() => Ok(()),
            Ok(()) => remove_parts_of_before(context, store, to, listed).await,
            // The answer to our own copying may have been lost, and the repetition refused.
            Err(error) if error.kind == PortErrorKind::AlreadyExists => match look(store, to).await? {
                Some(there) if mark::is_of_this_try(context, &there) && mark::is_copy_of(&there, from) => Ok(()),
                _ => Err(taken(to)),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// A list was there, whose parts nobody finds any more: all but those that the one there now names too.
async fn remove_parts_of_before(
    context: &TaskContext,
    store: &dyn ObjectStore,
    place: &ObjectPlace,
    listed: Vec<(String, String)>,
) -> Result<(), TaskError> {
    let kept: Vec<String> = match manifest::at(store, &place.bucket, &place.key).await? {
        Some(list) => manifest::places(store, &list).await?.into_iter().map(|(_, key)| key).collect(),
        None => Vec::new(),
    };
    let to = Destination { store, bucket: place.bucket.clone(), key: place.key.clone(), replace: true };
    remove_replaced_parts(context, &to, &Claim { only_if_absent: false, listed }, &kept).await;
    Ok(())
}

/// Where an object under `from` comes to.
fn destination(object: &ObjectInfo, (from, to): (&ObjectPlace, &ObjectPlace)) -> ObjectPlace {
    let rest = object.key.strip_prefix(&from.key).unwrap_or(&object.key);
    ObjectPlace { bucket: to.bucket.clone(), key: format!("{}{rest}", to.key) }
}

fn taken(place: &ObjectPlace) -> TaskError {
    TaskError::Fail(format!("{} already exists and was not changed; set replace: true to overwrite it", place.url()))
}

async fn look(store: &dyn ObjectStore, place: &ObjectPlace) -> Result<Option<ObjectInfo>, TaskError> {
    let found = store.head(&place.bucket, &place.key).await;
    found.map_err(|error| while_doing(&format!("looking for {}", place.url()), error))
}

/// Its URL, when there is another object at its place now.
async fn replaced(store: &dyn ObjectStore, object: &ObjectInfo) -> Result<Option<String>, TaskError> {
    let now = look(store, &ObjectPlace { bucket: object.bucket.clone(), key: object.key.clone() }).await?;
    Ok(now.filter(|now| now.etag != object.etag).map(|_| object.url()))
}

/// Removes what was copied, unless somebody wrote another object there meanwhile: that one was not copied.
async fn remove(store: &dyn ObjectStore, objects: &[ObjectInfo]) -> Result<(), TaskError> {
    let looks: Vec<_> = objects.iter().map(|object| replaced(store, object)).collect();
    let looked: Vec<Option<String>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let changed: Vec<String> = looked.into_iter().flatten().collect();
    if !changed.is_empty() {
        return Err(TaskError::Retry(format!(
            "{} was replaced by another object while it was moved; nothing of this batch was removed",
            changed.join(", ")
        )));
    }
    let Some(first) = objects.first() else { return Ok(()) };
    let keys = objects.iter().map(|object| object.key.clone()).collect();
    let attempted = format!("removing what was moved out of s3://{}", first.bucket);
    let report = store.delete(&first.bucket, keys).await.map_err(|error| while_doing(&attempted, error))?;
    match report.errors.first() {
        None => Ok(()),
        Some((key, message)) => Err(TaskError::Retry(format!("{attempted}: {key}: {message}"))),
    }
}

fn note(context: &TaskContext) -> String {
    format!("moving-{}", context.work.short_hash())
}

/// So that a try after one that died finds an empty prefix in order.
async fn note_that_it_began(context: &TaskContext) -> Result<(), TaskError> {
    let body: ByteStream = Box::pin(stream::once(async { Ok(bytes::Bytes::from_static(b"objects were there\n")) }));
    context.ports.scratch().write(&context.work, &note(context), body).await?;
    Ok(())
}

async fn has_begun(context: &TaskContext) -> Result<bool, TaskError> {
    match context.ports.scratch().read(&context.work, &note(context)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Defines an operator that brings objects from one place to another.
macro_rules! relocation {
    ($(#[$meta:meta])* pub struct $name:ident { is_move: $is_move:literal }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The bucket to take from. Left out when `s3_key` is an `s3://` address.
            #[serde(default)]
            s3_bucket: Option<millrace_template::Template<String>>,
            /// The object to take. Either this or `s3_prefix`.
            #[serde(default)]
            s3_key: Option<millrace_template::Template<String>>,
            /// Every object whose key begins with this.
            #[serde(default)]
            s3_prefix: Option<millrace_template::Template<String>>,
            /// The bucket to bring to; the same one when left out.
            #[serde(default)]
            dest_bucket: Option<millrace_template::Template<String>>,
            /// Its key there, or an `s3://` address. With `s3_key`.
            #[serde(default)]
            dest_key: Option<millrace_template::Template<String>>,
            /// What stands there in the place of `s3_prefix`. With `s3_prefix`; may be empty.
            #[serde(default)]
            dest_prefix: Option<millrace_template::Template<String>>,
            /// Overwrite what is there.
            #[serde(default)]
            replace: bool,
            /// The connection to S3.
            #[serde(default = "crate::parts::parameter::aws_default")]
            aws_conn_id: millrace_template::Template<String>,
        }

        impl $name {
            fn relocation(&self) -> crate::parts::files::relocation::Relocation<'_> {
                crate::parts::files::relocation::Relocation {
                    bucket: self.s3_bucket.as_ref(),
                    key: self.s3_key.as_ref(),
                    prefix: self.s3_prefix.as_ref(),
                    dest_bucket: self.dest_bucket.as_ref(),
                    dest_key: self.dest_key.as_ref(),
                    dest_prefix: self.dest_prefix.as_ref(),
                    aws_conn_id: &self.aws_conn_id,
                    replace: self.replace,
                    is_move: $is_move,
                }
            }
        }

        impl millrace_operator_api::Operator for $name {
            fn check(&self, problems: &mut millrace_operator_api::Problems) {
                self.relocation().check(problems);
            }

            fn run<'a>(
                &'a self,
                context: &'a millrace_operator_api::TaskContext,
            ) -> millrace_operator_api::BoxFuture<
                'a,
                Result<millrace_operator_api::Outcome, millrace_operator_api::TaskError>,
            > {
                Box::pin(async move { self.relocation().run(context).await.map(millrace_operator_api::Outcome::with) })
            }
        }
    };
}

pub(crate) use relocation;
