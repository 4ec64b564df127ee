//! How fast a session may go on: its messages by the rate that `joined` tells, everything else by a budget. Past
//! either it is not refused but read later, so that TCP slows its client; only who keeps that up is refused. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Bucket;
use crate::protocol::Pace;

/// What costs no message: frames of pings, pongs and refused commands, and the fragments of a message. No client
/// that means well sends a hundredth of it.
const OTHERS: Pace = Pace {
    per_second: 500,
    burst: 2000,
};
/// So many messages refused in a row end the session.
const MAX_REFUSED: u32 = 20;

/// What is left to a session.
#[derive(Debug)]
pub struct Throttle {
    messages: Option<Bucket>,
    others: Bucket,
    /// Until when the session is not read, since it has used its budget up.
    rests_until: Option<Instant>,
    /// Since when it has sent over its rate without once waiting for an answer.
    pressing_since: Option<Instant>,
    /// Messages refused in a row.
    refused: u32,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    Take,
    /// Keep it until then, and read nothing more. `begins`: this session had been within its rate until now.
    Hold {
        until: Instant,
        begins: bool,
    },
    /// It has been held back for long enough: again after this.
    Refuse(Duration),
    /// Refusing did not help either.
    End,
}

impl Throttle {
    pub fn new(messages: Option<Pace>, now: Instant) -> Self {
        Self {
            messages: messages.map(|pace| Bucket::full(pace, now)),
            others: Bucket::full(OTHERS, now),
            rests_until: None,
            pressing_since: None,
            refused: 0,
        }
    }

    /// Judges one message. `patience`: how long a session may go on being too fast.
    pub fn message(&mut self, now: Instant, patience: Duration) -> Ruling {
        let Some(Err(wait)) = self.messages.as_mut().map(|bucket| bucket.take(1.0, now)) else {
            self.refused = 0;
            return Ruling::Take;
        };
        let begins = self.pressing_since.is_none();
        let since = *self.pressing_since.get_or_insert(now);
        if now - since < patience {
            let until = now + wait;
            return Ruling::Hold { until, begins };
        }
        self.refused += 1;
        match self.refused < MAX_REFUSED {
            true => Ruling::Refuse(wait),
            false => Ruling::End,
        }
    }

    /// A message has cost less than it seemed.
    pub fn give_back(&mut self, tokens: f64) {
        if let Some(messages) = &mut self.messages {
            messages.give_back(tokens);
        }
    }

    /// Charges for what is no message. True: from now on the session rests.
    pub fn spend(&mut self, cost: usize, now: Instant) -> bool {
        self.others.spend(cost as f64, now);
        match self.others.wait(0.0, now) {
            Duration::ZERO => false,
            wait => self.rests_until.replace(now + wait).is_none(),
        }
    }

    /// Until when the session is not read.
    pub const fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Ends the rest when it is over.
    pub fn look(&mut self, now: Instant) {
        self.rests_until = self.rests_until.filter(|until| *until > now);
    }

    /// The client has nothing more to say for now: it waits, as it should.
    pub const fn paused(&mut self) {
        self.pressing_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn throttle() -> (Throttle, Instant) {
        let now = Instant::now();
        (Throttle::new(Some(Pace::of(20)), now), now)
    }

    #[test]
    fn who_is_too_fast_is_held_then_refused_then_let_go() {
        let (mut throttle, begun) = throttle();
        let (mut now, mut taken) = (begun, 0);
        while now - begun < PATIENCE {
            match throttle.message(now, PATIENCE) {
                Ruling::Take => taken += 1,
                Ruling::Hold { until, begins } => {
                    assert_eq!(begins, taken == 40);
                    now = until;
                }
                other => panic!("{other:?} after {:?}", now - begun),
            }
        }
        assert_eq!(taken, 40 + 20 * 30 - 1, "the burst, and the rate");
        assert_eq!(throttle.message(now, PATIENCE), Ruling::Take);
        for _ in 1..MAX_REFUSED {
            assert!(matches!(throttle.message(now, PATIENCE), Ruling::Refuse(_)));
        }
        assert_eq!(throttle.message(now, PATIENCE), Ruling::End);
    }

    #[test]
    fn who_pauses_has_the_whole_patience_again() {
        let (mut throttle, mut now) = throttle();
        for _ in 0..10 {
            while throttle.message(now, PATIENCE) == Ruling::Take {}
            now += PATIENCE / 2;
            throttle.paused();
        }
        while throttle.message(now, PATIENCE) == Ruling::Take {}
        assert!(matches!(throttle.message(now, PATIENCE), Ruling::Hold { .. }));
    }

    #[test]
    fn a_flood_of_what_is_no_message_comes_to_rest() {
        let (mut throttle, now) = throttle();
        assert!(!throttle.spend(2000, now));
        assert!(throttle.spend(50, now), "it begins to rest");
        assert!(!throttle.spend(50, now), "it rests already");
        let until = throttle.rests_until().unwrap();
        assert_eq!(until, now + Duration::from_millis(200));
        throttle.look(until);
        assert_eq!(throttle.rests_until(), None);
        assert_eq!(
            throttle.message(until, PATIENCE),
            Ruling::Take,
            "messages are counted apart"
        );
    }
}
