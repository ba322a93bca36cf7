//! A connection to a server that can be cut: without either end being told, by a reset in the middle of an answer, or as a
//! process ends behind something that it has sent.

use std::collections::HashMap;
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

/// Where nothing passes any more, in either direction.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Which pieces count, of all connections together.
    pub counts: fn(&[u8]) -> bool,
    /// Which of them, from 1.
    pub number: u32,
    /// It arrives at the far end, and what would come next does not: its answer, or another piece. Otherwise it does not.
    pub arrives: bool,
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
    stop: Option<Stop>,
    /// The piece has arrived, and nothing has come since.
    has_arrived: bool,
    is_stopped: bool,
    /// Both ends of each connection.
    open: HashMap<u64, [TcpStream; 2]>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_whole(&self) {
        drop(self.changed.wait_while(self.lock(), |now| now.is_cut).unwrap_or_else(PoisonError::into_inner));
    }

    /// How many bytes still pass. Comes back when the connection is to end, if they may not.
    fn allowed(&self, piece: &[u8], is_answer: bool) -> usize {
        let mut now = self.lock();
        if now.stops(piece, is_answer) {
            drop(self.changed.wait_while(now, |now| now.is_stopped).unwrap_or_else(PoisonError::into_inner));
            return 0;
        }
        if !is_answer {
            return piece.len();
        }
        let mut allowed = piece.len();
        if let Some(left) = &mut now.left {
            allowed = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= allowed as u64;
        }
        now.passed += allowed as u64;
        allowed
    }
}

impl Now {
    fn stops(&mut self, piece: &[u8], is_answer: bool) -> bool {
        self.is_stopped |= self.has_arrived;
        if let Some(stop) = self.stop.as_mut().filter(|_| !is_answer && !self.is_stopped && !piece.is_empty()) {
            stop.number -= u32::from((stop.counts)(piece));
            if stop.number == 0 {
                self.has_arrived = stop.arrives;
                self.is_stopped = !stop.arrives;
                self.stop = None;
            }
        }
        self.is_stopped
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
            for (number, near) in (0..).zip(listener.incoming().map_while(Result::ok)) {
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                let (Ok(left), Ok(right)) = (near.try_clone(), far.try_clone()) else { continue };
                shared.lock().open.insert(number, [left, right]);
                for (from, to, is_answer) in [(&near, &far, false), (&far, &near, true)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let state = Arc::clone(&shared);
                    thread::spawn(move || {
                        pass(from, to, is_answer, &state);
                        state.lock().open.remove(&number);
                    });
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

    /// From there on nothing passes until [`Cable::sever`]. One piece is what the near end sends at once, up to 16 KiB.
    pub fn stop_at(&self, stop: Stop) {
        self.state.lock().stop = Some(stop);
    }

    /// Whether it has come to that.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped
    }

    /// Closes all connections, as the end of a process closes its own; those to come pass.
    pub fn sever(&self) {
        let mut now = self.state.lock();
        (now.stop, now.has_arrived, now.is_stopped) = (None, false, false);
        for end in now.open.drain().flat_map(|(_, ends)| ends) {
            let _ = end.shutdown(Shutdown::Both);
        }
        drop(now);
        self.state.changed.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_answer: bool, state: &State) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        state.wait_until_whole();
        let allowed = state.allowed(&buffer[..length], is_answer);
        if length == 0 || to.write_all(&buffer[..allowed]).is_err() || allowed < length {
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}
