//! Failures of the store that are planned: at any point that comes, or at one by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use millrace_store::faults::{Fault, FaultPoint, Faults};

/// A place in the store's code: where a call can fail, and what it is for.
pub type Place = (FaultPoint, &'static str);

#[derive(Debug, Clone, Copy)]
struct Plan {
    point: FaultPoint,
    /// None: whatever it is for.
    name: Option<&'static str>,
    fault: Fault,
    after: usize,
    times: usize,
}

#[derive(Default)]
struct Seen {
    plans: Vec<Plan>,
    came: BTreeSet<Place>,
    struck: BTreeSet<Place>,
    /// Since `begin`, the last.
    just_struck: Option<FaultPoint>,
}

#[derive(Default)]
pub struct PlannedFaults(Mutex<Seen>);

impl PlannedFaults {
    /// `times` failures one after another, once `after` such points have been passed.
    pub fn plan(&self, point: FaultPoint, fault: Fault, after: usize, times: usize) {
        self.0.lock().unwrap().plans.push(Plan { point, name: None, fault, after, times });
    }

    /// As [`Self::plan`], of one place.
    pub fn plan_at(&self, (point, name): Place, fault: Fault, after: usize, times: usize) {
        self.0.lock().unwrap().plans.push(Plan { point, name: Some(name), fault, after, times });
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().plans.clear();
    }

    pub fn is_armed(&self) -> bool {
        !self.0.lock().unwrap().plans.is_empty()
    }

    pub fn begin(&self) {
        self.0.lock().unwrap().just_struck = None;
    }

    /// Where something failed since `begin`, if anything did: the last place.
    pub fn end(&self) -> Option<FaultPoint> {
        self.0.lock().unwrap().just_struck
    }

    /// The places that were passed or struck.
    pub fn came(&self) -> BTreeSet<Place> {
        self.0.lock().unwrap().came.clone()
    }

    pub fn struck(&self) -> BTreeSet<Place> {
        self.0.lock().unwrap().struck.clone()
    }
}

impl Faults for PlannedFaults {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        let mut seen = self.0.lock().unwrap();
        seen.came.insert((point, attempted));
        let mut fault = None;
        for plan in &mut seen.plans {
            if plan.point != point || plan.name.is_some_and(|name| name != attempted) {
                continue;
            }
            if plan.after > 0 {
                plan.after -= 1;
            } else if fault.is_none() {
                plan.times -= 1;
                fault = Some(plan.fault);
            }
        }
        seen.plans.retain(|plan| plan.times > 0);
        if fault.is_some() {
            seen.struck.insert((point, attempted));
            seen.just_struck = Some(point);
        }
        fault
    }
}

/// What a set of worlds has shown of the store's places.
#[derive(Default)]
pub struct Coverage {
    /// With a world that came by.
    came: BTreeMap<Place, u64>,
    struck: BTreeSet<Place>,
}

impl Coverage {
    pub fn add(&mut self, seed: u64, came: BTreeSet<Place>, struck: BTreeSet<Place>) {
        for place in came {
            self.came.entry(place).or_insert(seed);
        }
        self.struck.extend(struck);
    }

    /// Some places that were passed and never struck, all by one world.
    pub fn missing(&self, most: usize) -> Option<(u64, Vec<Place>)> {
        let mut missing = self.came.iter().filter(|(place, _)| !self.struck.contains(*place)).peekable();
        let seed = *missing.peek()?.1;
        let of_seed = missing.filter(|(_, of)| **of == seed).map(|(place, _)| *place);
        Some((seed, of_seed.take(most).collect()))
    }

    pub fn has_struck(&self, place: &Place) -> bool {
        self.struck.contains(place)
    }

    pub fn len(&self) -> usize {
        self.struck.len()
    }
}
