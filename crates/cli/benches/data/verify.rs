//! Are the rows still the same on both sides?

use std::process::Command;

use serde_json::Value;

use crate::figure::Target;
use crate::home::{BINARY, timed};
use crate::moves::Bench;

/// Seconds until one changed byte in five million rows is named.
const MOST: f64 = 30.0;

impl Bench {
    pub fn verify(&mut self) {
        self.sources.empty_target("nps");
        let run_id = self.moved("table_nps", None).run_id;
        let rows = self.sources.rows.nps;
        let id = rows / 2;
        let change = "UPDATE warehouse.nps SET score = CASE WHEN score = 1 THEN 2 ELSE 1 END WHERE id =";
        self.sources.psql(&format!("{change} {id}"));
        let mut said = None;
        let mut verify = Command::new(BINARY);
        verify.args(["data", "verify", "table_nps", "load", &run_id, "-o", "json", "--home"]);
        verify.arg(self.home.dags().parent().unwrap());
        let took = timed(|| said = Some(verify.output().unwrap()));
        let said = said.unwrap();
        assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
        let report: Value = serde_json::from_slice(&said.stdout).unwrap();
        let found = (&report["rows_different"], &report["differences"][0]["key"]["id"]);
        assert_eq!(found, (&1.into(), &id.to_string().into()), "{report}");
        self.figures.say(&format!("one changed byte in {rows} rows found"), took, "s", None, Target::AtMost(MOST));
    }
}
