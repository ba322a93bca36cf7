//! branch and short_circuit.

use millrace_model::choice::Choice;
use millrace_operator_api::Operator;
use millrace_operator_api::entry::find;
use serde_json::{Value, json};

use crate::fakes::{World, problems};

fn follow(parameters: Value) -> (Value, Choice) {
    let outcome = World::new().run("branch", parameters).unwrap();
    (outcome.result.unwrap(), outcome.choice.unwrap())
}

fn names(names: &[&str]) -> (Value, Choice) {
    (json!(names), Choice::Follow(names.iter().map(|name| (*name).to_owned()).collect()))
}

#[test]
fn a_branch_follows_the_first_way_whose_condition_is_true() {
    let ways = |a: Value, b: Value| json!({"choose": [{"when": a, "follow": "a"}, {"when": b, "follow": ["b", "c"]}], "otherwise": "d"});
    assert_eq!(follow(ways(json!(true), json!(true))), names(&["a"]));
    assert_eq!(follow(ways(json!("False"), json!("yes"))), names(&["b", "c"]));
    assert_eq!(follow(ways(json!(""), json!(0))), names(&["d"]));
    assert_eq!(follow(json!({"choose": [{"when": false, "follow": "a"}]})), names(&[]));
}

#[test]
fn a_short_circuit_says_how_far_it_reaches() {
    let choice = |parameters| World::new().run("short_circuit", parameters).unwrap();
    let goes_on = choice(json!({"condition": "3"}));
    assert_eq!((goes_on.result, goes_on.choice), (Some(json!(true)), None));
    let stops = choice(json!({"condition": "no"}));
    assert_eq!((stops.result, stops.choice), (Some(json!(false)), Some(Choice::SkipDescendants)));
    let near = choice(json!({"condition": false, "ignore_downstream_trigger_rules": false}));
    assert_eq!(near.choice, Some(Choice::SkipChildren));
}

#[test]
fn a_branch_names_what_it_may_follow_and_needs_a_way() {
    let parameters = json!({"choose": [{"when": "{{ ds }}", "follow": ["a", "b"]}], "otherwise": "c"});
    let entry = find(millrace_operators::catalogue(), "branch").unwrap();
    let operator: Box<dyn Operator> = (entry.parse)(parameters).unwrap();
    let named: Vec<String> = operator.follows().into_iter().map(|(field, name)| format!("{field} {name}")).collect();
    assert_eq!(named, ["choose a", "choose b", "otherwise c"]);
    assert!(entry.chooses);
    assert_eq!(
        problems("branch", json!({"choose": []})),
        "choose: there is no way to choose
"
    );
}
