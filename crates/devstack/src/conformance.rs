//! What a Redshift does, as cases that the stand-in and a real cluster are asked alike. The cases stand in
//! `conformance.txt`, whose head says how they are written.

use futures::future::BoxFuture;

/// The cases that this version knows.
pub const CASES: &str = include_str!("../conformance.txt");

/// Whoever is asked.
pub trait Cluster: Send + Sync {
    /// Runs statements, several of them in one transaction. The rows of the last, values separated by `|`, NULL as `∅`; or
    /// the error's text.
    fn run<'a>(&'a self, statements: &'a [String]) -> BoxFuture<'a, Result<Vec<String>, String>>;

    /// Writes an object, by its whole address.
    fn put<'a>(&'a self, address: &'a str, text: String) -> BoxFuture<'a, Result<(), String>>;
}

/// Where the cluster reads and writes objects.
#[derive(Debug, Clone)]
pub struct Place {
    /// `s3://bucket/prefix`, under which nothing else is kept.
    pub address: String,
    /// `IAM_ROLE '…'`.
    pub right: String,
}

/// One behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub area: String,
    pub behaviour: String,
    /// False where the stand-in refuses to do as Redshift does.
    pub is_emulated: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Put { name: String, text: String },
    Run { statements: Vec<String>, expected: Expected },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Success,
    Rows(Vec<String>),
    /// Words of the error, in any case of letters.
    Failure(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    AsExpected,
    /// What was asked, and what came instead.
    Different(String),
    /// The stand-in says that it does not do this.
    NotEmulated,
    /// It needs objects, and there is no place for them.
    LeftOut,
}

/// Reads cases; the error names the line.
pub fn read(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut area = String::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
        let (sign, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match sign {
            "" => continue,
            "#" => {
                if let Some(name) = line.strip_prefix("## ") {
                    name.clone_into(&mut area);
                }
                continue;
            }
            "*" | "~" => {
                let is_emulated = sign == "*";
                cases.push(Case { area: area.clone(), behaviour: rest.to_owned(), is_emulated, steps: Vec::new() });
                continue;
            }
            _ => {}
        }
        let steps = &mut cases.last_mut().ok_or_else(|| wrong("a step before the first case"))?.steps;
        match (sign, steps.last_mut()) {
            (">", _) => steps.push(Step::Run { statements: vec![rest.to_owned()], expected: Expected::Success }),
            ("@", _) => {
                let (name, text) = rest.split_once(' ').ok_or_else(|| wrong("an object without text"))?;
                steps.push(Step::Put { name: name.to_owned(), text: text.replace("\\n", "\n") });
            }
            ("+", Some(Step::Run { statements, .. })) => statements.push(rest.to_owned()),
            ("=", Some(Step::Run { expected, .. })) => match expected {
                Expected::Rows(rows) => rows.push(rest.to_owned()),
                _ if line == "=" => *expected = Expected::Rows(Vec::new()),
                _ => *expected = Expected::Rows(vec![rest.to_owned()]),
            },
            ("!", Some(Step::Run { expected, .. })) => *expected = Expected::Failure(rest.to_lowercase()),
            _ => return Err(wrong("not understood")),
        }
    }
    Ok(cases)
}

