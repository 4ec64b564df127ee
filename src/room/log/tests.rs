use super::*;
use proptest::prelude::*;

fn entry(seq: u64) -> Entry {
    Entry {
        seq: Seq(seq),
        id: Uuid::from_u128(seq.into()),
        frame: Bytes::from(vec![b'x'; 1 + (seq % 7) as usize]),
    }
}

fn entries(range: impl Iterator<Item = u64>) -> Vec<Entry> {
    range.map(entry).collect()
}

/// Everything a cursor sees until it is up to date or cold.
fn follow(log: &Log, mut cursor: Seq) -> (Vec<Bytes>, Seq, bool) {
    let mut frames = Vec::new();
    loop {
        match log.read(cursor, 3, 10, &mut frames) {
            Read::UpToDate => return (frames, cursor, false),
            Read::Cold => return (frames, cursor, true),
            Read::Advanced(at) => {
                assert!(at > cursor);
                cursor = at;
            }
        }
    }
}

const LIMITS: WarmLimits = WarmLimits {
    messages: 20,
    bytes: 100,
};

#[test]
fn what_arrives_before_the_head_is_known_waits_for_it() {
    let mut log = Log::new(LIMITS);
    assert_eq!(log.offer(entry(6)), Offered::Early);
    assert_eq!(log.hole(), None);
    log.load(entries(3..=5));
    assert_eq!(log.head(), Seq(6));
    assert_eq!(
        follow(&log, Seq(2)),
        (
            entries(3..=6).into_iter().map(|e| e.frame).collect(),
            Seq(6),
            false
        )
    );
}

#[test]
fn a_hole_names_what_is_missing() {
    let mut log = Log::new(LIMITS);
    log.load(vec![]);
    log.offer(entry(4));
    assert_eq!(
        log.hole(),
        Some(Hole {
            after: Seq(0),
            upto: Seq(3)
        })
    );
    log.offer(entry(1));
    log.offer(entry(3));
    assert_eq!(
        log.hole(),
        Some(Hole {
            after: Seq(1),
            upto: Seq(2)
        })
    );
    assert_eq!(log.offer(entry(2)), Offered::News);
    assert_eq!((log.hole(), log.head()), (None, Seq(4)));
    let question = log.question();
    log.answer(
        question,
        Head {
            seq: Seq(9),
            found: None,
        },
    );
    assert_eq!(
        log.hole(),
        Some(Hole {
            after: Seq(4),
            upto: Seq(9)
        })
    );
}

#[test]
fn an_old_cursor_is_cold_and_a_future_one_is_up_to_date() {
    let mut log = Log::new(WarmLimits {
        messages: 2,
        bytes: 1000,
    });
    log.load(entries(1..=5));
    assert_eq!(log.read(Seq(2), 9, 99, &mut vec![]), Read::Cold);
    assert_eq!(log.read(Seq(3), 9, 99, &mut vec![]), Read::Advanced(Seq(5)));
    assert_eq!(log.read(Seq(8), 9, 99, &mut vec![]), Read::UpToDate);
    assert_eq!(
        (log.id_at(Seq(3)), log.id_at(Seq(4)), log.id_at(Seq(6))),
        (None, Some(Uuid::from_u128(4)), None)
    );
}

fn other(seq: u64) -> Entry {
    Entry {
        id: Uuid::from_u128(u128::from(seq) << 64),
        ..entry(seq)
    }
}

#[test]
fn another_message_at_a_known_place_is_a_contradiction() {
    let mut log = Log::new(WarmLimits {
        messages: 2,
        bytes: 1000,
    });
    log.load(entries(1..=5));
    log.offer(entry(8));
    let offers = [
        (entry(3), Offered::Past),
        (entry(4), Offered::Known),
        (entry(5), Offered::Known),
        (entry(8), Offered::Known),
    ];
    for (entry, offered) in offers {
        assert_eq!(log.offer(entry), offered);
    }
    assert!(!log.is_doubted());
    for seq in [4, 5, 8] {
        let claim = log.claim();
        assert_eq!(log.offer(other(seq)), Offered::Contradiction);
        assert!(log.is_doubted());
        // Settled is what was known when it was asked.
        log.settle(&claim);
        assert!(log.is_doubted());
        let claim = log.claim();
        log.settle(&claim);
        assert!(!log.is_doubted());
    }
}

