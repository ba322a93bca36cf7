//! What DAGs use of AWS, as their parameters say it.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::dag::{Dag, Task};
use millrace_model::param;
use millrace_operators::permissions::{self, Extent, Need, S3Use, STAGED};
use serde_json::{Map, Value};

/// The connection of a task that names none.
const DEFAULT: &str = "aws_default";
/// Of files, or straight from a source.
const LOADS: [&str; 4] = ["copy", "upsert", "replace", "swap"];
const ADDRESSES: [&str; 2] = ["s3://", "s3a://"];

/// Objects of one bucket. `*` stands for what is known at run time only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub bucket: String,
    pub key: String,
}

/// What is done with objects through one connection.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub needs: BTreeMap<Place, BTreeSet<Need>>,
    /// Keys of KMS that parameters name.
    pub keys: BTreeSet<String>,
}

impl Objects {
    fn add(&mut self, place: Place, needs: &[Need]) {
        self.needs.entry(place).or_default().extend(needs);
    }

    /// What options of UNLOAD need besides.
    fn options(&mut self, parameters: &Map<String, Value>, place: &Place) {
        let options = match parameters.get("unload_options") {
            Some(Value::Array(options)) => options.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(option)) => vec![option.as_str()],
            _ => Vec::new(),
        };
        for option in options {
            let (name, rest) = option.trim().split_once(' ').unwrap_or((option.trim(), ""));
            if name.eq_ignore_ascii_case("cleanpath") {
                self.add(place.clone(), &[Need::Delete]);
            } else if name.eq_ignore_ascii_case("kms_key_id") {
                self.keys.insert(rest.trim().trim_matches('\'').to_owned());
            }
        }
    }

    /// The places where this is done.
    pub fn needing(&self, need: Need) -> impl Iterator<Item = &Place> {
        self.needs.iter().filter(move |(_, needs)| needs.contains(&need)).map(|(place, _)| place)
    }
}

/// By connection.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Every connection that a task names, also those that are not of AWS.
    pub connections: BTreeSet<String>,
    pub objects: BTreeMap<String, Objects>,
    /// What a warehouse does by itself: its connection, the connection of the objects, and where.
    pub loads: BTreeMap<(String, String), Objects>,
    /// The same for rows that go through the store on their way into it, without a list of files elsewhere.
    pub staged: BTreeMap<(String, String), Objects>,
    /// Warehouses that rows go into through the store if their connection says where.
    may_stage: BTreeSet<String>,
    /// Tasks whose connection is known at run time only.
    pub unknown: Vec<String>,
}

impl Uses {
    pub fn add(&mut self, dag: &Dag) {
        for task in &dag.tasks {
            self.add_task(dag, task);
        }
    }

    /// Rows go through the store where the warehouse's connection says so: it gives the address and the connection to the
    /// store. Gives those connections.
    pub fn add_staging(&mut self, of: impl Fn(&str) -> Option<(String, String)>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for warehouse in std::mem::take(&mut self.may_stage) {
            let Some((address, aws)) = of(&warehouse) else { continue };
            let rest = ADDRESSES.iter().find_map(|scheme| address.strip_prefix(scheme)).unwrap_or(&address);
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let place = Place { bucket: bucket.to_owned(), key: reaching(prefix.to_owned(), Extent::Folder) };
            self.staged.entry((warehouse, aws.clone())).or_default().add(place.clone(), &[Need::List, Need::Read]);
            self.objects.entry(aws.clone()).or_default().add(place, STAGED);
            found.insert(aws);
        }
        found
    }

    /// What a warehouse does by itself in one store.
    pub fn of_warehouse<'a>(&'a self, conn_id: &'a str) -> impl Iterator<Item = (&'a str, &'a Objects)> {
        let all = self.loads.iter().chain(&self.staged);
        all.filter(move |((warehouse, _), _)| warehouse == conn_id).map(|((_, aws), objects)| (aws.as_str(), objects))
    }

    /// Loads into Redshift put the list of their files into the bucket, and `unload` a note of what it has done.
    pub fn add_own_objects(&mut self, is_redshift: impl Fn(&str) -> bool) {
        for ((_, aws), loaded) in self.loads.iter_mut().filter(|((warehouse, _), _)| is_redshift(warehouse)) {
            let (mut buckets, mut lists) = (BTreeSet::new(), BTreeSet::new());
            for (place, needs) in &loaded.needs {
                buckets.insert(place.bucket.clone());
                if !needs.contains(&Need::Write) {
                    lists.insert(place.bucket.clone());
                }
            }
            for bucket in buckets {
                let is_list = lists.contains(&bucket);
                let place = Place { bucket, key: "_millrace/*".to_owned() };
                if is_list {
                    loaded.add(place.clone(), &[Need::Read]);
                }
                let needs = [Need::List, Need::Read, Need::Write, Need::Delete];
                self.objects.entry(aws.clone()).or_default().add(place, &needs);
            }
        }
    }

    fn add_task(&mut self, dag: &Dag, task: &Task) {
        let Some(parameters) = task.parameters.as_object() else { return };
        let params = param::defaults(&dag.params);
        let mut unknown = false;
        for value in connections_in(parameters) {
            match value.as_str().map(|text| known(text, &params)) {
                Some(conn_id) if !conn_id.contains('*') => drop(self.connections.insert(conn_id)),
                _ => unknown = true,
            }
        }
        if unknown {
            self.unknown.push(format!("{}.{}", dag.dag_id, task.task_id));
        }
        let lines: Vec<&S3Use> = permissions::of(&task.operator).collect();
        // A load that reads its source itself meets no object.
        let is_straight = parameters.contains_key("sql_conn_id") && LOADS.contains(&task.operator.as_str());
        if lines.is_empty() || is_straight {
            return;
        }
        let conn_of = |name: &str| parameters.get(name).and_then(Value::as_str).map(|text| known(text, &params));
        let is_staging = lines.iter().all(|line| line.extent == Extent::Folder);
        if is_staging && lines.iter().all(|line| !parameters.contains_key(line.key)) {
            self.may_stage.extend(lines.iter().filter_map(|line| conn_of(line.connections.1)));
            return;
        }
        for (place, line) in places(dag, task, parameters, &lines) {
            let aws = conn_of(line.connections.0).unwrap_or_else(|| DEFAULT.to_owned());
            self.connections.extend(Some(aws.clone()).filter(|aws| !aws.contains('*')));
            if let Some(warehouse) = conn_of(line.connections.1).filter(|_| !line.warehouse.is_empty()) {
                let by_itself = if is_staging { &mut self.staged } else { &mut self.loads };
                let objects = by_itself.entry((warehouse, aws.clone())).or_default();
                objects.add(place.clone(), line.warehouse);
                objects.options(parameters, &place);
            }
            self.objects.entry(aws).or_default().add(place, line.needs);
        }
    }
}

