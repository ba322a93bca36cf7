//! UNLOAD: the rows of a query as CSV objects. Only the CSV format is emulated.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, TryStreamExt};
use sqlparser::tokenizer::Token;
use tokio_postgres::Client;

use super::answer::{SqlError, from_postgres};
use super::copy::object_error;
use super::copy_options::{Authorization, Location};
use super::rewrite::refuse;
use super::source::Source;
use super::tokens::{Cursor, Piece, quote_literal, tokenize};
use crate::objects::ObjectSource;

/// An UNLOAD statement.
#[derive(Debug)]
pub(super) struct UnloadStatement {
    /// The query in PostgreSQL's words.
    query: String,
    to: Location,
    header: bool,
    gzip: bool,
    delimiter: String,
    null_as: String,
    allow_overwrite: bool,
    clean_path: bool,
    manifest: bool,
    parallel: bool,
}

/// Reads UNLOAD ('select …') TO 's3://…' authorization options.
pub(super) fn parse_unload(source: &Source<'_>) -> Result<UnloadStatement, SqlError> {
    let mut cursor = Cursor::new(source.pieces);
    cursor.expect_word("unload")?;
    cursor.expect_token(&Token::LParen)?;
    let query = unescaped(cursor.expect_string()?);
    cursor.expect_token(&Token::RParen)?;
    cursor.expect_word("to")?;
    let to = Location::parse(cursor.expect_string()?)?;
    let mut authorization = Authorization::default();
    let mut csv = false;
    let mut unload = UnloadStatement {
        query: translate_query(&query)?,
        to,
        header: false,
        gzip: false,
        delimiter: ",".to_owned(),
        null_as: String::new(),
        allow_overwrite: false,
        clean_path: false,
        manifest: false,
        parallel: true,
    };
    while cursor.peek().is_some() {
        if authorization.take(&mut cursor)? {
            continue;
        }
        if cursor.take_words(&["format"]) {
            cursor.take_words(&["as"]);
        }
        let word = cursor.peek().and_then(Piece::word).ok_or_else(|| cursor.unexpected())?;
        let unexpected = cursor.unexpected();
        cursor.next();
        match word.as_str() {
            "csv" => csv = true,
            "header" => unload.header = true,
            "gzip" => unload.gzip = true,
            "allowoverwrite" => unload.allow_overwrite = true,
            "cleanpath" => unload.clean_path = true,
            "manifest" => unload.manifest = true,
            "parallel" => {
                unload.parallel = cursor.take_words(&["on"]) || cursor.take_words(&["true"]);
                if !unload.parallel && !cursor.take_words(&["off"]) {
                    cursor.expect_word("false")?;
                }
            }
            "delimiter" => {
                cursor.take_words(&["as"]);
                unload.delimiter = unescaped(cursor.expect_string()?);
            }
            "null" => {
                cursor.take_words(&["as"]);
                unload.null_as = unescaped(cursor.expect_string()?);
            }
            "region" => {
                cursor.take_words(&["as"]);
                cursor.expect_string()?;
            }
            what @ ("parquet" | "json" | "fixedwidth" | "bzip2" | "zstd" | "addquotes" | "escape" | "encrypted"
            | "maxfilesize" | "rowgroupsize" | "partition" | "extension") => {
                return Err(SqlError::not_emulated(&format!("UNLOAD … {}", what.to_ascii_uppercase())));
            }
            _ => return Err(unexpected),
        }
    }
    authorization.require()?;
    if !csv {
        return Err(SqlError::not_emulated("UNLOAD in another format than CSV"));
    }
    if unload.allow_overwrite && unload.clean_path {
        return Err(SqlError::new("ALLOWOVERWRITE and CLEANPATH cannot be used together"));
    }
    Ok(unload)
}