#[test]
fn a_lower_head_is_in_doubt_unless_it_was_asked_for_earlier() {
    let mut log = Log::new(LIMITS);
    log.load(entries(1..=5));
    let early = log.question();
    log.offer(entry(6));
    log.answer(
        early,
        Head {
            seq: Seq(5),
            found: Some(entry(5).id),
        },
    );
    assert!(!log.is_doubted());
    let late = log.question();
    log.answer(
        late,
        Head {
            seq: Seq(5),
            found: Some(entry(5).id),
        },
    );
    assert!(log.is_doubted());
    let stored = |head, follows| Stored {
        head,
        ids: (1..=head.0).map(|seq| (Seq(seq), entry(seq).id)).collect(),
        follows,
    };
    let judge = |head, follows| log.claim().judge(&stored(head, follows));
    assert_eq!(judge(Seq(5), true), Verdict::Unsure);
    assert_eq!(judge(Seq(6), false), Verdict::Intact);
    let rewind = Rewind {
        common: Seq(5),
        upto: Seq(6),
    };
    assert_eq!(judge(Seq(5), false), Verdict::WentBack(rewind));
    // Old messages may be removed one day: that is no rewind.
    let mut removed = stored(Seq(7), false);
    removed.ids.clear();
    assert_eq!(log.claim().judge(&removed), Verdict::Intact);
    // All of them are there, and the counter beside them is behind.
    let mut behind = stored(Seq(6), false);
    behind.head = Seq(2);
    assert_eq!(log.claim().judge(&behind), Verdict::Intact);
}

/// A store that can go back, everything that was ever said of it, and a log with those who follow it.
struct World {
    store: Vec<Uuid>,
    said: Vec<Entry>,
    log: Log,
    seen: BTreeMap<Seq, Uuid>,
    question: Option<(Question, Option<Head>)>,
    /// In all, and since the log was loaded.
    rewinds: (u32, u32),
}

#[derive(Debug, Clone)]
enum Step {
    CommitHere,
    CommitElsewhere,
    /// A message comes by the relay: any, late or again.
    Hear(prop::sample::Index),
    Ask,
    LookUp,
    Answer,
    Repair,
    Inquire,
    GoBack(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::CommitHere),
        3 => Just(Step::CommitElsewhere),
        6 => any::<prop::sample::Index>().prop_map(Step::Hear),
        2 => Just(Step::Ask),
        2 => Just(Step::LookUp),
        2 => Just(Step::Answer),
        2 => Just(Step::Repair),
        2 => Just(Step::Inquire),
        1 => (1usize..8).prop_map(Step::GoBack),
    ]
}

impl World {
    const LIMITS: WarmLimits = WarmLimits {
        messages: 4,
        bytes: 1000,
    };

    fn new() -> Self {
        let mut log = Log::new(Self::LIMITS);
        log.load(vec![]);
        Self {
            store: vec![],
            said: vec![],
            log,
            seen: BTreeMap::new(),
            question: None,
            rewinds: (0, 0),
        }
    }

    fn stored(&self, seq: Seq) -> Entry {
        Entry {
            id: self.store[seq.0 as usize - 1],
            ..entry(seq.0)
        }
    }

    fn head(&self) -> Seq {
        Seq(self.store.len() as u64)
    }

    fn commit(&mut self) -> Entry {
        self.store.push(Uuid::now_v7());
        let committed = self.stored(self.head());
        self.said.push(committed.clone());
        committed
    }

    fn look_up(&self, question: Question) -> Head {
        let place = question.point.map_or(Seq::NONE, |point| point.seq);
        let found = (Seq(1)..=self.head())
            .contains(&place)
            .then(|| self.stored(place).id);
        Head {
            seq: self.head(),
            found,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::CommitHere => {
                let committed = self.commit();
                if self.log.offer(committed) == Offered::Past {
                    self.log.doubt(None);
                }
            }
            Step::CommitElsewhere => drop(self.commit()),
            Step::Hear(which) if !self.said.is_empty() => {
                let heard = which.get(&self.said);
                // No message of what is lost is under way for longer than the store was away, and then the next one.
                if heard.seq <= self.log.head() || self.store.contains(&heard.id) {
                    self.log.offer(heard.clone());
                }
            }
            Step::Ask if self.question.is_none() => self.question = Some((self.log.question(), None)),
            Step::LookUp => {
                self.question = self.question.map(|(asked, _)| (asked, Some(self.look_up(asked))));
            }
            Step::Answer => {
                if let Some((question, Some(head))) = self.question {
                    self.log.answer(question, head);
                    self.question = None;
                }
            }
            Step::Repair => self.repair(),
            Step::Inquire => self.inquire(),
            Step::GoBack(by) if by <= self.store.len() => {
                // It answered in the last second, then was away and was asked in vain.
                for step in [Step::Ask, Step::LookUp, Step::Answer] {
                    self.take(step);
                }
                self.log.question();
                self.log.forget_early();
                self.store.truncate(self.store.len() - by);
                self.rewinds = (self.rewinds.0 + 1, self.rewinds.1 + 1);
            }
            _ => {}
        }
        self.seen
            .extend(self.log.warm.iter().map(|entry| (entry.seq, entry.id)));
    }

