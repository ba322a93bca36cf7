//! How every session of a connection is opened, the first and those long after it.

use millrace_operator_api::PortError;
use secrecy::ExposeSecret;
use sqlx::mysql::MySqlConnectOptions;

use crate::rds::Tokens;

#[derive(Clone)]
pub struct Entrance {
    pub options: MySqlConnectOptions,
    pub tokens: Option<Tokens>,
}

impl Entrance {
    /// With the token of the moment, where that is the password.
    pub async fn options(&self) -> Result<MySqlConnectOptions, PortError> {
        let options = self.options.clone();
        match &self.tokens {
            Some(tokens) => Ok(options.password(tokens.sign().await?.expose_secret())),
            None => Ok(options),
        }
    }
}
