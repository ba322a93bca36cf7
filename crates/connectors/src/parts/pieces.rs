//! Staged rows of which the table refuses some: they go into it in pieces, and a piece with such a row in halves, until the
//! row stands alone.

use crate::parts::sql::quote;
use crate::parts::upsert::SEQUENCE;

/// Rows by their numbers in staging, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub first: u64,
    pub last: u64,
}

impl Piece {
    pub fn is_one_row(self) -> bool {
        self.first == self.last
    }

    /// SQL for these rows of `staging`, in the place of a table.
    pub fn of(self, staging: &str) -> String {
        format!("(SELECT * FROM {staging} WHERE {} BETWEEN {} AND {})", quote(SEQUENCE), self.first, self.last)
    }
}

/// Comes in the order of the rows: of two that cannot both be there the first stays.
pub struct Pieces {
    /// The next one last.
    to_come: Vec<Piece>,
    /// Where the furthest one began: all rows behind are to come.
    reached: u64,
}

impl Pieces {
    /// The halves of all rows, which were refused together.
    pub fn of(rows: u64) -> Self {
        let mut pieces = Self { to_come: Vec::new(), reached: 0 };
        match rows {
            0 => {}
            1 => pieces.to_come.push(Piece { first: 1, last: 1 }),
            _ => pieces.split(Piece { first: 1, last: rows }),
        }
        pieces
    }

    pub fn pop(&mut self) -> Option<Piece> {
        let piece = self.to_come.pop()?;
        self.reached = self.reached.max(piece.first);
        Some(piece)
    }

    /// A row that was not there before. It comes now if its turn is over.
    pub fn let_in(&mut self, number: u64) {
        if number < self.reached {
            self.to_come.push(Piece { first: number, last: number });
        }
    }

    /// Of several rows.
    pub fn split(&mut self, piece: Piece) {
        let middle = piece.first + (piece.last - piece.first) / 2;
        self.to_come.push(Piece { first: middle + 1, last: piece.last });
        self.to_come.push(Piece { first: piece.first, last: middle });
    }
}

/// What a load did to its table; `None` where that is not known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub inserted: Option<u64>,
    pub updated: Option<u64>,
    pub deleted: Option<u64>,
    pub kept: Option<u64>,
    pub late: Option<u64>,
}

impl Written {
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        Self {
            inserted: sum(self.inserted, more.inserted),
            updated: sum(self.updated, more.updated),
            deleted: sum(self.deleted, more.deleted),
            kept: sum(self.kept, more.kept),
            late: sum(self.late, more.late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: u64, bad: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let (mut pieces, mut refused, mut taken) = (Pieces::of(rows), Vec::new(), Vec::new());
        while let Some(piece) = pieces.pop() {
            let is_bad = bad.iter().any(|row| (piece.first..=piece.last).contains(row));
            match (is_bad, piece.is_one_row()) {
                (false, _) => taken.extend(piece.first..=piece.last),
                (true, true) => refused.push(piece.first),
                (true, false) => pieces.split(piece),
            }
        }
        (refused, taken)
    }

    #[test]
    fn every_row_is_tried_once_in_order_and_the_bad_ones_are_found() {
        for rows in 0..40 {
            for bad in [vec![], vec![1], vec![rows], vec![1, 2, 7, 8, 31]] {
                let bad: Vec<u64> = bad.into_iter().filter(|row| (1..=rows).contains(row)).collect();
                let (refused, taken) = found(rows, &bad);
                assert_eq!(refused, bad, "{rows}");
                assert_eq!(taken, (1..=rows).filter(|row| !bad.contains(row)).collect::<Vec<_>>(), "{rows}");
            }
        }
    }

    #[test]
    fn a_row_that_waited_comes_once() {
        // Which row waits for which: all of them are refused but 2, 4 and 9.
        let waits = [(7, 3), (3, 5), (5, 8), (8, 4), (6, 9), (10, 1), (1, 2)];
        let mut here: Vec<u64> = (1..=10).filter(|row| !waits.iter().any(|(_, waiting)| waiting == row)).collect();
        let (mut pieces, mut tried) = (Pieces::of(10), Vec::<u64>::new());
        while let Some(piece) = pieces.pop() {
            let rows: Vec<u64> = here.iter().copied().filter(|row| (piece.first..=piece.last).contains(row)).collect();
            let is_bad = |row: &u64| ![2, 4, 9].contains(row);
            if !piece.is_one_row() && rows.iter().any(is_bad) {
                pieces.split(piece);
                continue;
            }
            tried.extend(&rows);
            if let Some((_, next)) = waits.iter().find(|(refused, _)| rows.contains(refused)) {
                here.push(*next);
                pieces.let_in(*next);
            }
        }
        assert_eq!(tried, [6, 7, 3, 5, 8, 4, 9, 10, 1, 2]);
    }
}
