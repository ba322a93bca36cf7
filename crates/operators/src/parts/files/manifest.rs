//! Lists of the objects that belong together, in the form that COPY and UNLOAD know: every entry mandatory, with its
//! size. Where there is such a list, nothing else counts: neither a prefix nor what lies beside.

use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_operator_api::ports::{ObjectInfo, ObjectPlace, ObjectStore, ValueType};
use millrace_operator_api::{PortError, TaskError};
use serde::{Deserialize, Serialize};

use crate::parts::files::mark::{self, FileShape};
use crate::parts::files::type_codes;
use crate::parts::proof::row_hash::Fingerprint;
use crate::parts::report::while_doing;

/// Between the key of a list and the names of its parts.
pub const FOLDER: &str = ".parts/";

/// Far more entries than a list of ten thousand parts needs.
const LONGEST: u64 = 64 << 20;
const HEADS_AT_ONCE: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Schema>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

/// As UNLOAD writes it into its lists.
#[derive(Debug, Serialize, Deserialize)]
struct Schema {
    elements: Vec<Element>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Element {
    name: String,
    /// UNLOAD writes an object of its own under `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    url: String,
    /// Where it is left out, COPY would pass over an object that is gone; here that has to be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mandatory: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meta: Option<Meta>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Meta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_count: Option<u64>,
}

/// A part that was written: the object and its rows.
#[derive(Debug, Clone)]
pub struct Part {
    pub object: ObjectInfo,
    pub rows: u64,
    pub fingerprint: Option<Fingerprint>,
}

/// The objects of a list, and the names of their columns where the list knows them.
pub struct Listed {
    pub objects: Vec<ObjectInfo>,
    pub columns: Vec<String>,
    pub types: Vec<ValueType>,
    /// URLs of those that are not there and may be missing.
    pub missing: Vec<String>,
}

pub fn text(parts: &[Part], shape: &FileShape) -> String {
    let meta = |bytes, rows| Some(Meta { content_length: Some(bytes), record_count: Some(rows) });
    let entry =
        |part: &Part| Entry { url: part.object.url(), mandatory: Some(true), meta: meta(part.object.size, part.rows) };
    let element = |(index, name): (usize, &String)| Element {
        name: name.clone(),
        code: shape.types.get(index).map(type_codes::code),
    };
    let manifest = Manifest {
        entries: parts.iter().map(entry).collect(),
        schema: Some(Schema { elements: shape.columns.iter().enumerate().map(element).collect() }),
        meta: meta(parts.iter().map(|part| part.object.size).sum(), parts.iter().map(|part| part.rows).sum()),
    };
    serde_json::to_string(&manifest).unwrap_or_default()
}

/// Bucket and key of each entry, as the list has them.
pub async fn places(store: &dyn ObjectStore, list: &ObjectInfo) -> Result<Vec<(String, String)>, TaskError> {
    let entries = read(store, list).await?.entries;
    entries.iter().map(|entry| place(list, &entry.url)).collect()
}

/// The list whose key this is; `None` for any other object, and where there is none.
pub async fn at(store: &dyn ObjectStore, bucket: &str, key: &str) -> Result<Option<ObjectInfo>, PortError> {
    // A part is no list.
    if key.contains(FOLDER) {
        return Ok(None);
    }
    Ok(store.head(bucket, key).await?.filter(mark::is_manifest))
}

/// What a list says at another place, where those of its parts that lie beside it lie beside it again.
pub async fn text_at(store: &dyn ObjectStore, list: &ObjectInfo, to: &ObjectPlace) -> Result<String, TaskError> {
    let mut manifest = read(store, list).await?;
    let folder = format!("{}{FOLDER}", list.key);
    for entry in &mut manifest.entries {
        let (bucket, key) = place(list, &entry.url)?;
        if let Some(rest) = key.strip_prefix(&folder).filter(|_| bucket == list.bucket) {
            entry.url = format!("s3://{}/{}{FOLDER}{rest}", to.bucket, to.key);
        }
    }
    serde_json::to_string(&manifest).map_err(|error| TaskError::Fail(format!("rewriting {}: {error}", list.url())))
}

/// The objects on a list, each seen to be there and of the size that the list says.
pub async fn objects(store: &dyn ObjectStore, list: &ObjectInfo) -> Result<Listed, TaskError> {
    let manifest = read(store, list).await?;
    // That of another writer may name what is in no file, such as the columns that are in the keys.
    let schema = manifest.schema.filter(|_| mark::is_manifest(list));
    let elements = schema.map(|schema| schema.elements).unwrap_or_default();
    let types: Option<Vec<ValueType>> =
        elements.iter().map(|element| element.code.as_deref().map(type_codes::read)).collect();
    let columns = elements.into_iter().map(|element| element.name).collect();
    let found = stream::iter(manifest.entries).map(|entry| async move {
        let (bucket, key) = place(list, &entry.url)?;
        let attempted = format!("looking for {}, which is listed in {}", entry.url, list.url());
        let Some(mut object) = store.head(&bucket, &key).await.map_err(|error| while_doing(&attempted, error))? else {
            return match entry.mandatory {
                Some(false) => Ok(Err(entry.url)),
                said => Err(TaskError::Retry(format!(
                    "{} lists {}, but there is no such object{}",
                    list.url(),
                    entry.url,
                    if said.is_none() { "; an entry that may be missing says mandatory: false" } else { "" }
                ))),
            };
        };
        if let Some(size) = entry.meta.and_then(|meta| meta.content_length)
            && size != object.size
        {
            return Err(TaskError::Retry(format!(
                "{} lists {} with {size} bytes, but the object has {}",
                list.url(),
                entry.url,
                object.size
            )));
        }
        if let Some(rows) = entry.meta.and_then(|meta| meta.record_count) {
            mark::note_rows(&mut object, rows);
        }
        Ok(Ok(object))
    });
    let found: Vec<Result<ObjectInfo, String>> = found.buffered(HEADS_AT_ONCE).try_collect().await?;
    let (mut objects, mut missing) = (Vec::new(), Vec::new());
    for entry in found {
        match entry {
            Ok(object) => objects.push(object),
            Err(url) => missing.push(url),
        }
    }
    Ok(Listed { objects, columns, types: types.unwrap_or_default(), missing })
}

fn place(list: &ObjectInfo, url: &str) -> Result<(String, String), TaskError> {
    let split = url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let Some((bucket, key)) = split.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty()) else {
        return Err(TaskError::Fail(format!("{} lists '{url}', which is no s3://bucket/key", list.url())));
    };
    Ok((bucket.to_owned(), key.to_owned()))
}

async fn read(store: &dyn ObjectStore, list: &ObjectInfo) -> Result<Manifest, TaskError> {
    let attempted = format!("reading the list of parts {}", list.url());
    if list.size > LONGEST {
        return Err(TaskError::Fail(format!("{} has {} bytes, too many for a list of parts", list.url(), list.size)));
    }
    let body = store.get_same(list, None).await.map_err(|error| while_doing(&attempted, error))?;
    let bytes: Vec<u8> = body
        .try_fold(Vec::new(), |mut bytes, chunk| async move {
            bytes.extend_from_slice(&chunk);
            Ok(bytes)
        })
        .await
        .map_err(|error| while_doing(&attempted, error))?;
    serde_json::from_slice(&bytes).map_err(|error| TaskError::Fail(format!("{attempted}: {error}")))
}
