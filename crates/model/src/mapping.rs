//! Task groups, and tasks that run once for each item of a list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::dag::{Dag, Task};
use crate::ids::TaskId;

/// A task that is mapped over a list has at most so many instances, unless the configuration says otherwise.
pub const MAX_MAP_LENGTH: usize = 1024;

/// Tasks that are shown, cleared and mapped together. What depends on a group or what a group depends on stands in its
/// tasks: the reader of DAG files has seen to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// With the groups around it: `load.orders`.
    pub group_id: TaskId,
    /// The group that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Every task of the group has an instance for each item, and within the group an instance sees only those of its
    /// own item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
}

/// Where a mapped task's items come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expand {
    /// One instance for every combination; the last name varies fastest.
    Product(Vec<NamedItems>),
    /// One instance for each place in the lists, as many as the shortest has.
    Zip(Vec<NamedItems>),
    /// One instance for each item; an item that is a map gives values to the parameters of its keys.
    Each(Items),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedItems {
    pub name: String,
    pub items: Items,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Items {
    List(Vec<Value>),
    /// The list that this task leaves as its result; of a mapped task, the results of its instances.
    ResultsOf(TaskId),
}

/// What one instance of a mapped task is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What templates see as `item`.
    pub whole: Value,
    /// Values with their names, and whether they come from a task's result (and hold no templates therefore).
    pub values: Vec<ItemValue>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ItemValue {
    pub name: String,
    pub value: Value,
    pub is_result: bool,
}

/// By what a value is known again. Kept with instances, so it never becomes another one.
pub fn digest(value: &Value) -> i64 {
    let sum = Sha256::digest(value.to_string().as_bytes());
    sum.iter().take(8).fold(0, |digest, byte| digest << 8 | i64::from(*byte))
}

/// Of items by which instances ran and those that stand in their places now: the same ones, in another order.
pub fn have_only_moved(places: impl IntoIterator<Item = (i64, i64)>) -> bool {
    let (mut before, mut now): (Vec<i64>, Vec<i64>) = places.into_iter().unzip();
    before.sort_unstable();
    now.sort_unstable();
    before == now
}

/// By what a result that others are mapped over is known again, and each of its items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultDigests {
    pub whole: i64,
    /// None where it is not a list.
    pub items: Vec<i64>,
}

impl ResultDigests {
    pub fn of(result: &Value) -> Self {
        let items = result.as_array().map(|list| list.iter().map(digest).collect());
        Self { whole: digest(result), items: items.unwrap_or_default() }
    }
}

impl Expand {
    fn sources(&self) -> Vec<&Items> {
        match self {
            Self::Product(named) | Self::Zip(named) => named.iter().map(|named| &named.items).collect(),
            Self::Each(items) => vec![items],
        }
    }

    /// The tasks whose results the items are.
    pub fn producers(&self) -> impl Iterator<Item = &TaskId> {
        self.sources().into_iter().filter_map(|items| match items {
            Items::ResultsOf(task) => Some(task),
            Items::List(_) => None,
        })
    }

    /// How many instances there are; `None` while the length of a result is not known.
    pub fn count(&self, length_of: impl Fn(&TaskId) -> Option<usize>) -> Option<usize> {
        let lengths = self.sources().into_iter().map(|items| match items {
            Items::List(list) => Some(list.len()),
            Items::ResultsOf(task) => length_of(task),
        });
        let lengths: Vec<usize> = lengths.collect::<Option<_>>()?;
        Some(match self {
            Self::Product(_) => lengths.into_iter().fold(1, usize::saturating_mul),
            Self::Zip(_) | Self::Each(_) => lengths.into_iter().min().unwrap_or(0),
        })
    }

    /// How many instances there are, if that stands in the DAG.
    pub fn literal_count(&self) -> Option<usize> {
        self.count(|_| None)
    }

    /// By what the item of each instance is known again, from what the items of the results are known by; `None` when one of
    /// these is missing.
    pub fn digests(&self, results: &BTreeMap<TaskId, Vec<i64>>) -> Option<Vec<i64>> {
        let list = |items: &Items| match items {
            Items::List(list) => Some(list.iter().map(digest).collect::<Vec<_>>()),
            Items::ResultsOf(task) => results.get(task).cloned(),
        };
        let named = match self {
            Self::Each(items) => return list(items),
            Self::Product(named) | Self::Zip(named) => named,
        };
        let lists: Vec<Vec<i64>> = named.iter().map(|named| list(&named.items)).collect::<Option<_>>()?;
        let is_product = matches!(self, Self::Product(_));
        let count = self.count(|task| results.get(task).map(Vec::len))?;
        let of = |place: usize| {
            let (mut rest, mut parts) = (place, Vec::with_capacity(named.len()));
            for (part, list) in named.iter().zip(&lists).rev() {
                let place = if is_product { rest.checked_rem(list.len())? } else { place };
                rest /= list.len().max(1);
                parts.push((&part.name, list.get(place)?));
            }
            Some(digest(&json!(parts)))
        };
        (0..count).map(of).collect()
    }

