//! The Unix account under which a server runs.
//!
//! PostgreSQL refuses to run as root, and MariaDB should not: root starts them as the account that Debian's package
//! made for them, or as `nobody`. Anybody else runs them under the own account.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Whom the server runs as. `None`: as whoever runs the tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<Ids>);

#[derive(Debug, Clone, Copy)]
struct Ids {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The own account, or when that is root, `preferred` if the machine has it, else `nobody`.
    pub(crate) fn for_server(preferred: &str) -> Result<Self> {
        if !rustix::process::getuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read the accounts in /etc/passwd")?;
        let ids = find(&passwd, preferred).or_else(|| find(&passwd, "nobody")).with_context(|| {
            format!(
                "the server must not run as root, and the machine has neither an account `{preferred}` nor `nobody`: \
                 run the tests as an ordinary user"
            )
        })?;
        Ok(Self(Some(ids)))
    }

    /// A command that runs `program` under this account, with a small, known environment.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = match self.0 {
            None => Command::new(program),
            Some(Ids { uid, gid }) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"]);
                command.arg(program);
                command
            }
        };
        // Variables such as PGPORT, MYSQL_HOST or LC_ALL of the person who runs the tests must not change the server.
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        let Some(Ids { uid, gid }) = self.0 else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give {} to user {uid}", path.display()))
    }
}

fn find(passwd: &str, name: &str) -> Option<Ids> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    let uid = fields.nth(2)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Ids { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/bash\n";
        let ids = find(passwd, "postgres").unwrap();
        assert_eq!((ids.uid, ids.gid), (101, 104));
        assert!(find(passwd, "mysql").is_none());
    }
}
