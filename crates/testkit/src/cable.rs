//! A connection to a server that can be cut: without either end being told, or by a reset in the middle of an answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;

/// Listens on a port of its own and hands everything on.
pub struct Cable {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    is_cut: bool,
    /// Bytes that may still come from the far end.
    left: Option<u64>,
    /// Bytes that came from there.
    passed: u64,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_whole(&self) {
        drop(self.changed.wait_while(self.lock(), |now| now.is_cut).unwrap_or_else(PoisonError::into_inner));
    }

    /// How many of `length` bytes of the far end still pass.
    fn allowed(&self, length: usize) -> usize {
        let mut now = self.lock();
        let mut allowed = length;
        if let Some(left) = &mut now.left {
            allowed = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= allowed as u64;
        }
        now.passed += allowed as u64;
        allowed
    }
}

impl Cable {
    /// To a port of this machine.
    pub fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let own = listener.local_addr()?.port();
        let state: Arc<State> = Arc::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                for (from, to, is_answer) in [(&near, &far, false), (&far, &near, true)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let state = Arc::clone(&shared);
                    thread::spawn(move || pass(from, to, is_answer, &state));
                }
            }
        });
        Ok(Self { port: own, state })
    }

    /// While it is cut nothing passes in either direction, and nothing is closed.
    pub fn cut(&self, is_cut: bool) {
        self.state.lock().is_cut = is_cut;
        self.state.changed.notify_all();
    }

    /// Once so many bytes more have come from the far end, over all connections together, whatever brings another one is
    /// closed. `None`: as many as there are.
    pub fn break_after(&self, bytes: Option<u64>) {
        self.state.lock().left = bytes;
    }

    /// How many bytes have come from the far end so far.
    pub fn passed(&self) -> u64 {
        self.state.lock().passed
    }

    /// Whether it broke.
    pub fn is_broken(&self) -> bool {
        self.state.lock().left == Some(0)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_answer: bool, state: &State) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        state.wait_until_whole();
        let allowed = if is_answer { state.allowed(length) } else { length };
        if length == 0 || to.write_all(&buffer[..allowed]).is_err() || allowed < length {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}
