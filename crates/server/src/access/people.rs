//! Users, their passwords and their tokens: the rules, wherever they are made.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, Script};
use icu_properties::{CodePointMapData, CodePointSetData};
use millrace_model::error_code::ErrorCode;
use millrace_settings::KeyringError;
use millrace_store::{ApiTokenRow, NewToken};

use crate::access::password::hash_password;
use crate::access::permission::{Act, Role, Scope};
use crate::access::person::{Person, Via};
use crate::access::sessions::{LONGEST_PASSWORD, TOKEN_PREFIX, new_token};
use crate::problem::{Answer, Problem};
use crate::server::Server;

const LONGEST_NAME: usize = 100;
const SHORTEST_PASSWORD: usize = 10;
/// How long a token is good unless told, in days.
pub const TOKEN_DAYS: u32 = 90;
/// No token is good for longer, in days.
pub const MOST_TOKEN_DAYS: u32 = 366;

/// What is wrong with a name.
pub fn check_user_name(name: &str) -> Result<(), String> {
    let is_bad = |letter: char| letter.is_control() || letter.is_whitespace() || matches!(letter, ':' | '/' | '~');
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(is_bad) {
        return Err(format!("a user's name has 1 to {LONGEST_NAME} characters, no spaces, ':', '/' or '~' among them"));
    }
    if matches!(name, "." | "..") {
        return Err("a user must not be named '.' or '..': no address could name them".to_owned());
    }
    if let Some(letter) = name.chars().find(|letter| is_invisible(*letter)) {
        let code = format!("U+{:04X}", u32::from(letter));
        return Err(format!("a user's name has only letters that can be seen; {code} cannot"));
    }
    if mixes_scripts(name) {
        return Err(
            "a user's name is written in one script: a Cyrillic 'а' among Latin letters looks like another user"
                .to_owned(),
        );
    }
    Ok(())
}

fn is_invisible(letter: char) -> bool {
    use GeneralCategory::{Format, PrivateUse, Unassigned};
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    matches!(category, Format | PrivateUse | Unassigned)
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter)
}

/// As in Unicode's "highly restrictive" names: one script, or those of East Asia, with Latin beside them or not. Digits and signs are of none.
fn mixes_scripts(name: &str) -> bool {
    const EAST_ASIAN: [Script; 5] = [Script::Han, Script::Hangul, Script::Hiragana, Script::Katakana, Script::Bopomofo];
    let of = CodePointMapData::<Script>::new();
    let scripts: BTreeSet<Script> = name.chars().map(|letter| of.get(letter)).collect();
    let of_none = [Script::Common, Script::Inherited];
    let (east_asian, others): (Vec<Script>, Vec<Script>) =
        scripts.into_iter().filter(|it| !of_none.contains(it)).partition(|it| EAST_ASIAN.contains(it));
    others.len() > 1 || (!east_asian.is_empty() && others.iter().any(|it| *it != Script::Latin))
}

/// What is wrong with a new password.
pub fn check_password(name: &str, password: &str) -> Result<(), String> {
    if password.chars().count() < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        return Err(format!(
            "a password has at least {SHORTEST_PASSWORD} characters, and at most {LONGEST_PASSWORD} bytes"
        ));
    }
    if password.to_lowercase() == name.to_lowercase() {
        return Err("a password must not be the user's name".to_owned());
    }
    Ok(())
}

/// A new API token: what is given away, once, and the digest that is kept.
pub fn make_token() -> Result<(String, String), KeyringError> {
    new_token(TOKEN_PREFIX)
}

/// A token that somebody wants.
pub(crate) struct TokenWish {
    /// Whose; the asker's own unless told.
    pub user_name: Option<String>,
    pub label: String,
    pub scope: Scope,
    pub days: Option<u32>,
}

impl Server {
    /// In its turn: a hash costs a core and memory.
    pub async fn hash_new_password(&self, name: &str, password: String) -> Answer<String> {
        check_password(name, &password).map_err(|text| Problem::invalid(text).with("path", "password".into()))?;
        let _permit = self.hashing.acquire().await.map_err(|error| Problem::internal(&error))?;
        tokio::task::spawn_blocking(move || hash_password(&password))
            .await
            .map_err(|error| Problem::internal(&error))?
            .map_err(|error| Problem::internal(&error))
    }