impl Case {
    fn needs_objects(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Put { .. } => true,
            Step::Run { statements, .. } => statements.iter().any(|sql| sql.contains("{s3}")),
        })
    }

    /// Asks. `name` begins the names of its tables and of its objects, and is no other's.
    pub async fn check(&self, cluster: &dyn Cluster, name: &str, place: Option<&Place>) -> Verdict {
        if place.is_none() && self.needs_objects() {
            return Verdict::LeftOut;
        }
        let verdict = self.ask(cluster, name, place).await;
        // Whether they are there, and whether they are tables, is part of the case.
        for drop in [
            format!("DROP VIEW IF EXISTS {name}_v CASCADE"),
            format!("DROP TABLE IF EXISTS {name}_t CASCADE"),
            format!("DROP TABLE IF EXISTS {name}_u CASCADE"),
            format!("DROP TABLE IF EXISTS {name}_v CASCADE"),
        ] {
            let _ = cluster.run(&[drop]).await;
        }
        verdict
    }

    async fn ask(&self, cluster: &dyn Cluster, name: &str, place: Option<&Place>) -> Verdict {
        let folder = place.map(|place| format!("{}/{name}/", place.address.trim_end_matches('/'))).unwrap_or_default();
        let right = place.map(|place| place.right.as_str()).unwrap_or_default();
        let filled = |text: &str| {
            let text = text.replace("{s3}", &folder).replace("{auth}", right);
            ["t", "u", "v"]
                .iter()
                .fold(text, |text, table| text.replace(&format!("{{{table}}}"), &format!("{name}_{table}")))
        };
        for step in &self.steps {
            match step {
                Step::Put { name, text } => {
                    if let Err(error) = cluster.put(&format!("{folder}{name}"), filled(text)).await {
                        return Verdict::Different(format!("the object {name} could not be written: {error}"));
                    }
                }
                Step::Run { statements, expected } => {
                    let statements: Vec<String> = statements.iter().map(|sql| filled(sql)).collect();
                    let answer = cluster.run(&statements).await;
                    if let Some(verdict) = expected.judge(&statements.join("; "), answer) {
                        return verdict;
                    }
                }
            }
        }
        Verdict::AsExpected
    }
}

impl Expected {
    /// `None` when it is as expected.
    fn judge(&self, asked: &str, answer: Result<Vec<String>, String>) -> Option<Verdict> {
        let different = |came: String| Some(Verdict::Different(format!("{asked}: {came}")));
        match (self, answer) {
            (Self::Failure(words), Err(error)) if error.to_lowercase().contains(words.as_str()) => None,
            (_, Err(error)) if error.contains("does not emulate") => Some(Verdict::NotEmulated),
            (Self::Success, Ok(_)) => None,
            (Self::Rows(expected), Ok(rows)) if *expected == rows => None,
            (Self::Rows(expected), Ok(rows)) => different(format!("{rows:?} where {expected:?} is expected")),
            (Self::Failure(words), Ok(_)) => different(format!("it worked, where an error with '{words}' is expected")),
            (Self::Failure(words), Err(error)) => {
                different(format!("{error}, where an error with '{words}' is expected"))
            }
            (_, Err(error)) => different(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_and_each_is_told_apart() {
        let cases = read(CASES).unwrap();
        assert!(cases.len() >= 150, "{} cases", cases.len());
        for (number, case) in cases.iter().enumerate() {
            assert!(!case.steps.is_empty() && !case.area.is_empty(), "{case:?}");
            assert!(!cases[..number].iter().any(|other| other.behaviour == case.behaviour), "{} twice", case.behaviour);
        }
        let read = read("## A\n* b\n> x {t}\n+ y\n= 1|∅\n= 2\n@ f a\\nb\n> z\n! No\n> q\n=\n").unwrap();
        let run = |statements: &[&str], expected| Step::Run {
            statements: statements.iter().map(|sql| (*sql).to_owned()).collect(),
            expected,
        };
        assert_eq!(
            read[0].steps,
            [
                run(&["x {t}", "y"], Expected::Rows(vec!["1|∅".to_owned(), "2".to_owned()])),
                Step::Put { name: "f".to_owned(), text: "a\nb".to_owned() },
                run(&["z"], Expected::Failure("no".to_owned())),
                run(&["q"], Expected::Rows(Vec::new())),
            ]
        );
    }

    #[test]
    fn mistakes_in_cases_name_their_line() {
        for (text, line) in
            [("> x", "line 1"), ("* a\n= 1", "line 2"), ("* a\n> x\n? y", "line 3"), ("* a\n@ f", "line 2")]
        {
            assert!(read(text).unwrap_err().contains(line), "{text}");
        }
    }
}
