//! What the proof costs that is taken of the rows as they go by.

use crate::figure::Target;
use crate::moves::Bench;

/// Part of an extract.
const MOST: f64 = 0.05;
/// The difference of two times is less sure than one of them.
const REPEATS: usize = 15;

impl Bench {
    /// The extract with the proof and without it, in turn; of each the one in the middle counts.
    pub fn fingerprint(&mut self, table: &str) {
        for source in ["mariadb", "postgres"] {
            let (mut with, mut without) = (Vec::new(), Vec::new());
            for _ in 0..REPEATS {
                without.push(self.moved(&format!("bare_{source}_{table}"), None).took);
                with.push(self.moved(&format!("{source}_{table}"), None).took);
            }
            let (with, without) = (middle(with), middle(without));
            let name = format!("fingerprint of {source} {table} (its extract to S3 without it)");
            self.figures.say(&name, with - without, "s", Some(without), Target::AtMost(without * MOST));
        }
    }
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
