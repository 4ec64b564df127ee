//! Ratios of two things that were measured side by side, again and again.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::report::line;

const RESAMPLES: usize = 10_000;

/// The ratios of all rounds, kept apart by the start of the processes that they were measured on: two processes of
/// one binary differ a little for as long as they run, so that the rounds of one start are not independent.
#[derive(Debug, Default)]
pub struct Pairs(Vec<Vec<f64>>);

/// What the rounds say.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    pub median: f64,
    /// Of the median: 99 of 100 such intervals hold the true one.
    pub interval: (f64, f64),
}

impl Pairs {
    pub fn begin(&mut self) {
        self.0.push(Vec::new());
    }

    pub fn add(&mut self, ratio: f64) {
        if let Some(start) = self.0.last_mut() {
            start.push(ratio);
        }
    }

    /// Prints and gives the verdict.
    pub fn report(&self, what: &str) -> Verdict {
        let mut all = self.0.concat();
        all.sort_by(f64::total_cmp);
        let verdict = Verdict {
            median: at(&all, 0.5),
            interval: self.interval(),
        };
        let (low, high) = verdict.interval;
        line(&format!(
            "{what:<38} {:>10.4} times      (99 % {low:.4} to {high:.4}, quartiles {:.4} and {:.4}, min {:.4}, max {:.4})",
            verdict.median,
            at(&all, 0.25),
            at(&all, 0.75),
            at(&all, 0.0),
            at(&all, 1.0),
        ));
        verdict
    }

    /// A bootstrap of the median in two steps: starts are drawn, then rounds of each.
    fn interval(&self) -> (f64, f64) {
        // The same rounds give the same interval.
        let mut random = StdRng::seed_from_u64(1);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut sample = Vec::new();
                for _ in &self.0 {
                    let start = &self.0[random.random_range(0..self.0.len())];
                    sample.extend(start.iter().map(|_| start[random.random_range(0..start.len())]));
                }
                sample.sort_by(f64::total_cmp);
                at(&sample, 0.5)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        (at(&medians, 0.005), at(&medians, 0.995))
    }
}

/// The value at this fraction of a sorted sample, between two where it falls between two.
fn at(sorted: &[f64], fraction: f64) -> f64 {
    let place = fraction * sorted.len().saturating_sub(1) as f64;
    let get = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (get(place.floor()), get(place.ceil()));
    below + (above - below) * place.fract()
}
