//! A request's body.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::problem::{Answer, Problem};

/// A body as it came, or why it could not be read.
pub(crate) type Given<T> = Result<Json<Whole<T>>, JsonRejection>;

/// A JSON object. Alone, serde takes a list for a struct too, member by member in the order of the source.
pub(crate) struct Whole<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData)).map(Whole)
    }
}

impl<T: JsonSchema> JsonSchema for Whole<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A text that null empties. One that is left out (`default`) is none.
pub(super) fn emptied<'de, D: Deserializer<'de>>(member: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::deserialize(member)?.unwrap_or_default()))
}

/// The body, or 422 with what is wrong and where.
pub(super) fn body<T>(given: Given<T>) -> Answer<T> {
    match given {
        Ok(Json(Whole(body))) => Ok(body),
        Err(rejection) => Err(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ErrorCode::BODY_TOO_LARGE, rejection.body_text()),
            StatusCode::UNPROCESSABLE_ENTITY => Problem::invalid(rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Problem::new(ErrorCode::BAD_REQUEST, "send the body as JSON, with Content-Type: application/json")
            }
            _ if rejection.body_text().contains("EOF while parsing a value at line 1 column 0") => {
                Problem::new(ErrorCode::BAD_REQUEST, "the body is empty; send a JSON object, {} at the least")
            }
            _ => Problem::new(ErrorCode::BAD_REQUEST, rejection.body_text()),
        }),
    }
}
