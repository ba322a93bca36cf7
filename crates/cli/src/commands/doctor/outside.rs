//! Connections and variables: can they be opened, and, when asked, do they answer?

use millrace_connectors::Connectors;
use millrace_store::Store;
use millrace_vault::to_port_connection;

use super::Report;
use crate::app::App;

pub(super) async fn look(app: &App, store: &Store, tries_them: bool, report: &mut Report) {
    let vault = match app.vault_read_only(Some(store.clone())) {
        Ok(vault) => vault,
        Err(error) => {
            report.fail("connections", crate::chain(&error), "restore the home's encryption_key");
            return;
        }
    };
    if let Err(error) = vault.check_keys().await {
        report.fail("secrets", error.to_string(), "copy encryption_key from the home that encrypted them");
    }
    let mend = "restore the encryption_key that it was stored with, or set it again";
    match vault.variables().await {
        Ok(variables) => {
            let (variables, unreadable): (Vec<_>, Vec<_>) =
                variables.into_iter().partition(|variable| variable.problem.is_none());
            for problem in unreadable.into_iter().filter_map(|variable| variable.problem) {
                report.fail("variables", problem, mend);
            }
            report.ok("variables", format!("{} can be read", variables.len()));
        }
        Err(error) => report.fail("variables", error.to_string(), mend),
    }
    let connections = match vault.connections().await {
        Ok(connections) => connections,
        Err(error) => {
            report.fail("connections", error.to_string(), mend);
            return;
        }
    };
    let (connections, unreadable): (Vec<_>, Vec<_>) =
        connections.into_iter().partition(|connection| connection.problem.is_none());
    unreadable
        .iter()
        .filter_map(|it| it.problem.as_ref())
        .for_each(|problem| report.fail("connections", problem, mend));
    report.ok("connections", format!("{} can be read", connections.len()));
    if !tries_them {
        return;
    }
    for named in connections {
        let id = named.conn_id.clone();
        match Connectors::test(&to_port_connection(named)).await {
            Ok(text) => report.ok("connections", app.masker.mask(&format!("{id}: {text}"))),
            Err(error) => {
                let what = app.masker.mask(&format!("{id}: {error}"));
                report.fail("connections", what, format!("`millrace connections get {id}` shows it"));
            }
        }
    }
}
