//! A token bucket: so much a second, and so much at once. Pure: the caller says what time it is.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::Pace;

/// What is left of a [`Pace`]. What was taken in error, or cheaper than it looked, can be given back.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    pace: Pace,
    /// When it will be full again if nothing more is taken.
    full_at: Instant,
}

impl Bucket {
    pub const fn full(pace: Pace, now: Instant) -> Self {
        Self { pace, full_at: now }
    }

    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Takes `cost` tokens if they are there; else how long until they are, or until it is full where the cost is
    /// more than a burst.
    pub fn take(&mut self, cost: f64, now: Instant) -> Result<(), Duration> {
        match self.wait(cost, now) {
            Duration::ZERO => {
                self.spend(cost, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes `cost` tokens, on credit if need be.
    pub fn spend(&mut self, cost: f64, now: Instant) {
        self.full_at = self.full_at.max(now) + self.time_for(cost);
    }

    /// How long until `cost` tokens are there.
    pub fn wait(&self, cost: f64, now: Instant) -> Duration {
        let burst = f64::from(self.pace.burst);
        let empty_for = self.full_at.max(now) + self.time_for(cost.min(burst)) - now;
        empty_for.saturating_sub(self.time_for(burst))
    }

    pub fn give_back(&mut self, tokens: f64) {
        let earlier = self.full_at.checked_sub(self.time_for(tokens));
        self.full_at = earlier.unwrap_or(self.full_at);
    }

    /// Nothing would change if it were forgotten and begun anew.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    fn time_for(&self, tokens: f64) -> Duration {
        Duration::from_secs_f64(tokens / f64::from(self.pace.per_second.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Later(u64),
        Take(f64),
        Back(f64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u64..400).prop_map(Step::Later),
            prop_oneof![Just(1.0), 0.1..3.0].prop_map(Step::Take),
            (0.0..0.9).prop_map(Step::Back),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// It is the bucket that one draws on paper: a level that rises with time, up to the burst.
        #[test]
        fn is_a_level_that_rises_with_time(steps in steps(), per_second in 1u32..50, times in 1u32..4) {
            let pace = Pace { per_second, burst: per_second * times + 2 };
            let (rate, burst) = (f64::from(per_second), f64::from(pace.burst));
            let mut now = Instant::now();
            let mut bucket = Bucket::full(pace, now);
            let mut level = burst;
            for step in steps {
                match step {
                    Step::Later(millis) => {
                        now += Duration::from_millis(millis);
                        level = (level + rate * millis as f64 / 1000.0).min(burst);
                    }
                    Step::Back(tokens) => {
                        bucket.give_back(tokens);
                        level = (level + tokens).min(burst);
                    }
                    // A hair's breadth from enough, rounding may decide.
                    Step::Take(cost) if (level - cost).abs() < 1e-6 => {}
                    Step::Take(cost) => match bucket.take(cost, now) {
                        Ok(()) => {
                            prop_assert!(level > cost, "{level} for {cost}");
                            level -= cost;
                        }
                        Err(wait) => {
                            prop_assert!(level < cost, "{level} for {cost}");
                            let short = (cost - level) / rate;
                            prop_assert!((wait.as_secs_f64() - short).abs() < 1e-6, "{wait:?} for {short} s");
                            // Who comes back when told to is not sent away again.
                            prop_assert!(bucket.clone().take(cost, now + wait).is_ok());
                        }
                    },
                }
                prop_assert!(bucket.is_full(now) == (level >= burst) || (burst - level).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_cost_over_the_burst_waits_for_a_full_one() {
        let now = Instant::now();
        let mut bucket = Bucket::full(
            Pace {
                per_second: 10,
                burst: 20,
            },
            now,
        );
        assert_eq!(bucket.take(30.0, now), Ok(()), "it is full");
        assert_eq!(bucket.wait(1.0, now), Duration::from_millis(1100), "in debt");
        assert!(bucket.take(30.0, now + Duration::from_secs(2)).is_err());
        assert_eq!(bucket.take(30.0, now + Duration::from_secs(3)), Ok(()));
    }
}
