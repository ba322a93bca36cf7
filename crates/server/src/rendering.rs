//! Pages from templates.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse, Response};
use chrono_tz::Tz;
use http::HeaderMap;
use minijinja::{Environment, HtmlEscape, Value, context};

use crate::access::permission::Act;
use crate::access::person::Person;
use crate::access::sessions::cookie;
use crate::problem::{Answer, Problem};
use crate::server::Server;
use crate::viewer::{Zone, viewer};
use crate::{format, web_files, words};

/// What a template sees, each value as it is serialized: `values! { name, other => expression }`.
macro_rules! values {
    (@value $key:ident) => { &$key };
    (@value $key:ident $value:expr) => { &$value };
    ($($key:ident $(=> $value:expr)?),* $(,)?) => {
        minijinja::Value::from_pairs([$((
            stringify!($key),
            minijinja::Value::from(minijinja::value::Serde($crate::rendering::values!(@value $key $($value)?))),
        )),*])
    };
}
pub(crate) use values;

/// `first` and what else `second` holds.
pub(crate) fn merged(first: Value, second: Value) -> Value {
    context! { ..first, ..second }
}

pub(crate) struct Rendering {
    environment: Environment<'static>,
}

impl Rendering {
    pub fn new() -> Self {
        Self { environment: environment() }
    }

    fn render(&self, name: &str, values: Value) -> Answer<String> {
        // In a development build the files are read from disk, and again for every page.
        let text = if cfg!(debug_assertions) {
            environment().get_template(name).and_then(|template| template.render(values))
        } else {
            self.environment.get_template(name).and_then(|template| template.render(values))
        };
        text.map_err(|error| Problem::internal(&error))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_loader(|name| Ok(web_files::template(name)));
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.add_function("asset", |name: &str| web_files::address(name));
    environment.add_function("t", words::in_template);
    environment.add_filter("code", words::code);
    environment.add_filter("say", |text: &str, zone: Option<String>| {
        let zone = zone.and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
        words::ticks(&words::say_in(text, zone))
    });
    environment.add_filter("ticks", words::ticks);
    environment.add_filter("urlencode", |text: &str| crate::links::encode(text));
    environment.add_filter("breaking", breaking);
    environment.add_filter("words", |state: &str| format::words(state));
    environment.add_filter("count", |number: u64| format::count(number));
    environment
}

/// A word of a name that is longer goes on in the next line wherever it has to: no list is wider than its page for it.
const LONGEST_WORD: usize = 20;

/// A name that may go on in the next line after `_`, `.` and `/` and before the time of a date, rather than within a word.
fn breaking(name: &str) -> Value {
    let mut text = String::with_capacity(name.len() + 64);
    let (mut before, mut length) = (None, 0);
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_between = |it: char| matches!(it, '_' | '.' | '/');
        // Not between two of them.
        let begins = before.is_some_and(is_between) && !is_between(letter);
        let is_time = letter == 'T'
            && before.is_some_and(|it: char| it.is_ascii_digit())
            && letters.peek().is_some_and(char::is_ascii_digit);
        if begins || is_time || length == LONGEST_WORD {
            text.push_str("<wbr>");
            length = 0;
        }
        let _ = write!(text, "{}", HtmlEscape(letter.encode_utf8(&mut [0; 4])));
        (before, length) = (Some(letter), length + 1);
    }
    Value::from_safe_string(text)
}

/// What a request says about how it wants its page.
pub(crate) struct Wishes {
    /// `light`, `dark`, or as the machine is set.
    theme: Option<&'static str>,
    /// Only this part of the page, for a script that puts it in place.
    pub part: Option<String>,
}

impl Wishes {
    pub fn of(headers: &HeaderMap) -> Self {
        let theme = match cookie(headers, "millrace_theme") {
            Some("light") => Some("light"),
            Some("dark") => Some("dark"),
            _ => None,
        };
        let part = headers.get("x-part").and_then(|part| part.to_str().ok()).map(str::to_owned);
        Self { theme, part }
    }

