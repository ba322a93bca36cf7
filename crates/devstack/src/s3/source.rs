//! The store as COPY and UNLOAD see it.

use futures::StreamExt;
use futures::future::BoxFuture;

use super::record::Headers;
use super::storage::{Condition, Storage, StorageError};
use super::transfer::{self, Algorithms};
use crate::objects::{ObjectBytes, ObjectError, ObjectInfo, ObjectSource};

fn object_error(error: StorageError, bucket: &str, key: &str) -> ObjectError {
    match error {
        StorageError::NoSuchBucket { bucket } => ObjectError::NoSuchBucket { bucket },
        StorageError::NoSuchKey { key } => ObjectError::NoSuchKey { bucket: bucket.to_owned(), key },
        error => {
            ObjectError::Io { bucket: bucket.to_owned(), key: key.to_owned(), source: std::io::Error::other(error) }
        }
    }
}

impl ObjectSource for Storage {
    fn list<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<ObjectInfo>, ObjectError>> {
        Box::pin(async move {
            let objects = self.objects(bucket, prefix).map_err(|error| object_error(error, bucket, prefix))?;
            Ok(objects.iter().map(|object| ObjectInfo { key: object.key.clone(), size: object.size }).collect())
        })
    }

    fn open<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectBytes, ObjectError>> {
        Box::pin(async move {
            let object = self.object(bucket, key).map_err(|error| object_error(error, bucket, key))?;
            let all = 0..object.size;
            Ok(transfer::read(object, all, None).boxed())
        })
    }

    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, body: ObjectBytes) -> BoxFuture<'a, Result<(), ObjectError>> {
        Box::pin(async move {
            let stored = async {
                self.bucket(bucket)?;
                let received = self.receive_stream(body, Algorithms::OF_AN_OBJECT).await?;
                self.put_object(bucket, key, Headers::default(), received, &Condition::None)
            };
            stored.await.map(|_| ()).map_err(|error| object_error(error, bucket, key))
        })
    }
}