/// What stands under `…conn_id`, also in maps within the parameters and lists of them.
fn connections_in(parameters: &Map<String, Value>) -> Vec<&Value> {
    let mut found = Vec::new();
    for (name, value) in parameters {
        match value {
            _ if name.ends_with("conn_id") => found.push(value),
            Value::Object(map) => found.extend(connections_in(map)),
            Value::Array(items) => found.extend(items.iter().filter_map(Value::as_object).flat_map(connections_in)),
            _ => {}
        }
    }
    found
}

fn places(
    dag: &Dag,
    task: &Task,
    parameters: &Map<String, Value>,
    lines: &[&'static S3Use],
) -> Vec<(Place, &'static S3Use)> {
    let params = param::defaults(&dag.params);
    let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(|text| known(text, &params));
    let mut found: Vec<(Place, &'static S3Use)> = Vec::new();
    for line in lines {
        let keys: Vec<String> = match parameters.get(line.key) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map_or_else(any, |text| known(text, &params))).collect()
            }
            Some(Value::String(text)) => vec![known(text, &params)],
            Some(_) => vec![any()],
        };
        for key in keys {
            let address = ADDRESSES.iter().find_map(|scheme| key.strip_prefix(scheme));
            let (bucket, key) = match address {
                Some(address) => {
                    let (bucket, key) = address.split_once('/').unwrap_or((address, ""));
                    (bucket.to_owned(), key.to_owned())
                }
                None => {
                    let other = || found.first().map(|(place, _)| place.bucket.clone());
                    (text(line.bucket).or_else(|| text("s3_bucket")).or_else(other).unwrap_or_else(any), key)
                }
            };
            found.push((Place { bucket, key: reaching(key, line.extent) }, line));
        }
    }
    if !found.is_empty() {
        return found;
    }
    let Some(line) = lines.iter().find(|line| line.extent == Extent::Beginning).or(lines.first()) else {
        return found;
    };
    // The object of another task, or else the bucket as a whole.
    let named = parameters.get("from_task").and_then(Value::as_str);
    let other = named.and_then(|name| dag.tasks.iter().find(|other| other.task_id.as_str() == name));
    let handed = other.filter(|other| other.task_id != task.task_id).and_then(|other| {
        let written: Vec<_> =
            permissions::of(&other.operator).filter(|line| line.needs.contains(&Need::Write)).collect();
        let parameters = other.parameters.as_object().filter(|parameters| parameters.contains_key("s3_key"))?;
        Some(places(dag, other, parameters, &written))
    });
    match handed {
        Some(places) => found.extend(places.into_iter().map(|(place, _)| (place, *line))),
        None => found.push((Place { bucket: text(line.bucket).unwrap_or_else(any), key: any() }, *line)),
    }
    found
}

fn any() -> String {
    "*".to_owned()
}

fn reaching(mut key: String, extent: Extent) -> String {
    if extent == Extent::Folder && !key.ends_with(['/', '*']) && !key.is_empty() {
        key.push('/');
    }
    if extent != Extent::Object && !key.ends_with('*') {
        key.push('*');
    }
    key
}

/// The text with `*` for each template in it, but for parameters of the DAG that have a text as default.
fn known(text: &str, params: &Map<String, Value>) -> String {
    let (mut known, mut rest) = (String::new(), text);
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        known.push_str(&rest[..start]);
        let close = match &rest[start..start + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let Some(length) = rest[start..].find(close) else {
            rest = "";
            known.push('*');
            break;
        };
        let name = rest[start + 2..start + length].trim().strip_prefix("params.");
        match name.and_then(|name| params.get(name)).and_then(Value::as_str) {
            Some(default) => known.push_str(default),
            None if known.ends_with('*') => {}
            None => known.push('*'),
        }
        rest = &rest[start + length + 2..];
    }
    known.push_str(rest);
    known
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::known;

    #[test]
    fn what_is_known_at_run_time_only_is_a_star() {
        let params = json!({"bucket": "lake", "number": 7}).as_object().cloned().unwrap_or_default();
        for (text, expected) in [
            ("plain/key.csv", "plain/key.csv"),
            ("orders/{{ ds }}/{{ run_id }}.csv", "orders/*/*.csv"),
            ("{{ ds }}{{ ts }}", "*"),
            ("{{ params.bucket }}-x", "lake-x"),
            ("{{ params.number }}", "*"),
            ("{{ params.bucket | upper }}", "*"),
            ("a{% if x %}b{% endif %}", "a*b*"),
            ("broken {{ ds", "broken *"),
        ] {
            assert_eq!(known(text, &params), expected, "{text}");
        }
    }
}
