//! A statement as it was sent.

use super::answer::SqlError;
use super::rewrite::rewrite;
use super::tokens::Piece;

/// A statement's text and tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) pieces: &'a [Piece],
}

impl Source<'_> {
    /// Everything in PostgreSQL's words.
    pub(super) fn rewritten(&self) -> Result<String, SqlError> {
        self.rewritten_range(0, self.pieces.len())
    }

    /// The tokens `from..to` in PostgreSQL's words.
    pub(super) fn rewritten_range(&self, from: usize, to: usize) -> Result<String, SqlError> {
        let Some((first, last)) = self.pieces[from..to].first().zip(self.pieces[from..to].last()) else {
            return Ok(String::new());
        };
        let edits = rewrite(&self.pieces[from..to], self.text)?;
        Ok(edits.apply(self.text, first.start, last.end))
    }
}
