//! What the proof costs that is taken of the rows as they go by.

use crate::figure::Target;
use crate::moves::Bench;

/// Part of an extract.
const MOST: f64 = 0.05;
/// The difference of two times is less sure than one of them.
const REPEATS: usize = 7;

impl Bench {
    /// The extract with the proof and without it, in turn; of each the best counts.
    pub fn fingerprint(&mut self, table: &str) {
        for source in ["mariadb", "postgres"] {
            let (mut with, mut without) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..REPEATS {
                without = without.min(self.moved(&format!("bare_{source}_{table}"), None).took);
                with = with.min(self.moved(&format!("{source}_{table}"), None).took);
            }
            let name = format!("fingerprint of {source} {table} (its extract to S3 without it)");
            self.figures.say(&name, with - without, "s", Some(without), Target::AtMost(without * MOST));
        }
    }
}
