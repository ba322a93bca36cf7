//! Who asks, and what they may.

use axum::extract::FromRequestParts;
use http::request::Parts;
use millrace_model::error_code::ErrorCode;

use crate::problem::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Looks, changes nothing, and sees no connection.
    Viewer,
    /// Also triggers and pauses.
    User,
    /// Also connections.
    Admin,
}

impl Role {
    /// An unknown word may least.
    pub fn parse(text: &str) -> Self {
        match text {
            "admin" => Self::Admin,
            "user" => Self::User,
            _ => Self::Viewer,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// How the person proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    Basic,
    Bearer,
    /// The row of the session.
    Session(i64),
}

#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub name: String,
    pub role: Role,
    pub via: Via,
    /// Keys the tokens of forms.
    pub form_key: [u8; 32],
}

impl Person {
    /// For the audit log.
    pub fn actor(&self) -> String {
        match self.via {
            Via::Session(_) => format!("web:{}", self.name),
            Via::Basic | Via::Bearer => format!("rest:{}", self.name),
        }
    }

    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::FORBIDDEN,
            format!("{} has the role {}; this needs the role {}", self.name, self.role.as_str(), role.as_str()),
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // The guard lets nobody pass without one.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::new(ErrorCode::UNAUTHENTICATED, "sign in first"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_unknown_ones_may_least() {
        assert!(Role::Admin > Role::User && Role::User > Role::Viewer);
        assert_eq!(Role::parse("root"), Role::Viewer);
        for role in [Role::Admin, Role::User, Role::Viewer] {
            assert_eq!(Role::parse(role.as_str()), role);
        }
    }
}
