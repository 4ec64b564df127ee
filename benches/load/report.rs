//! Printing figures with their spread.

use std::io::Write;

use crate::Fallible;

pub fn line(text: &str) {
    // A reader that is gone needs no figures.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Minimum, median, maximum.
pub fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

pub fn spread_line(what: &str, unit: &str, values: Vec<f64>) -> f64 {
    let (least, median, most) = spread(values);
    line(&format!(
        "{what:<38} {median:>10.2} {unit:<10} (min {least:.2}, max {most:.2})"
    ));
    median
}

/// The values at these fractions of the sorted sample.
pub fn percentiles(sample: &mut [u64], fractions: &[f64]) -> Vec<u64> {
    sample.sort_unstable();
    let last = sample.len().saturating_sub(1) as f64;
    fractions
        .iter()
        .map(|f| sample.get((last * f) as usize).copied().unwrap_or(0))
        .collect()
}

/// What arrived at a session, against what was to arrive.
#[derive(Debug, Default, Clone, Copy)]
pub struct Faults {
    pub lost: u64,
    pub repeated: u64,
    pub disordered: u64,
}

impl Faults {
    pub fn check(self) -> Fallible<()> {
        line(&format!(
            "lost {}, repeated {}, out of order {}",
            self.lost, self.repeated, self.disordered
        ));
        self.verdict()
    }

    pub fn verdict(self) -> Fallible<()> {
        match self.lost + self.repeated + self.disordered {
            0 => Ok(()),
            _ => Err("messages were lost, repeated or out of order".into()),
        }
    }
}