    /// The person's own. What they were signed in with ends with all the rest.
    pub async fn change_own_password(
        &self,
        person: &Person,
        from: std::net::IpAddr,
        old: &str,
        new: String,
    ) -> Answer<()> {
        if person.scope != Scope::All {
            let text = "a token with a scope changes no password; sign in with the password";
            return Err(Problem::new(ErrorCode::FORBIDDEN, text));
        }
        if self.person_of_password(from, &person.name, old).await?.is_none() {
            return Err(Problem::invalid("'old_password' is not right").with("path", "old_password".into()));
        }
        let hash = self.hash_new_password(&person.name, new).await?;
        self.store().set_password(&person.name, &hash, &person.actor(), self.now()).await?;
        Ok(())
    }

    /// The token itself is told this once.
    pub async fn add_token(&self, person: &Person, wish: TokenWish) -> Answer<(String, ApiTokenRow)> {
        if person.via == Via::Bearer && person.scope != Scope::All {
            let text = "a token with a scope makes no other tokens; sign in with the password";
            return Err(Problem::new(ErrorCode::FORBIDDEN, text));
        }
        let user_name = wish.user_name.unwrap_or_else(|| person.name.clone());
        if user_name != person.name {
            person.require(Act::ManagePeople)?;
        }
        let label = wish.label.trim();
        if label.is_empty() || label.chars().count() > LONGEST_NAME || label.contains(char::is_control) {
            let text = format!("'label' must have 1 to {LONGEST_NAME} characters, none of them invisible");
            return Err(Problem::invalid(text).with("path", "label".into()));
        }
        let days = wish.days.unwrap_or(TOKEN_DAYS);
        if !(1..=MOST_TOKEN_DAYS).contains(&days) {
            let text = format!("'expires_in_days' must be 1 to {MOST_TOKEN_DAYS}, not {days}");
            return Err(Problem::invalid(text).with("path", "expires_in_days".into()));
        }
        if self.store().user(&user_name).await?.is_none() {
            return Err(no_user(&user_name));
        }
        let now = self.now();
        person.check_ends(ends(now, days))?;
        let (token, token_hash) = make_token().map_err(|error| Problem::internal(&error))?;
        let new = NewToken {
            user_name,
            label: label.to_owned(),
            token_hash,
            scope: wish.scope.text(),
            expires_at: Some(ends(now, days)),
            actor: person.actor(),
        };
        Ok((token, self.store().add_api_token(&new, now).await?))
    }

    /// One's own, or anybody's for who manages people.
    pub async fn revoke_token(&self, person: &Person, id: i64) -> Answer<()> {
        if person.scope != Scope::All && !person.may(Act::ManagePeople) {
            let text = "a token with a scope ends no tokens, unless people:write is in it; sign in with the password";
            return Err(Problem::new(ErrorCode::FORBIDDEN, text));
        }
        let row = self.store().api_token(id).await?;
        // Whose it is, is nobody else's business: it might as well not be there.
        let is_mine = |row: &ApiTokenRow| row.user_name == person.name || person.may(Act::ManagePeople);
        let row = row.filter(is_mine).ok_or_else(|| no_token(id))?;
        if !self.store().delete_api_token(row.id, &person.actor(), self.now()).await? {
            return Err(no_token(id));
        }
        Ok(())
    }
}

fn ends(now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    now + TimeDelta::days(days.into())
}

fn no_token(id: i64) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no token {id}"))
}

pub(crate) fn no_user(name: &str) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no user '{name}'"))
}

pub(crate) fn role_named(text: &str) -> Answer<Role> {
    Role::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        let text =
            format!("'role' must be one of {}, not '{}'", known.join(", "), text.chars().take(40).collect::<String>());
        Problem::invalid(text).with("path", "role".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_have_rules() {
        for good in ["ada", "ada@example.com", "이름", "a.b-c_d", "김철수-kim", "山田たろう", "Анна", "José2"]
        {
            assert_eq!(check_user_name(good), Ok(()), "{good}");
        }
        let unseen = ["ad\u{200b}min", "\u{202e}nimda", "ada\u{3164}", "ada\u{fe0f}", "ada\u{e000}"];
        let mixed = ["\u{430}dmin", "adm\u{131}n\u{3b1}", "김\u{430}"];
        let long = "x".repeat(101);
        for bad in ["", "a b", "a:b", "a/b", "~", "a\n", &long].into_iter().chain(unseen).chain(mixed) {
            assert!(check_user_name(bad).is_err(), "{bad}");
        }
        assert_eq!(check_password("ada", "correct horse"), Ok(()));
        for bad in ["", "short", &"x".repeat(1025), "adalovelace"] {
            assert!(check_password("AdaLovelace", bad).is_err(), "{bad}");
        }
    }
}
