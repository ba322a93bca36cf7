//! Where boxes stand: in layers from the left, what waits to the right of what it waits for; and the arrows between them.

use std::collections::BTreeMap;

use rust_sugiyama::configure::{Config, RankingType};
use serde::Serialize;

const BETWEEN_LAYERS: f64 = 56.0;
const BETWEEN_BOXES: f64 = 16.0;

/// A rectangle of a picture, from its left upper corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(in crate::pages) struct Place {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Place {
    pub fn moved(self, x: f64, y: f64) -> Self {
        Self { x: self.x + x, y: self.y + y, ..self }
    }

    /// The path of an arrow.
    pub fn arrow(&self, to: &Self) -> String {
        let (x1, y1, x2, y2) = (self.x + self.width, self.y + self.height / 2.0, to.x, to.y + to.height / 2.0);
        let bend = ((x2 - x1) / 2.0).max(20.0);
        format!("M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2 - bend)
    }
}

/// How far to the right and down it all goes.
pub(in crate::pages) fn extent(places: &[Place]) -> (f64, f64) {
    places.iter().fold((0.0, 0.0), |(x, y), place| (x.max(place.x + place.width), y.max(place.y + place.height)))
}

/// A box, its layer from the left, and where its middle would best be, from above.
type Wish = (usize, usize, f64);

/// Of each box its place, given what it waits for and its width and height. `ordered`: so that few arrows cross, which
/// takes its time with many; else by depth alone.
pub(in crate::pages) fn stand(upstream: &[Vec<usize>], sizes: &[(f64, f64)], ordered: bool) -> Vec<Place> {
    let is_joined = upstream.iter().any(|before| !before.is_empty());
    let groups =
        if ordered && is_joined { with_few_crossings(upstream, sizes) } else { vec![by_depth(upstream, sizes)] };
    let mut places = vec![Place { x: 0.0, y: 0.0, width: 0.0, height: 0.0 }; sizes.len()];
    let mut above = 0.0;
    for wishes in groups {
        let mut layers: BTreeMap<usize, Vec<(f64, usize)>> = BTreeMap::new();
        for (one, layer, middle) in wishes {
            layers.entry(layer).or_default().push((middle - sizes[one].1 / 2.0, one));
        }
        let top = layers.values().flatten().map(|(top, _)| *top).fold(f64::INFINITY, f64::min);
        let (mut x, mut lowest) = (0.0, above);
        for mut layer in layers.into_values() {
            layer.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            let (mut free, mut widest) = (above, 0.0_f64);
            for (wish, one) in layer {
                let (width, height) = sizes[one];
                let y = (above + wish - top).max(free).round();
                places[one] = Place { x, y, width, height };
                free = y + height + BETWEEN_BOXES;
                widest = widest.max(width);
            }
            lowest = free.max(lowest);
            x += widest + BETWEEN_LAYERS;
        }
        above = lowest;
    }
    places
}

/// Those that are joined by arrows, apart from the others.
fn with_few_crossings(upstream: &[Vec<usize>], sizes: &[(f64, f64)]) -> Vec<Vec<Wish>> {
    let edges: Vec<(u32, u32)> = upstream
        .iter()
        .enumerate()
        .flat_map(|(to, before)| before.iter().map(move |from| (*from as u32, to as u32)))
        .collect();
    // The crate draws from the top down. All are as high to it, so that its heights count layers.
    let boxes: Vec<(u32, (f64, f64))> =
        sizes.iter().enumerate().map(|(one, (_, height))| (one as u32, (*height, 0.0))).collect();
    let config = Config {
        vertex_spacing: BETWEEN_BOXES,
        ranking_type: RankingType::MinimizeEdgeLength,
        transpose: sizes.len() <= MOST_TURNED,
        ..Config::default()
    };
    let layer = |down: f64| (down / BETWEEN_BOXES).round().max(0.0) as usize;
    rust_sugiyama::from_vertices_and_edges(&boxes, &edges, &config)
        .into_iter()
        .map(|(joined, ..)| joined.into_iter().map(|(one, (across, down))| (one, layer(down), across)).collect())
        .collect()
}

