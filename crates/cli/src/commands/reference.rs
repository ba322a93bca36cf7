//! Commands that print what the program knows about itself: `config`, `explain`, completions.

use anyhow::bail;
use clap_complete::Shell;
use millrace_model::error_code::ErrorCode;
use millrace_settings::Config;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::args::{ConfigCommand, command};
use crate::output::{Format, notice, print_list, print_one, print_text};

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
}

pub fn config(app: &App, command: ConfigCommand) -> anyhow::Result<()> {
    let settings = app.config.entries().into_iter().map(|(key, value)| Setting { key, value });
    match command {
        ConfigCommand::List => print_list(app.format, &["key", "value"], &settings.collect::<Vec<_>>()),
        ConfigCommand::GetValue { section, key } => {
            let wanted = key.map_or(section.clone(), |key| format!("{section}.{key}"));
            match settings.into_iter().find(|setting| setting.key == wanted) {
                Some(setting) if matches!(app.format, Format::Json | Format::Yaml) => print_one(app.format, &setting),
                Some(setting) => print_text(&setting.value),
                None => bail!("there is no setting '{wanted}'; `millrace config list` shows them all"),
            }
        }
        ConfigCommand::Reference => print_text(&Config::reference()),
        // To be here it had to be read.
        ConfigCommand::Lint => {
            let file = app.home.config_file();
            notice(format!("{} and the environment are fine", file.display()));
            match app.format {
                Format::Table | Format::Plain => Ok(()),
                Format::Json | Format::Yaml => print_one(app.format, &json!({ "file": file, "is_valid": true })),
            }
        }
        ConfigCommand::Reload => bail!("`config reload` asks the daemons"),
    }
}

#[derive(Serialize)]
struct CodeView {
    name: &'static str,
    http_status: u16,
    exit_code: u8,
    retryable: bool,
    explanation: &'static str,
}

impl CodeView {
    fn of(code: &ErrorCode) -> Self {
        Self {
            name: code.name,
            http_status: code.http_status,
            exit_code: code.exit_code,
            retryable: code.retryable,
            explanation: code.explanation,
        }
    }
}

pub fn explain(app: &App, code: Option<&str>) -> anyhow::Result<()> {
    match code {
        None => {
            let views: Vec<CodeView> = ErrorCode::ALL.iter().map(CodeView::of).collect();
            print_list(app.format, &["name", "http_status", "exit_code", "retryable"], &views)
        }
        Some(name) => match ErrorCode::by_name(name) {
            Some(code) => print_one(app.format, &CodeView::of(&code)),
            None => bail!("there is no error code '{name}'; `millrace explain` lists them"),
        },
    }
}

pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "millrace", &mut script);
    print_text(&String::from_utf8_lossy(&script))
}
