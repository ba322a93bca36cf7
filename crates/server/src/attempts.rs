//! Slows down whoever guesses passwords.
//!
//! A guess is counted before the password is looked at, so that a thousand sent at once do not all pass while the first is
//! being hashed; a right one is taken back. The counts stand in tables of a fixed size: names and addresses without end
//! fill no memory and push nobody out. Those that share a place share its limit, which can only be stricter.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong passwords within the window: of one address for one name, of one address for any, of all addresses for one name.
const ALLOWED: [u32; 3] = [10, 50, 100];
const WINDOW: TimeDelta = TimeDelta::minutes(1);
const PLACES: usize = 32 * 1024;

#[derive(Clone, Copy, Default)]
struct Count {
    since: DateTime<Utc>,
    wrong: u32,
}

impl Count {
    fn wait(self, allowed: u32, now: DateTime<Utc>) -> Option<i64> {
        let ends = self.since + WINDOW;
        (self.wrong >= allowed && now < ends).then(|| (ends - now).num_seconds().max(1))
    }

    fn add(&mut self, now: DateTime<Utc>) {
        if now >= self.since + WINDOW {
            *self = Self { since: now, wrong: 0 };
        }
        self.wrong += 1;
    }
}

pub(crate) struct Attempts {
    /// Another one with every start: nobody can choose names that fall together.
    hasher: RandomState,
    tables: Mutex<[Vec<Count>; 3]>,
}

impl Default for Attempts {
    fn default() -> Self {
        let tables = Mutex::new([(); 3].map(|()| vec![Count::default(); PLACES]));
        Self { hasher: RandomState::new(), tables }
    }
}

impl Attempts {
    fn places(&self, from: IpAddr, name: &str) -> [usize; 3] {
        let network = network_of(from);
        let place = |hash: u64| usize::try_from(hash % PLACES as u64).unwrap_or(0);
        [
            place(self.hasher.hash_one((network, name))),
            place(self.hasher.hash_one(network)),
            place(self.hasher.hash_one(name)),
        ]
    }

    /// Counts a guess as a wrong one, until it turns out right. Err: the seconds to wait; it is then not counted.
    pub fn begin(&self, from: IpAddr, name: &str, now: DateTime<Utc>) -> Result<(), i64> {
        let places = self.places(from, name);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = tables.iter().zip(places).zip(ALLOWED);
        if let Some(seconds) = waits.filter_map(|((table, place), allowed)| table[place].wait(allowed, now)).max() {
            return Err(seconds);
        }
        for (table, place) in tables.iter_mut().zip(places) {
            table[place].add(now);
        }
        Ok(())
    }

    /// The guess was right. What was guessed for other names from there, or for this one from elsewhere, still counts.
    pub fn succeeded(&self, from: IpAddr, name: &str) {
        let [pair, address, anywhere] = self.places(from, name);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables[0][pair] = Count::default();
        for (table, place) in [(1, address), (2, anywhere)] {
            let count = &mut tables[table][place];
            count.wrong = count.wrong.saturating_sub(1);
        }
    }
}

/// Who has one address of IPv6 has the 2^64 beside it.
pub(crate) fn network_of(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        "2024-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn ten_wrong_ones_a_minute_then_wait() {
        let (attempts, from, start) = (Attempts::default(), IpAddr::from([127, 0, 0, 1]), start());
        for _ in 0..10 {
            assert_eq!(attempts.begin(from, "admin", start), Ok(()));
        }
        assert_eq!(attempts.begin(from, "admin", start + TimeDelta::seconds(20)), Err(40));
        assert_eq!(attempts.begin(from, "other", start), Ok(()));
        assert_eq!(attempts.begin(from, "admin", start + WINDOW), Ok(()));
        attempts.succeeded(from, "admin");
        assert_eq!(attempts.begin(from, "admin", start + WINDOW), Ok(()));
    }

    #[test]
    fn many_names_of_one_address_share_a_limit_and_so_do_the_neighbours() {
        let (attempts, start) = (Attempts::default(), start());
        let at = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let passed = (0..80).filter(|n| attempts.begin(at(*n), &format!("name-{n}"), start).is_ok()).count();
        assert_eq!(passed, 50);
        // Its own success does not give the guesser new guesses.
        attempts.succeeded(at(1), "own account");
        assert_eq!((0..9).filter(|n| attempts.begin(at(9), &format!("more-{n}"), start).is_ok()).count(), 1);
        assert_eq!(attempts.begin(IpAddr::from([10, 0, 0, 1]), "name-1", start), Ok(()));
    }

    #[test]
    fn many_addresses_share_the_limit_of_a_name() {
        let (attempts, start) = (Attempts::default(), start());
        let at = |n: u8| IpAddr::from([10, 0, n, 1]);
        assert_eq!((0..=255).filter(|n| attempts.begin(at(*n), "admin", start).is_ok()).count(), 100);
        assert_eq!(attempts.begin(at(1), "ada", start), Ok(()));
    }
}