    pub fn wants(&self, part: &str) -> bool {
        self.part.as_deref() == Some(part)
    }
}

/// What the page is about.
struct Subject {
    dag_id: String,
    tags: Vec<String>,
}

impl Subject {
    /// The DAG whose head the page has.
    fn of(values: &Value) -> Option<Self> {
        let dag = values.get_attr("dag").ok()?;
        let dag_id = dag.get_attr("dag_id").ok()?.as_str()?.to_owned();
        let tags = dag.get_attr("tags").ok()?.try_iter().ok()?.map(|tag| tag.to_string()).collect();
        Some(Self { dag_id, tags })
    }
}

/// Which buttons a page shows; what they do is asked again.
fn shown(person: &Person, subject: Option<&Subject>) -> Value {
    values! {
        name => person.name,
        role => person.role.as_str(),
        may_change => match subject {
            Some(dag) => person.may_on(Act::TriggerRuns, &dag.dag_id, &dag.tags),
            None => person.may_somewhere(Act::TriggerRuns),
        },
        sees_alerts => person.may(Act::SeeAlerts),
        sees_connections => person.may(Act::ReadConnections),
        sees_variables => person.may(Act::ReadVariables),
        sees_audit => person.may(Act::ReadAudit),
        makes_webhooks => person.may(Act::WriteWebhooks),
        manages_people => person.may(Act::ManagePeople),
        may_edit => person.may(Act::WriteConnections),
        csrf => person.form_token(),
    }
}

/// Language and zone, as the menu shows them.
fn seen_by() -> Value {
    let viewer = viewer();
    let zone = match viewer.zone {
        Zone::Dag => "dag",
        Zone::Fixed(zone) => zone.name(),
    };
    values! { language => viewer.language.as_str(), zone }
}

impl Server {
    /// `values` and what every page needs: who looks, the health dot, the theme.
    pub async fn page(&self, name: &str, person: Option<&Person>, wishes: &Wishes, values: Value) -> Answer {
        let health = match person {
            Some(_) => Some(self.scheduler_health().await?),
            None => None,
        };
        let subject = Subject::of(&values);
        let person = person.map(|person| shown(person, subject.as_ref()));
        let common =
            values! { person, health, theme => wishes.theme, viewer => seen_by(), now => self.now().to_rfc3339() };
        let text = self.rendering.render(name, merged(values, common))?;
        Ok(Html(text).into_response())
    }

    pub fn error_page(&self, problem: &Problem, wishes: &Wishes, person: Option<&Person>) -> Answer<Response> {
        let person = person.map(|person| shown(person, None));
        let values = values! {
            status => problem.code.http_status,
            code => problem.code.name,
            title => words::t(&format::sentence(&problem.code.name.replace("dag_", "DAG_").replace('_', " "))),
            detail => format::sentence(&words::say(&problem.detail)),
            help => words::say(problem.code.explanation),
            person,
            health => (),
            theme => wishes.theme,
            viewer => seen_by(),
            now => self.now().to_rfc3339(),
        };
        let text = self.rendering.render("error.html", values)?;
        Ok((problem.status(), Html(text)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::breaking;

    #[test]
    fn a_name_goes_on_in_the_next_line_between_its_words() {
        for (name, wanted) in [
            ("load_orders.v2", "load_<wbr>orders.<wbr>v2"),
            ("__main__", "__<wbr>main__"),
            ("a_b", "a_<wbr>b"),
            ("a_<b>&", "a_<wbr>&lt;b&gt;&amp;"),
            ("s3://lake/raw", "s3:&#x2f;&#x2f;<wbr>lake&#x2f;<wbr>raw"),
            ("manual__2024-01-31T02:00:00+00:00", "manual__<wbr>2024-01-31<wbr>T02:00:00+00:00"),
            ("LATE_2024T", "LATE_<wbr>2024T"),
            ("abcdefghijklmnopqrstuvw", "abcdefghijklmnopqrst<wbr>uvw"),
        ] {
            assert_eq!(breaking(name).to_string(), wanted);
        }
    }
}
