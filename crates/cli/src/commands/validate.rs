//! `millrace validate`, `schema`, `operators`: DAG files without running or storing anything.

use anyhow::bail;
use millrace_dagfile::{LINTS, dag_schema, parameters_of};
use millrace_operator_api::entry::find;
use millrace_operators::catalogue;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::ValidateArgs;
use crate::dag_files::{self, Checked};
use crate::output::{Format, counted, notice, print_list, print_one, print_text};

pub async fn validate(app: &App, args: &ValidateArgs) -> anyhow::Result<()> {
    if args.list_lints {
        let views: Vec<LintView> = LINTS.iter().map(|lint| LintView { code: lint.code, why: lint.why }).collect();
        return print_list(app.format, &["code", "why"], &views);
    }
    let pools = dag_files::pools(app).await;
    let mut checked = dag_files::check(app, &args.paths, pools.as_ref())?;
    if checked.is_empty() {
        notice("no DAG files (*.yaml, *.yml) were found");
    }
    if args.expanded {
        return expanded(app, &checked);
    }
    for file in &mut checked {
        file.look_at_overlays();
    }
    if !args.no_lint {
        let options = dag_files::lint_options(app, pools).await;
        for file in &mut checked {
            file.lint(&options);
        }
    }
    let is_bad = |file: &&Checked| file.has_errors() || (args.strict && file.warnings() > 0);
    let problems = checked.iter().filter(is_bad).count();
    match app.format {
        Format::Json | Format::Yaml => {
            print_list(app.format, &[], &checked.iter().map(Checked::view).collect::<Vec<_>>())?;
        }
        Format::Table | Format::Plain => {
            let text: String =
                checked.iter().map(Checked::render).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
            if !text.is_empty() {
                print_text(&text)?;
            }
        }
    }
    if problems > 0 {
        let what = if args.strict { "errors or warnings" } else { "errors" };
        let have = if problems == 1 { "has" } else { "have" };
        bail!("{problems} of {} {have} {what}", counted(checked.len(), "file"));
    }
    let files = counted(checked.len(), "file");
    let are = if checked.len() == 1 { "is" } else { "are" };
    match checked.iter().map(Checked::warnings).sum::<usize>() {
        0 => notice(format!("{files} {are} fine")),
        1 => notice(format!("{files} can be used; there is 1 warning")),
        count => notice(format!("{files} can be used; there are {count} warnings")),
    }
    Ok(())
}

/// Every DAG with everything that became part of it; a file that cannot be used is an error.
fn expanded(app: &App, checked: &[Checked]) -> anyhow::Result<()> {
    let broken: Vec<String> = checked.iter().filter(|file| file.has_errors()).map(Checked::render).collect();
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    let dags: Vec<Value> = checked.iter().flat_map(Checked::expanded).cloned().collect();
    match app.format {
        Format::Json => print_text(&serde_json::to_string_pretty(&dags)?),
        _ => {
            let texts: Result<Vec<String>, _> = dags.iter().map(serde_saphyr::to_string).collect();
            print_text(&texts?.join("---\n"))
        }
    }
}

#[derive(Serialize)]
struct LintView {
    code: &'static str,
    why: &'static str,
}

pub fn schema() -> anyhow::Result<()> {
    print_text(&serde_json::to_string_pretty(&dag_schema(catalogue()))?)
}

#[derive(Serialize)]
struct OperatorView {
    name: &'static str,
    aliases: &'static [&'static str],
    summary: &'static str,
}

pub fn operators(app: &App, name: Option<&str>) -> anyhow::Result<()> {
    let Some(name) = name else {
        let views: Vec<OperatorView> =
            catalogue().iter().map(|e| OperatorView { name: e.name, aliases: e.aliases, summary: e.summary }).collect();
        return print_list(app.format, &["name", "aliases", "summary"], &views);
    };
    let Some(entry) = find(catalogue(), name) else {
        let known: Vec<&str> = catalogue().iter().map(|entry| entry.name).collect();
        bail!("there is no operator '{name}'; there are {}", known.join(", "));
    };
    let schema = (entry.schema)().to_value();
    let parameters = parameters_of(entry, &schema);
    if matches!(app.format, Format::Json | Format::Yaml) {
        return print_one(
            app.format,
            &json!({
                "name": entry.name, "aliases": entry.aliases, "summary": entry.summary, "parameters": parameters,
                "schema": schema,
            }),
        );
    }
    print_text(&format!(
        "{}: {}\n\n{}\n",
        entry.name,
        entry.summary,
        schema["description"].as_str().unwrap_or_default()
    ))?;
    print_list(app.format, &["parameter", "required", "template", "type", "default", "description"], &parameters)
}
