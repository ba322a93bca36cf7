//! `millrace data …`

mod ledger;

use crate::app::App;
use crate::args::DataCommand;

pub async fn run(app: &App, command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Ledger(args) => ledger::list(app, args).await,
    }
}
