//! What the groups of a provider may do here: `admins=admin, data team=editor, *=viewer`.

use std::str::FromStr;

use crate::access::permission::Role;

/// Groups and their roles; `*` is everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleMap {
    roles: Vec<(String, Role)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no group with its role; write GROUP=ROLE, with the role viewer, operator, editor or admin, and * for everybody"
)]
pub struct RoleMapError(String);

impl FromStr for RoleMap {
    type Err = RoleMapError;

    fn from_str(text: &str) -> Result<Self, RoleMapError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let roles = parts.map(|part| {
            let error = || RoleMapError(part.to_owned());
            let (group, role) = part.rsplit_once('=').ok_or_else(error)?;
            let role = Role::parse(role.trim()).ok_or_else(error)?;
            if group.trim().is_empty() { Err(error()) } else { Ok((group.trim().to_owned(), role)) }
        });
        Ok(Self { roles: roles.collect::<Result<_, _>>()? })
    }
}

impl RoleMap {
    /// The highest of those that any of the groups has; None: nobody of them comes in.
    pub fn role_of(&self, groups: &[String]) -> Option<Role> {
        self.roles.iter().filter(|(group, _)| group == "*" || groups.contains(group)).map(|(_, role)| *role).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_of_all_groups_holds() {
        let map: RoleMap = "admins=admin, data team = editor,cn=x=operator".parse().unwrap();
        let role = |groups: &[&str]| map.role_of(&groups.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(role(&["data team", "admins"]), Some(Role::Admin));
        assert_eq!(role(&["data team"]), Some(Role::Editor));
        assert_eq!(role(&["cn=x"]), Some(Role::Operator));
        assert_eq!(role(&["Admins", ""]), None);
        assert_eq!("*=viewer".parse::<RoleMap>().unwrap().role_of(&[]), Some(Role::Viewer));
        assert_eq!("".parse::<RoleMap>().unwrap().role_of(&["*".to_owned()]), None);
        for bad in ["admins", "=admin", "a=king", "a=admin, b"] {
            assert!(bad.parse::<RoleMap>().is_err(), "{bad}");
        }
    }
}
