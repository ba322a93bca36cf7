//! Which line of which file a row of staging came from.

/// Runs of lines that are remembered; of the rows behind them the file alone is known.
const MOST_RUNS: usize = 250_000;

/// Rows in the order in which they were taken. Those that stand line by line take no room each.
#[derive(Debug, Clone, Default)]
pub struct Places {
    rows: u64,
    /// Each with the number of its first row.
    files: Vec<(u64, String)>,
    runs: Vec<Run>,
    /// Number of the first row whose line is not known.
    lost_from: Option<u64>,
    /// What the line of the next row would be, if it stood behind the last one.
    next_line: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    line: u64,
}

impl Places {
    /// From now on rows come from here.
    pub fn enter(&mut self, file: &str) {
        self.files.push((self.rows + 1, file.to_owned()));
        self.next_line = None;
    }

    /// The number of a row that was taken: from 1, over all files.
    pub fn add(&mut self, line: u64) -> u64 {
        self.rows += 1;
        if self.next_line != Some(line) && self.lost_from.is_none() {
            if self.runs.len() < MOST_RUNS {
                self.runs.push(Run { first: self.rows, line });
            } else {
                self.lost_from = Some(self.rows);
            }
        }
        self.next_line = Some(line + 1);
        self.rows
    }

    /// How many there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// File and line of a row; where rows come straight from a source, its number there.
    pub fn of(&self, number: u64) -> (&str, Option<u64>) {
        let before = |first: u64| first <= number;
        let file = self.files.partition_point(|(first, _)| before(*first)).checked_sub(1).map(|at| &self.files[at]);
        let run = self.runs.partition_point(|run| before(run.first)).checked_sub(1).map(|at| self.runs[at]);
        let is_known = self.lost_from.is_none_or(|lost| number < lost);
        (file.map_or("", |(_, name)| name), run.filter(|_| is_known).map(|run| run.line + (number - run.first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_number() {
        let mut places = Places::default();
        places.enter("s3://b/empty");
        places.enter("s3://b/one");
        // A header before, a value of two lines within.
        assert_eq!([2, 3, 5].map(|line| places.add(line)), [1, 2, 3]);
        places.enter("s3://b/two");
        assert_eq!([6, 7].map(|line| places.add(line)), [4, 5]);
        let found: Vec<(&str, Option<u64>)> = (1..=5).map(|number| places.of(number)).collect();
        let (one, two) = ("s3://b/one", "s3://b/two");
        assert_eq!(found, [(one, Some(2)), (one, Some(3)), (one, Some(5)), (two, Some(6)), (two, Some(7))]);
    }

    #[test]
    fn lines_without_end_do_not_fill_the_memory() {
        let mut places = Places::default();
        places.enter("f");
        let most = MOST_RUNS as u64;
        for number in 1..=most + 10 {
            places.add(number * 2);
        }
        assert_eq!((places.of(most), places.of(most + 1)), (("f", Some(most * 2)), ("f", None)));
        assert_eq!((places.runs.len(), places.rows()), (MOST_RUNS, most + 10));
    }
}
