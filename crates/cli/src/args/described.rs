//! What arguments that stand in many commands are, said once.

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const SAID: &[(&str, &str)] = &[
    ("dag_id", "The DAG's id"),
    ("dag_ids", "Ids of DAGs"),
    ("task_id", "The task's id; of one in a group GROUP.TASK"),
    ("map_index", "Which of a mapped task's instances, counted from 0"),
    ("run", "The run's id or logical date; a day alone: the schedule's date of that day in the DAG's zone"),
    ("date", "The logical date; a day alone: the schedule's date of that day in the DAG's zone"),
    ("conn_id", "The connection's id"),
    ("host", "The server's name or address"),
    ("port", "The server's port"),
    ("login", "The user; for aws the access key"),
    ("description", "What it is for, for people"),
    ("file_format", "Left out: by the file's ending"),
    ("file", "The file; `-`: standard input or output"),
    ("name", "Its name"),
    ("key", "Its name"),
    ("user", "The person's name"),
    ("asset", "The asset's name"),
    ("ids", "Numbers, as the list shows them"),
    ("id", "Its number, as the list shows it"),
    ("backfill", "Its number, as `millrace backfills list` shows it"),
    ("limit", "How many at most"),
    ("hours", "How far ahead"),
    ("days", "For how many days"),
    ("section", "The section of the configuration"),
    ("state", "What it is to be"),
    ("yes", "Ask nothing"),
    ("shell", "Whose completions"),
];

/// The command line, with a word for each argument.
pub fn command() -> Command {
    described(Cli::command())
}

fn described(command: Command) -> Command {
    command.mut_args(|arg| if arg.get_help().is_none() { with_help(arg) } else { arg }).mut_subcommands(described)
}

fn with_help(arg: Arg) -> Arg {
    match SAID.iter().find(|(id, _)| arg.get_id() == id) {
        Some((_, text)) => arg.help(*text),
        None => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_help(command: &Command, found: &mut Vec<String>) {
        let silent = command.get_arguments().filter(|arg| arg.get_help().is_none() && !arg.is_hide_set());
        found.extend(silent.map(|arg| format!("{} {}", command.get_name(), arg.get_id())));
        command.get_subcommands().filter(|one| !one.is_hide_set()).for_each(|one| without_help(one, found));
    }

    #[test]
    fn every_argument_says_what_it_is() {
        let mut found = Vec::new();
        without_help(&command(), &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }
}
