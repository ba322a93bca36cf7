//! Parts of a split extract that are loaded by a prefix: the list beside their folder knows which there are.

use std::collections::BTreeSet;

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{ObjectInfo, ObjectStore};

use crate::parts::files::manifest::{self, FOLDER};
use crate::parts::files::mark;
use crate::parts::report::while_doing;

/// Refuses parts that are not those of their list: nobody would miss one that is gone, nor see one too many.
pub async fn require_whole(store: &dyn ObjectStore, prefix: &str, found: &[ObjectInfo]) -> Result<(), TaskError> {
    let of_list = |object: &ObjectInfo| Some((object.bucket.clone(), object.key.split_once(FOLDER)?.0.to_owned()));
    let lists: BTreeSet<(String, String)> = found.iter().filter_map(of_list).collect();
    for (bucket, key) in lists {
        let attempted = format!("looking for s3://{bucket}/{key}, the list of the parts");
        let list = store.head(&bucket, &key).await.map_err(|error| while_doing(&attempted, error))?;
        let Some(list) = list.filter(mark::is_manifest) else { continue };
        let wanted = manifest::places(store, &list).await?.into_iter();
        let wanted: BTreeSet<_> = wanted.filter(|(_, key)| key.starts_with(prefix)).collect();
        let folder = format!("{key}{FOLDER}");
        let here = found.iter().filter(|object| object.key.starts_with(&folder));
        let here: BTreeSet<_> = here.map(|object| (object.bucket.clone(), object.key.clone())).collect();
        let list = list.url();
        let Some(odd) = wanted.symmetric_difference(&here).next() else { continue };
        let (url, is_here) = (format!("s3://{}/{}", odd.0, odd.1), here.contains(odd));
        let what =
            if is_here { format!("{url} is not on {list}") } else { format!("{list} names {url}, which is gone") };
        return Err(TaskError::Fail(format!(
            "{what}: the parts of a split extract are loaded by their list (its key as s3_key, without prefix); clear the \
             task that wrote them where one is gone"
        )));
    }
    Ok(())
}
