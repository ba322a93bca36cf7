//! `millrace data …`

mod ledger;
mod moved;
mod verify;

use crate::app::App;
use crate::args::DataCommand;

pub async fn run(app: &App, command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Ledger(args) => ledger::list(app, args).await,
        DataCommand::Verify(args) => verify::run(app, *args).await,
    }
}
