//! The memory that argon2 works in: 19 MiB a worker, taken from the budget, wiped after use, given back when it is idle.

use std::time::{Duration, Instant};

use argon2::Block;
use parking_lot::Mutex;
use zeroize::Zeroize;

use crate::memory::{Full, Held, PASSWORD_BLOCK, Share};

/// How many blocks of 1 KiB one hash takes.
const BLOCKS: usize = PASSWORD_BLOCK / Block::SIZE;
/// How many a piece reserves. Below 32 MiB (`DEFAULT_MMAP_THRESHOLD_MAX`) glibc learns from a piece that is given back to
/// keep the next of its size, and the resident memory of eight workers stays at over a gigabyte; above it a piece is
/// mapped by itself and goes back to the kernel for good. What is reserved and not used is no memory.
const RESERVED: usize = 33 * 1024;
/// How long a piece is kept for the next hash.
const IDLE: Duration = Duration::from_secs(10);

/// Pieces that are not in use. As many exist as workers have worked at a time.
#[derive(Debug)]
pub struct FreeBlocks {
    idle: Mutex<Vec<(Instant, Piece)>>,
    share: Share,
}

/// What one hash works in.
#[derive(Debug)]
pub struct Piece {
    blocks: Vec<Block>,
    _held: Held,
}

impl FreeBlocks {
    pub const fn new(share: Share) -> Self {
        Self {
            idle: Mutex::new(Vec::new()),
            share,
        }
    }

    /// How many pieces the budget has room for.
    pub fn room(&self) -> usize {
        self.share.limit() / PASSWORD_BLOCK
    }

    /// A piece: the one that was used last, or a new one.
    pub fn take(&self) -> Result<Piece, Full> {
        if let Some((_, piece)) = self.idle.lock().pop() {
            return Ok(piece);
        }
        let held = self.share.try_take(PASSWORD_BLOCK)?;
        let mut blocks = Vec::with_capacity(RESERVED);
        blocks.resize(BLOCKS, Block::new());
        Ok(Piece { blocks, _held: held })
    }

    pub fn give_back(&self, piece: Piece) {
        self.idle.lock().push((Instant::now(), piece));
    }

    /// Lets go of what has been idle for long enough.
    pub fn forget_the_idle(&self) {
        self.idle.lock().retain(|(since, _)| since.elapsed() < IDLE);
    }
}

impl Piece {
    /// Works in it, and wipes it.
    pub fn work<T>(&mut self, job: impl FnOnce(&mut [Block]) -> T) -> T {
        let result = job(&mut self.blocks);
        self.blocks.iter_mut().for_each(Zeroize::zeroize);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::metrics::Metrics;

    #[test]
    fn a_piece_is_wiped_used_again_and_given_back() {
        let memory = Memory::new(512 << 20, &Metrics::default());
        let pool = FreeBlocks::new(memory.passwords.clone());
        let mut piece = pool.take().unwrap();
        piece.work(|blocks| blocks[7].as_mut()[3] = 1);
        assert!(
            piece
                .blocks
                .iter()
                .all(|block| block.as_ref().iter().all(|word| *word == 0))
        );
        let where_it_is = piece.blocks.as_ptr();
        pool.give_back(piece);
        assert_eq!(pool.take().unwrap().blocks.as_ptr(), where_it_is);
        assert_eq!(
            memory.passwords.held(),
            0,
            "a piece that is dropped is given back"
        );
        let all: Vec<_> = (0..pool.room()).map(|_| pool.take().unwrap()).collect();
        assert_eq!(pool.take().unwrap_err(), Full);
        drop(all);
    }
}
