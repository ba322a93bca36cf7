//! Which object a task means: a bucket and a key, or one `s3://` address in the key.

use millrace_operator_api::ports::ObjectPlace;
use millrace_operator_api::{Problems, TaskError};
use millrace_template::Template;

use crate::parts::parameter::{rendered_text, written};

/// The names of two parameters and what they hold.
#[derive(Clone, Copy)]
pub struct PlaceFields<'a> {
    pub bucket: (&'static str, Option<&'a Template<String>>),
    pub key: (&'static str, &'a Template<String>),
}

impl PlaceFields<'_> {
    /// Finds what can be known before rendering.
    pub fn check(&self, problems: &mut Problems) {
        let bucket = self.bucket.1.map(written);
        let key = written(self.key.1);
        if let (Some(Some(bucket)), _) = (&bucket, &key)
            && bucket.trim().is_empty()
        {
            problems.add(self.bucket.0, format!("{} is empty", self.bucket.0));
            return;
        }
        // Whether a template's bucket will be needed is known with the key.
        let Some(key) = key else { return };
        let bucket = match bucket {
            None => None,
            Some(None) => Some("bucket".to_owned()),
            Some(Some(bucket)) => Some(bucket),
        };
        if let Err((field, message)) = resolve(self, bucket, &key) {
            problems.add(field, message);
        }
    }

    pub fn rendered(&self) -> Result<ObjectPlace, TaskError> {
        let key = rendered_text(self.key.0, self.key.1)?;
        let bucket = self.bucket.1.map(|bucket| rendered_text(self.bucket.0, bucket)).transpose()?;
        resolve(self, bucket, &key).map_err(|(field, message)| TaskError::Fail(format!("parameter {field}: {message}")))
    }
}

fn resolve(fields: &PlaceFields<'_>, bucket: Option<String>, key: &str) -> Result<ObjectPlace, (&'static str, String)> {
    let (bucket_name, key_name) = (fields.bucket.0, fields.key.0);
    if key.trim().is_empty() {
        return Err((key_name, format!("{key_name} is empty")));
    }
    let Some(address) = key.strip_prefix("s3://").or_else(|| key.strip_prefix("s3a://")) else {
        return match bucket {
            Some(bucket) => Ok(ObjectPlace { bucket, key: key.to_owned() }),
            None => Err((bucket_name, format!("say which bucket: {bucket_name}, or an s3:// address in {key_name}"))),
        };
    };
    if bucket.is_some() {
        return Err((
            bucket_name,
            format!("{key_name} is an s3:// address, which names the bucket; leave {bucket_name} out"),
        ));
    }
    match address.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok(ObjectPlace { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => Err((key_name, format!("'{key}' is no s3://bucket/key"))),
    }
}