    /// The item of an instance; `None` when the lists are shorter or a result is missing.
    pub fn item(&self, map_index: usize, results: &BTreeMap<TaskId, Vec<Value>>) -> Option<Item> {
        let list = |items: &Items| -> Option<(Vec<Value>, bool)> {
            match items {
                Items::List(list) => Some((list.clone(), false)),
                Items::ResultsOf(task) => Some((results.get(task)?.clone(), true)),
            }
        };
        match self {
            Self::Each(items) => {
                let (list, is_result) = list(items)?;
                let whole = list.into_iter().nth(map_index)?;
                let values = whole.as_object().into_iter().flatten();
                let values = values
                    .map(|(name, value)| ItemValue { name: name.clone(), value: value.clone(), is_result })
                    .collect();
                Some(Item { whole, values })
            }
            Self::Zip(named) => pick(named, &list, |_| Some(map_index)),
            Self::Product(named) => {
                let mut rest = map_index;
                let mut places = Vec::with_capacity(named.len());
                for part in named.iter().rev() {
                    let length = list(&part.items)?.0.len();
                    places.push(rest.checked_rem(length)?);
                    rest /= length;
                }
                places.reverse();
                if rest > 0 { None } else { pick(named, &list, |part| places.get(part).copied()) }
            }
        }
    }
}

fn pick(
    named: &[NamedItems],
    list: &impl Fn(&Items) -> Option<(Vec<Value>, bool)>,
    place: impl Fn(usize) -> Option<usize>,
) -> Option<Item> {
    let mut values = Vec::with_capacity(named.len());
    for (part, NamedItems { name, items }) in named.iter().enumerate() {
        let (list, is_result) = list(items)?;
        let value = list.into_iter().nth(place(part)?)?;
        values.push(ItemValue { name: name.clone(), value, is_result });
    }
    let whole: Map<String, Value> = values.iter().map(|value| (value.name.clone(), value.value.clone())).collect();
    Some(Item { whole: Value::Object(whole), values })
}

impl Item {
    /// A short name for lists: the item's plain values.
    pub fn display_name(&self) -> Option<String> {
        fn plain(value: &Value) -> Option<String> {
            match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(flag) => Some(flag.to_string()),
                _ => None,
            }
        }
        let text = match &self.whole {
            Value::Object(_) => {
                let parts: Vec<String> = self.values.iter().filter_map(|value| plain(&value.value)).collect();
                (!parts.is_empty()).then(|| parts.join(", "))
            }
            other => plain(other),
        }?;
        Some(text.chars().take(250).collect())
    }
}

impl Dag {
    pub fn group(&self, group_id: &str) -> Option<&TaskGroup> {
        self.groups.iter().find(|group| group.group_id.as_str() == group_id)
    }

    /// The groups around a task, the innermost first.
    pub fn groups_of<'a>(&'a self, task: &'a Task) -> impl Iterator<Item = &'a TaskGroup> {
        let first = task.group.as_ref().and_then(|id| self.group(id.as_str()));
        std::iter::successors(first, |group| self.group(group.parent.as_ref()?.as_str()))
    }

    /// The tasks of a group and of the groups in it; none when there is no such group.
    pub fn tasks_in(&self, group_id: &str) -> Vec<TaskId> {
        let is_in = |task: &&Task| self.groups_of(task).any(|group| group.group_id.as_str() == group_id);
        self.tasks.iter().filter(is_in).map(|task| task.task_id.clone()).collect()
    }

    /// The mapped group that a task stands in.
    pub fn mapped_group_of<'a>(&'a self, task: &'a Task) -> Option<&'a TaskGroup> {
        self.groups_of(task).find(|group| group.expand.is_some())
    }

    /// Where the items of a task come from, if it or a group around it is mapped.
    pub fn expand_of<'a>(&'a self, task: &'a Task) -> Option<&'a Expand> {
        task.expand.as_ref().or_else(|| self.mapped_group_of(task)?.expand.as_ref())
    }

