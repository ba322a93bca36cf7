//! Where an instance of a server lives: its folder, its port, its password, its account.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// The superuser of every test server.
pub(crate) const USER: &str = "millrace";

/// How to reach a server on 127.0.0.1 as [`USER`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) password: String,
}

/// A server program: how its data is made, how it is started, how one sees that it answers.
pub(crate) trait Engine: Send + Sync {
    /// The name of its folder and in messages.
    const NAME: &'static str;
    /// The account that root runs it under.
    const ACCOUNT: &'static str;
    /// The signal, as `kill` names it, that ends it quickly and in order.
    const STOP_SIGNAL: &'static str;

    /// Creates the data in `site.data`, an empty folder that belongs to `site.account`.
    fn prepare(&self, site: &Site) -> Result<()>;
    /// The command that runs the server in the foreground.
    fn command(&self, site: &Site) -> Result<Command>;
    /// Signs in and asks something.
    fn answers(&self, endpoint: &Endpoint) -> Result<()>;
}

/// The place of one instance.
#[derive(Debug)]
pub(crate) struct Site {
    /// Ours; the server's account may pass through it.
    pub(crate) folder: PathBuf,
    /// The server's; nobody else may look in.
    pub(crate) data: PathBuf,
    pub(crate) endpoint: Endpoint,
    pub(crate) account: Account,
}

impl Site {
    /// A new, empty place in `folder` for a server that `engine_account` may run when we are root.
    pub(crate) fn new(folder: PathBuf, engine_account: &str) -> Result<Self> {
        let account = Account::for_server(engine_account)?;
        let data = folder.join("data");
        DirBuilder::new()
            .mode(0o700)
            .create(&data)
            .with_context(|| format!("cannot create the data folder {}", data.display()))?;
        account.own(&data)?;
        let endpoint = Endpoint { port: crate::free_port()?, password: random_word(16)? };
        Ok(Self { folder, data, endpoint, account })
    }

    /// Writes a file that only the server's account may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let _ = fs::remove_file(&path);
        write_private(&path, text)?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// Runs a command that prepares the data, to its end.
    pub(crate) fn run(&self, mut command: Command) -> Result<()> {
        let program = format!("{command:?}");
        let output = command
            .current_dir(&self.data)
            .output()
            .with_context(|| format!("cannot run {program} (is the package `util-linux` with setpriv installed?)"))?;
        if !output.status.success() {
            let stdout = String::from_utf8_lossy(&output.stdout);
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{program} failed with {}:\n{stdout}{stderr}", output.status);
        }
        Ok(())
    }
}

/// Where the server writes what it has to say.
pub(crate) fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// The last lines of the server's log, for error messages.
pub(crate) fn log_tail(folder: &Path) -> String {
    let text = fs::read(log_path(folder)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// The folder of this user's test servers. It is outside of the checkout, because the accounts of the servers must be
/// able to reach it (a checkout under /root is closed to them) and because socket paths must be short.
pub(crate) fn base_folder() -> Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let mut problem = None;
    for parent in ["/var/tmp", "/tmp"] {
        let folder = Path::new(parent).join(format!("millrace-testkit-{uid}"));
        match make_folder(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => problem = Some(error),
        }
    }
    Err(problem.unwrap_or_else(|| anyhow::anyhow!("no folder for temporary files")))
}

/// Creates a folder of ours that others may pass through but not list; one that exists must be ours.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o711).create(folder);
    made.with_context(|| format!("cannot create the folder {} for test servers", folder.display()))?;
    let metadata = fs::symlink_metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    ensure!(
        metadata.is_dir() && metadata.uid() == rustix::process::getuid().as_raw(),
        "{} exists and belongs to somebody else: remove it",
        folder.display()
    );
    Ok(())
}

/// Writes a file that nobody but its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// A random word of `2 * bytes` hexadecimal digits.
pub(crate) fn random_word(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut buffer));
    read.context("cannot read /dev/urandom")?;
    Ok(buffer.iter().fold(String::new(), |word, byte| word + &format!("{byte:02x}")))
}

/// A database name that no other test has: of which process, and random.
pub(crate) fn database_name() -> Result<String> {
    Ok(format!("test_{}_{}", std::process::id(), random_word(6)?))
}
