//! Slows down whoever guesses passwords.
//!
//! A guess is counted before the password is looked at, so that a thousand sent at once do not all pass while the first is
//! being hashed; a right one is taken back. The counts stand in tables of a fixed size: names and addresses without end
//! fill no memory and push nobody out. Those that share a place share its limit, which can only be stricter.
//!
//! Whoever guesses one name from many addresses shuts its person out nowhere that they came from lately: there, only what
//! is guessed from there counts.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong passwords within the window: of one address for one name, of one address for any, of all addresses for one name.
const ALLOWED: [u32; 3] = [10, 50, 100];
const WINDOW: TimeDelta = TimeDelta::minutes(1);
const PLACES: usize = 32 * 1024;
/// A right password is remembered for so long, with its address; not over a restart.
const LATELY: TimeDelta = TimeDelta::days(30);

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
    tables: Mutex<Tables>,
}

struct Tables {
    counts: [Vec<Count>; 3],
    /// At the place of address and name: which of them it is, and when they came last.
    known: Vec<(u64, DateTime<Utc>)>,
}

impl Tables {
    /// How many of the counts are looked at.
    fn counted(&self, who: Who, now: DateTime<Utc>) -> usize {
        let (known, at) = self.known[who.places[0]];
        if known == who.pair && now < at + LATELY { 2 } else { 3 }
    }
}

/// Somebody somewhere.
#[derive(Clone, Copy)]
struct Who {
    pair: u64,
    places: [usize; 3],
}

impl Default for Attempts {
    fn default() -> Self {
        let counts = [(); 3].map(|()| vec![Count::default(); PLACES]);
        let known = vec![(0, DateTime::<Utc>::MIN_UTC); PLACES];
        Self { hasher: RandomState::new(), tables: Mutex::new(Tables { counts, known }) }
    }
}

impl Attempts {
    fn who(&self, from: IpAddr, name: &str) -> Who {
        let network = network_of(from);
        let place = |hash: u64| usize::try_from(hash % PLACES as u64).unwrap_or(0);
        let pair = self.hasher.hash_one((network, name));
        Who { pair, places: [place(pair), place(self.hasher.hash_one(network)), place(self.hasher.hash_one(name))] }
    }

    /// Counts a guess as a wrong one, until it turns out right. Err: the seconds to wait; it is then not counted.
    pub fn begin(&self, from: IpAddr, name: &str, now: DateTime<Utc>) -> Result<(), i64> {
        let who = self.who(from, name);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = tables.counted(who, now);
        let waits = tables.counts.iter().zip(who.places).zip(ALLOWED).take(counted);
        if let Some(seconds) = waits.filter_map(|((table, place), allowed)| table[place].wait(allowed, now)).max() {
            return Err(seconds);
        }
        for (table, place) in tables.counts.iter_mut().zip(who.places).take(counted) {
            table[place].add(now);
        }
        Ok(())
    }

    /// The guess was right. What was guessed for other names from there, or for this one from elsewhere, still counts.
    pub fn succeeded(&self, from: IpAddr, name: &str, now: DateTime<Utc>) {
        let who = self.taken_back(from, name, now);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.known[who.places[0]] = (who.pair, now);
    }

    /// Nothing was wrong, and nobody has shown who they are.
    pub fn passed(&self, from: IpAddr, name: &str, now: DateTime<Utc>) {
        self.taken_back(from, name, now);
    }

    fn taken_back(&self, from: IpAddr, name: &str, now: DateTime<Utc>) -> Who {
        let who = self.who(from, name);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = tables.counted(who, now);
        tables.counts[0][who.places[0]] = Count::default();
        for (table, place) in tables.counts.iter_mut().zip(who.places).take(counted).skip(1) {
            table[place].wrong = table[place].wrong.saturating_sub(1);
        }
        who
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
        attempts.succeeded(from, "admin", start + WINDOW);
        assert_eq!(attempts.begin(from, "admin", start + WINDOW), Ok(()));
    }

    /// Anybody can come to the provider's door as often as they like.
    #[test]
    fn who_only_passed_is_remembered_as_nobody() {
        let (attempts, from, start) = (Attempts::default(), IpAddr::from([127, 0, 0, 1]), start());
        assert_eq!(attempts.begin(from, "to oidc", start), Ok(()));
        attempts.passed(from, "to oidc", start);
        let known = |attempts: &Attempts| attempts.tables.lock().unwrap().known.iter().filter(|it| it.0 != 0).count();
        assert_eq!(known(&attempts), 0);
        assert_eq!((0..20).filter(|_| attempts.begin(from, "to oidc", start).is_ok()).count(), 10);
        attempts.succeeded(from, "ada", start);
        assert_eq!(known(&attempts), 1);
    }

    #[test]
    fn many_names_of_one_address_share_a_limit_and_so_do_the_neighbours() {
        let (attempts, start) = (Attempts::default(), start());
        let at = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let passed = (0..80).filter(|n| attempts.begin(at(*n), &format!("name-{n}"), start).is_ok()).count();
        assert_eq!(passed, 50);
        // Its own success does not give the guesser new guesses.
        attempts.succeeded(at(1), "own account", start);
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

    #[test]
    fn who_came_lately_is_shut_out_by_nobody_elsewhere() {
        let (attempts, start) = (Attempts::default(), start());
        let at = |n: u8| IpAddr::from([10, 0, n, 1]);
        let home = at(255);
        assert_eq!(attempts.begin(home, "admin", start), Ok(()));
        attempts.succeeded(home, "admin", start);
        let guess = |now| (0..=200).filter(|n| attempts.begin(at(*n), "admin", now).is_ok()).count();
        assert_eq!(guess(start), 100, "what is right at home gives nobody else more guesses");
        // Guesses from there count there.
        assert_eq!((0..20).filter(|_| attempts.begin(home, "admin", start).is_ok()).count(), 10);
        let later = start + LATELY;
        assert_eq!((guess(later), attempts.begin(home, "admin", later)), (100, Err(60)), "it was long ago");
    }
}
