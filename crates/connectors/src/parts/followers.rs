//! Rows of other tables that would follow those of a table when they are deleted.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::failure::invalid;

pub fn refusal(target: &TableName, what: &str, keys: &[&str]) -> PortError {
    const MOST: usize = 5;
    let mut named = keys.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if keys.len() > MOST {
        named.push_str(&format!(" and {} more", keys.len() - MOST));
    }
    invalid(format!(
        "{what} of {target} would delete or unlink rows of other tables: {named}; nothing was changed. Load by upsert, \
         which deletes no row, make a foreign key ON DELETE NO ACTION, or empty {target} yourself before, if those rows \
         may go",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_first_few() {
        let target = TableName { schema: None, name: "t".into() };
        let error = refusal(&target, "replacing all rows", &["a", "b", "c", "d", "e", "f", "g"]);
        assert!(error.message.contains(": a, b, c, d, e and 2 more; nothing"), "{}", error.message);
    }
}
