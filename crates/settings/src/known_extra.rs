//! The extra settings that connections of each type have. Others are stored all the same: a connection may come from Airflow
//! with settings that nothing here reads.

use serde_json::{Map, Value};

/// Settings of some types, as docs/connections.md lists them.
struct Known {
    types: &'static [&'static str],
    settings: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        types: &["mysql"],
        settings: &["ssl_mode", "ssl_ca", "statement_timeout", "source_timezone", "flush_tables", "iam"],
    },
    Known {
        types: &["postgres"],
        settings: &["sslmode", "sslrootcert", "statement_timeout", "source_timezone", "iam"],
    },
    Known { types: &["sqlite"], settings: &["source_timezone"] },
    Known {
        types: &["redshift"],
        settings: &[
            "workgroup_name",
            "cluster_identifier",
            "secret_arn",
            "db_user",
            "iam_role",
            "s3_staging",
            "s3_conn_id",
            "mode",
            "sslmode",
            "sslrootcert",
            "statement_timeout",
            "source_timezone",
            "s3_region",
            "master_symmetric_key",
        ],
    },
    Known { types: &["postgres"], settings: &["row_security"] },
    Known {
        types: &["mysql", "postgres", "sqlite", "redshift"],
        settings: &["max_concurrency", "max_rows_per_second"],
    },
    // A database that is signed in to with a token has these too.
    Known {
        types: &["aws", "redshift", "mysql", "postgres"],
        settings: &[
            "region_name",
            "endpoint_url",
            "profile_name",
            "verify",
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            "role_arn",
            "assume_role_arn",
            "external_id",
            "role_session_name",
            "role_duration_seconds",
            "sts_endpoint_url",
            "config_kwargs",
        ],
    },
    Known {
        types: &["aws"],
        settings: &["kms_key_id", "server_side_encryption", "expected_bucket_owner", "multipart_copy_mib"],
    },
    Known { types: &["http"], settings: &["path", "headers", "ca_file"] },
];

/// Other spellings that are read: Airflow's, and each database's for the other's.
const OTHER_NAMES: &[&str] = &["region", "host", "ssl_mode", "sslmode", "ssl_ca", "sslrootcert", "assume_role_kwargs"];

/// Words for what of a connection's extra settings nothing reads, with the one that may be meant. Of a type that nothing is
/// opened over, every setting is free.
pub fn unknown_settings(conn_type: &str, extra: &Map<String, Value>) -> Vec<String> {
    let settings: Vec<&str> = KNOWN
        .iter()
        .filter(|known| known.types.contains(&conn_type))
        .flat_map(|known| known.settings)
        .copied()
        .collect();
    if settings.is_empty() {
        return Vec::new();
    }
    let is_known = |name: &str| settings.contains(&name) || OTHER_NAMES.contains(&name);
    let unknown = extra.keys().filter(|name| !is_known(name));
    unknown
        .map(|name| {
            let near = settings.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
            let hint = near.filter(|(distance, known)| *distance <= known.len() / 3);
            let hint = hint.map(|(_, known)| format!("; did you mean '{known}'?")).unwrap_or_default();
            format!("nothing reads the extra setting '{name}' of a {conn_type} connection{hint}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/connections.md");

    fn told(conn_type: &str, extra: Value) -> Vec<String> {
        unknown_settings(conn_type, extra.as_object().unwrap())
    }

    #[test]
    fn a_slip_is_told_with_what_may_be_meant() {
        assert_eq!(
            told("postgres", json!({"sslmod": "require", "keepalives_idle": 30})),
            [
                "nothing reads the extra setting 'keepalives_idle' of a postgres connection",
                "nothing reads the extra setting 'sslmod' of a postgres connection; did you mean 'sslmode'?"
            ]
        );
        assert_eq!(told("aws", json!({"region": "x", "assume_role_kwargs": {}, "verify": false})), [""; 0]);
        assert_eq!(told("generic", json!({"anything": 1})), [""; 0]);
    }

    /// The names in backticks.
    fn cells(line: &str) -> BTreeSet<&str> {
        let words = line.split('`').skip(1).step_by(2).filter(|word| !word.contains("//"));
        let words = words.map(|word| word.split(':').next().unwrap());
        words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')).collect()
    }

    #[test]
    fn the_page_lists_the_same() {
        let words: BTreeSet<&str> = PAGE.lines().flat_map(cells).collect();
        for name in KNOWN.iter().flat_map(|known| known.settings) {
            assert!(words.contains(name), "docs/connections.md does not say what `{name}` is");
        }
        let rows = |section: &str, head: &'static str| {
            let (_, text) = PAGE.split_once(section).unwrap();
            text.lines()
                .skip_while(move |line| !line.starts_with(head))
                .take_while(|line| line.starts_with('|'))
                .skip(2)
        };
        let of_types = rows("# Connections", "| type |").flat_map(|row| {
            let mut columns = row.split(" | ");
            let kind = cells(columns.next().unwrap()).first().copied().unwrap();
            columns
                .last()
                .map(|column| cells(column).into_iter().map(move |name| (kind, name)).collect::<Vec<_>>())
                .unwrap()
        });
        let of_sections = [("## Sources", "postgres"), ("## AWS", "aws")].into_iter().flat_map(|(section, kind)| {
            let names = rows(section, "| extra setting |").flat_map(|row| cells(row.split(" | ").next().unwrap()));
            names.map(|name| (kind, name)).collect::<Vec<_>>()
        });
        let listed: Vec<(&str, &str)> = of_types.chain(of_sections).collect();
        assert!(listed.len() > 30, "{listed:?}");
        let not_settings = ["table_copy", "split_by", "encrypted", "copy_options"];
        for (kind, name) in listed.into_iter().filter(|(_, name)| !not_settings.contains(name)) {
            let known =
                KNOWN.iter().filter(|known| known.types.contains(&kind)).any(|known| known.settings.contains(&name));
            assert!(known, "docs/connections.md has `{name}` of {kind}, which is not among the known settings");
        }
    }
}
