//! Free TCP ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// A TCP port on 127.0.0.1 that nobody listens on at this moment. Somebody else may take it before you do: a server that
/// can choose its port itself (`--port 0`) should.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a TCP port on 127.0.0.1")?;
    Ok(listener.local_addr().context("cannot read the port of a socket")?.port())
}
