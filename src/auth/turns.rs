//! Who waits for a hash: addresses take turns, and at each address its accounts do, so that a guesser waits for himself.
//! Pure.

use std::collections::VecDeque;
use std::net::IpAddr;

/// A bounded queue of `T`.
#[derive(Debug)]
pub struct Turns<T> {
    /// The next one first.
    lines: VecDeque<Waiters<T>>,
    waiting: usize,
    most: usize,
}

/// Who waits at one address.
#[derive(Debug)]
struct Waiters<T> {
    address: IpAddr,
    /// The next one first; each with what waits for it, oldest first.
    accounts: VecDeque<(String, VecDeque<T>)>,
    waiting: usize,
}

impl<T> Turns<T> {
    /// At most `most` wait.
    pub const fn new(most: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            waiting: 0,
            most,
        }
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Takes one more. Where that is one too many, gives back the newest of whoever has the most: the longest line's
    /// longest account, which may be the one that has just come.
    #[must_use]
    pub fn push(&mut self, address: IpAddr, account: &str, item: T) -> Option<T> {
        let line = match self.lines.iter().position(|line| line.address == address) {
            Some(at) => self.lines.get_mut(at),
            None => {
                self.lines.push_back(Waiters {
                    address,
                    accounts: VecDeque::new(),
                    waiting: 0,
                });
                self.lines.back_mut()
            }
        };
        if let Some(line) = line {
            line.push(account, item);
            self.waiting += 1;
        }
        (self.waiting > self.most).then(|| self.evict()).flatten()
    }

    /// The next one whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let mut line = self.lines.pop_front()?;
        let (account, mut items) = line.accounts.pop_front()?;
        let item = items.pop_front()?;
        if !items.is_empty() {
            line.accounts.push_back((account, items));
        }
        line.waiting -= 1;
        if line.waiting > 0 {
            self.lines.push_back(line);
        }
        self.waiting -= 1;
        Some(item)
    }

    fn evict(&mut self) -> Option<T> {
        let longest = (0..self.lines.len()).max_by_key(|at| self.lines[*at].waiting)?;
        let line = &mut self.lines[longest];
        let most = (0..line.accounts.len()).max_by_key(|at| line.accounts[*at].1.len())?;
        let item = line.accounts[most].1.pop_back();
        if line.accounts[most].1.is_empty() {
            line.accounts.remove(most);
        }
        line.waiting -= 1;
        if line.waiting == 0 {
            self.lines.remove(longest);
        }
        self.waiting -= 1;
        item
    }
}

impl<T> Waiters<T> {
    fn push(&mut self, account: &str, item: T) {
        self.waiting += 1;
        match self.accounts.iter_mut().find(|(name, _)| name == account) {
            Some((_, items)) => items.push_back(item),
            None => self.accounts.push_back((account.to_owned(), [item].into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn a_flood_of_one_address_waits_for_itself() {
        let mut turns = Turns::new(64);
        for n in 0..1000 {
            // Each with another name, as a guesser would.
            let _ = turns.push(address(1), &n.to_string(), "junk");
        }
        assert_eq!(turns.len(), 64);
        for n in 0..20 {
            assert_eq!(turns.push(address(2 + n), "ann", "honest"), Some("junk"));
        }
        let next: Vec<_> = (0..40).filter_map(|_| turns.pop()).collect();
        assert_eq!(next.iter().filter(|who| **who == "honest").count(), 20);
    }

    #[test]
    fn accounts_behind_one_address_take_turns() {
        let mut turns = Turns::new(64);
        for _ in 0..1000 {
            let _ = turns.push(address(1), "ann", "guess");
        }
        assert_eq!(turns.push(address(1), "ben", "honest"), Some("guess"));
        assert_eq!((turns.pop(), turns.pop()), (Some("guess"), Some("honest")));
    }

    proptest! {
        /// What goes in comes out once, by a pop or by making room, and never do more wait than may.
        #[test]
        fn nothing_is_lost(
            most in 0usize..20,
            pushes in prop::collection::vec((0u8..4, 0u8..3), 1..100),
            every in 1usize..5,
        ) {
            let mut turns = Turns::new(most);
            let mut out = Vec::new();
            for (n, (from, account)) in pushes.iter().enumerate() {
                out.extend(turns.push(address(*from), &account.to_string(), n));
                prop_assert!(turns.len() <= most);
                if n % every == 0 {
                    out.extend(turns.pop());
                }
            }
            while let Some(n) = turns.pop() {
                out.push(n);
            }
            prop_assert_eq!(turns.len(), 0);
            prop_assert!(turns.lines.is_empty());
            out.sort_unstable();
            prop_assert_eq!(out, (0..pushes.len()).collect::<Vec<_>>());
        }

        /// With all there from the start, the first of an address comes before the second of any other.
        #[test]
        fn addresses_take_turns(pushes in prop::collection::vec((0u8..4, 0u8..3), 1..60)) {
            let mut turns = Turns::new(60);
            for (from, account) in &pushes {
                prop_assert_eq!(turns.push(address(*from), &account.to_string(), *from), None);
            }
            let order: Vec<u8> = std::iter::from_fn(|| turns.pop()).collect();
            let mut left: std::collections::HashMap<u8, usize> = std::collections::HashMap::new();
            order.iter().for_each(|from| *left.entry(*from).or_default() += 1);
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let addresses = left.values().filter(|count| **count > 0).count();
                let (round, behind) = rest.split_at(addresses);
                let distinct: std::collections::HashSet<_> = round.iter().collect();
                prop_assert_eq!(distinct.len(), addresses);
                round.iter().for_each(|from| *left.entry(*from).or_default() -= 1);
                rest = behind;
            }
        }
    }
}