    fn repair(&mut self) {
        let Some(Hole { after, upto }) = self.log.hole() else {
            return;
        };
        let page: Vec<Entry> = (after.0.max(1)..=upto.min(self.head()).0)
            .map(|seq| self.stored(Seq(seq)))
            .collect();
        let missing = page.iter().any(|entry| entry.seq > after);
        let fits = page
            .into_iter()
            .all(|entry| self.log.offer(entry) != Offered::Contradiction);
        if fits && !missing {
            self.log.doubt(None);
        }
    }

    fn inquire(&mut self) {
        if !self.log.is_doubted() {
            return;
        }
        let claim = self.log.claim();
        let there = claim.points.iter().filter(|point| point.seq <= self.head());
        let stored = Stored {
            head: self.head(),
            ids: there
                .map(|point| (point.seq, self.stored(point.seq).id))
                .collect(),
            follows: false,
        };
        match claim.judge(&stored) {
            Verdict::WentBack(rewind) => {
                assert!(self.rewinds.0 > 0, "a false alarm: {rewind:?} of {claim:?}");
                assert!(self.seen.keys().all(|seq| *seq <= rewind.upto));
                // Of two rewinds the earlier may be hidden, if what it took is no longer warm.
                let sure = if self.rewinds.1 > 1 {
                    Seq::NONE
                } else {
                    rewind.common
                };
                for (seq, id) in self.seen.range(..=sure) {
                    assert_eq!(*id, self.stored(*seq).id, "{seq} is not common");
                }
                self.log = Log::new(Self::LIMITS);
                self.log
                    .load((1..=self.head().0).map(|seq| self.stored(Seq(seq))).collect());
                self.seen.clear();
                self.rewinds.1 = 0;
                self.question = None;
            }
            _ => self.log.settle(&claim),
        }
    }
}

proptest! {
    /// The model: a set of seqs that have arrived. Whatever the order and however often they come, the head
    /// is the end of the unbroken run, a cursor sees exactly that run, and the hole is what the model lacks.
    #[test]
    fn agrees_with_a_set(loaded in 0u64..10, arrivals in prop::collection::vec(1u64..25, 0..80), from in 0u64..25) {
        let mut log = Log::new(WarmLimits { messages: 1000, bytes: 100_000 });
        log.load(entries(1..=loaded));
        let mut model: std::collections::BTreeSet<u64> = (1..=loaded).collect();
        for seq in arrivals {
            log.offer(entry(seq));
            model.insert(seq);
            let head = (1..).find(|seq| !model.contains(seq)).unwrap() - 1;
            prop_assert_eq!(log.head(), Seq(head));
            let next = model.iter().copied().find(|seq| *seq > head);
            prop_assert_eq!(log.hole(), next.map(|next| Hole { after: Seq(head), upto: Seq(next - 1) }));
            let (frames, cursor, cold) = follow(&log, Seq(from));
            prop_assert!(!cold);
            prop_assert_eq!(cursor, Seq(head.max(from)));
            prop_assert_eq!(frames, entries(from + 1..=head).into_iter().map(|e| e.frame).collect::<Vec<_>>());
        }
    }

    /// With small limits the log is bounded, and filling its holes from the store always reaches the head.
    #[test]
    fn is_bounded_and_repairs(arrivals in prop::collection::vec(1u64..200, 1..200)) {
        let mut log = Log::new(LIMITS);
        log.load(vec![]);
        for seq in &arrivals {
            log.offer(entry(*seq));
            prop_assert!(log.warm.len() <= LIMITS.messages && log.warm_bytes <= LIMITS.bytes);
            prop_assert!(log.early.len() <= LIMITS.messages && log.early_bytes <= LIMITS.bytes);
            prop_assert_eq!(log.early_bytes, log.early.values().map(|e| e.frame.len()).sum::<usize>());
        }
        while let Some(hole) = log.hole() {
            for seq in hole.after.0 + 1..=hole.upto.min(hole.after + 5).0 {
                log.offer(entry(seq));
            }
        }
        prop_assert_eq!(log.head(), Seq(arrivals.iter().copied().max().unwrap()));
        prop_assert!(log.early.is_empty());
    }

    /// Whatever comes in whatever order, nobody is sent away without a rewind; and after a rewind the log is given up,
    /// or is the store's.
    #[test]
    fn a_rewind_is_noticed_and_nothing_else_is(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        for _ in 0..10 {
            for step in [Step::Ask, Step::LookUp, Step::Answer, Step::Repair, Step::Inquire] {
                world.take(step);
            }
        }
        prop_assert_eq!(world.log.head(), world.head());
        for (seq, id) in &world.seen {
            prop_assert_eq!(*id, world.stored(*seq).id, "{} is of a history that is gone", seq);
        }
    }
}