    /// Whether the two stand in the same mapped group: then an instance of one sees only that of the other which has its
    /// own map index.
    pub fn is_mapped_together(&self, one: &Task, other: &Task) -> bool {
        match (self.mapped_group_of(one), self.mapped_group_of(other)) {
            (Some(one), Some(other)) => one.group_id == other.group_id,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str, items: Value) -> NamedItems {
        NamedItems { name: name.to_owned(), items: Items::List(items.as_array().unwrap().clone()) }
    }

    #[test]
    fn a_product_varies_its_last_name_fastest() {
        let expand = Expand::Product(vec![named("table", json!(["a", "b"])), named("region", json!(["eu", "us", 3]))]);
        assert_eq!(expand.literal_count(), Some(6));
        let names: Vec<String> =
            (0..6).map(|at| expand.item(at, &BTreeMap::new()).unwrap().display_name().unwrap()).collect();
        assert_eq!(names, ["a, eu", "a, us", "a, 3", "b, eu", "b, us", "b, 3"]);
        assert_eq!(expand.item(6, &BTreeMap::new()), None);
        let empty = Expand::Product(vec![named("x", json!([])), named("y", json!([1]))]);
        assert_eq!((empty.literal_count(), empty.item(0, &BTreeMap::new())), (Some(0), None));
    }

    #[test]
    fn a_zip_is_as_long_as_its_shortest_list() {
        let expand = Expand::Zip(vec![named("x", json!([1, 2, 3])), named("y", json!(["a", "b"]))]);
        assert_eq!(expand.literal_count(), Some(2));
        assert_eq!(expand.item(1, &BTreeMap::new()).unwrap().whole, json!({"x": 2, "y": "b"}));
        assert_eq!(expand.item(2, &BTreeMap::new()), None);
    }

    #[test]
    fn a_result_is_counted_when_it_is_known() {
        let list = TaskId::new_unchecked("list");
        let expand = Expand::Each(Items::ResultsOf(list.clone()));
        assert_eq!(expand.literal_count(), None);
        assert_eq!(expand.count(|task| (*task == list).then_some(7)), Some(7));
        let results = BTreeMap::from([(list, vec![json!({"table": "a", "rows": 3}), json!("plain")])]);
        let item = expand.item(0, &results).unwrap();
        assert_eq!(item.values.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["rows", "table"]);
        assert!(item.values.iter().all(|value| value.is_result));
        assert_eq!(expand.item(1, &results).unwrap().display_name().as_deref(), Some("plain"));
        assert_eq!(expand.item(0, &BTreeMap::new()), None);
    }

    #[test]
    fn instances_have_equal_digests_where_they_have_equal_items() {
        let named = |name: &str, items: Items| NamedItems { name: name.to_owned(), items };
        let list = |values: Value| Items::List(values.as_array().unwrap().clone());
        let made = TaskId::new_unchecked("made");
        let results = json!([{"a": 1, "b": [2]}, "x", "x"]);
        let (whole, digests) = (results.as_array().unwrap().clone(), ResultDigests::of(&results));
        let (values, sums) = ([(made.clone(), whole)].into(), [(made.clone(), digests.items)].into());
        for expand in [
            Expand::Each(list(json!([1, 2, 1]))),
            Expand::Each(Items::ResultsOf(made.clone())),
            Expand::Zip(vec![named("t", list(json!([1, 1, 1, 4]))), named("r", Items::ResultsOf(made.clone()))]),
            Expand::Product(vec![named("t", Items::ResultsOf(made.clone())), named("r", list(json!([1, 2, 2])))]),
        ] {
            let digests = expand.digests(&sums).unwrap();
            let items: Vec<Value> = (0..).map_while(|at| Some(expand.item(at, &values)?.whole)).collect();
            assert_eq!(digests.len(), items.len());
            for (one, other) in (0..items.len()).flat_map(|one| (0..items.len()).map(move |other| (one, other))) {
                assert_eq!(digests[one] == digests[other], items[one] == items[other], "{expand:?} {one} {other}");
            }
        }
        assert_eq!(Expand::Each(Items::ResultsOf(made)).digests(&BTreeMap::new()), None);
        // Stored: it must never become another one.
        assert_eq!(digest(&json!({"b": 1, "a": "x"})), digest(&json!({"a": "x", "b": 1})));
        assert_eq!(format!("{:016x}", digest(&json!("orders"))), &hex::encode(Sha256::digest(b"\"orders\""))[..16]);
    }
}