/// Inside a literal of UNLOAD quotes are doubled or have a backslash in front, as a backslash itself has. Before anything
/// else a backslash means itself: `'\N'` and `'\\N'` are the same.
fn unescaped(literal: &str) -> String {
    let mut text = String::with_capacity(literal.len());
    let mut characters = literal.chars().peekable();
    while let Some(character) = characters.next() {
        let is_escape = match character {
            '\\' => matches!(characters.peek(), Some('\\' | '\'')),
            _ => character == '\'' && characters.peek() == Some(&'\''),
        };
        let escaped = if is_escape { characters.next() } else { None };
        text.push(escaped.unwrap_or(character));
    }
    text
}

fn translate_query(query: &str) -> Result<String, SqlError> {
    let pieces = tokenize(query)?;
    refuse(&pieces)?;
    let is_query = pieces.first().is_some_and(|piece| piece.is_word("select") || piece.is_word("with"));
    if !is_query || pieces.iter().any(|piece| piece.token == Token::SemiColon) {
        return Err(SqlError::new("UNLOAD takes one SELECT"));
    }
    Source { text: query, pieces: &pieces }.rewritten()
}

/// Writes the objects; returns the rows.
pub(super) async fn run(
    client: &Client,
    objects: &dyn ObjectSource,
    unload: &UnloadStatement,
) -> Result<i64, SqlError> {
    let bucket = &unload.to.bucket;
    let there = objects.list(bucket, &unload.to.key).await.map_err(|error| object_error(&error))?;
    if !there.is_empty() && unload.clean_path {
        return Err(SqlError::not_emulated("UNLOAD … CLEANPATH over existing objects"));
    }
    if !there.is_empty() && !unload.allow_overwrite {
        return Err(SqlError::new(
            "Specified unload destination on S3 is not empty. Consider using a different bucket / prefix, manually \
             removing the target files in S3, or using the ALLOWOVERWRITE option.",
        ));
    }
    let suffix = if unload.parallel { "0000_part_00" } else { "000" };
    let key = format!("{}{suffix}{}", unload.to.key, if unload.gzip { ".gz" } else { "" });
    let header = if unload.header { ", HEADER" } else { "" };
    let sql = format!(
        "COPY ({}) TO STDOUT (FORMAT csv, DELIMITER {}, NULL {}{header})",
        unload.query,
        quote_literal(&unload.delimiter),
        quote_literal(&unload.null_as)
    );
    let rows = client.copy_out(&sql).await.map_err(|error| from_postgres(&error))?;
    let counted = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let count = std::sync::Arc::clone(&counted);
    // PostgreSQL sends one message per row, and one for the header.
    let lines = rows.map_err(std::io::Error::other).inspect_ok(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let body = if unload.gzip { gzipped(lines).boxed() } else { lines.boxed() };
    objects.put(bucket, &key, body).await.map_err(|error| object_error(&error))?;
    if unload.manifest {
        let manifest = serde_json::json!({"entries": [{"url": format!("s3://{bucket}/{key}")}]});
        let body = futures::stream::iter([Ok(Bytes::from(manifest.to_string()))]).boxed();
        let key = format!("{}manifest", unload.to.key);
        objects.put(bucket, &key, body).await.map_err(|error| object_error(&error))?;
    }
    let lines = counted.load(std::sync::atomic::Ordering::Relaxed);
    Ok(lines - i64::from(unload.header))
}

fn gzipped(
    lines: impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
    futures::stream::try_unfold((Box::pin(lines), encoder), |(mut lines, encoder)| async move {
        let Some(mut encoder) = encoder else { return Ok(None) };
        while let Some(line) = lines.try_next().await? {
            encoder.write_all(&line)?;
            if encoder.get_ref().len() >= 64 * 1024 {
                let ready = std::mem::take(encoder.get_mut());
                return Ok(Some((Bytes::from(ready), (lines, Some(encoder)))));
            }
        }
        Ok(Some((Bytes::from(encoder.finish()?), (lines, None))))
    })
}