/// More of them are not exchanged with each other one by one.
const MOST_TURNED: usize = 75;

/// In one pass from those that wait for nothing. What waits for itself in a circle, as assets and groups may, stays at the
/// left.
fn by_depth(upstream: &[Vec<usize>], sizes: &[(f64, f64)]) -> Vec<Wish> {
    let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); upstream.len()];
    for (one, before) in upstream.iter().enumerate() {
        for other in before {
            downstream[*other].push(one);
        }
    }
    let mut waiting: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut depths = vec![0; upstream.len()];
    let mut settled: Vec<usize> = (0..upstream.len()).filter(|one| waiting[*one] == 0).collect();
    while let Some(one) = settled.pop() {
        for next in &downstream[one] {
            depths[*next] = depths[*next].max(depths[one] + 1);
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                settled.push(*next);
            }
        }
    }
    let mut free: Vec<f64> = Vec::new();
    let wish = |(one, depth): (usize, usize)| {
        let depth = if waiting[one] > 0 { 0 } else { depth };
        free.resize(free.len().max(depth + 1), 0.0);
        let height = sizes[one].1 + BETWEEN_BOXES;
        free[depth] += height;
        (one, depth, free[depth] - height / 2.0)
    };
    depths.into_iter().enumerate().map(wish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two stand on one another, and what waits stands to the right of what it waits for.
    fn check(upstream: &[Vec<usize>], size: impl Fn(usize) -> (f64, f64)) {
        let sizes: Vec<(f64, f64)> = (0..upstream.len()).map(size).collect();
        for ordered in [upstream.len() <= 150, false] {
            let places = stand(upstream, &sizes, ordered);
            assert_eq!(places.len(), upstream.len());
            for (one, before) in upstream.iter().enumerate() {
                let here = places[one];
                assert_eq!((here.width, here.height), sizes[one]);
                for other in before.iter().map(|other| places[*other]) {
                    assert!(other.x + other.width < here.x, "{one} after {other:?}: {places:?}");
                }
                for other in &places[..one] {
                    let is_beside = here.x >= other.x + other.width || other.x >= here.x + here.width;
                    let is_below = here.y >= other.y + other.height || other.y >= here.y + here.height;
                    assert!(is_beside || is_below, "{one} on {other:?}: {places:?}");
                }
            }
        }
    }

    #[test]
    fn boxes_stand_in_layers() {
        let even = |_: usize| (100.0, 32.0);
        let uneven = |one: usize| (100.0 + 70.0 * (one % 3) as f64, 32.0 + 90.0 * (one % 4) as f64);
        let diamond = vec![vec![], vec![0], vec![0], vec![1, 2], vec![0, 3], vec![]];
        let apart = vec![vec![], vec![0], vec![], vec![2], vec![]];
        let wide: Vec<Vec<usize>> = (0..60).map(|one| if one == 0 { vec![] } else { vec![(one - 1) / 3] }).collect();
        let long: Vec<Vec<usize>> = (0..300).map(|one| if one == 0 { vec![] } else { vec![one - 1] }).collect();
        for upstream in [diamond, apart, vec![], vec![vec![]], wide, long] {
            check(&upstream, even);
            check(&upstream, uneven);
        }
    }

    #[test]
    fn very_many_and_those_in_circles_stand_by_their_depth() {
        // Listed backwards.
        let backwards: Vec<Vec<usize>> =
            (1..=50_000).map(|one| if one == 50_000 { vec![] } else { vec![one] }).collect();
        let places = stand(&backwards, &vec![(10.0, 10.0); 50_000], false);
        assert!(places[0].x > places[1].x && places[49_999].x == 0.0);
        let circle = stand(&[vec![1], vec![0], vec![0]], &[(10.0, 10.0); 3], false);
        assert!(circle[0].y < circle[1].y && circle[1].y < circle[2].y, "{circle:?}");
        assert_eq!(stand(&[vec![1], vec![0], vec![0]], &[(10.0, 10.0); 3], true).len(), 3);
    }
}
