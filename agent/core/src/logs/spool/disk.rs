//! The way of blocks to a disk and back. The spool decides what may go and what should come; its owner decides when.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use super::loss::{Lost, Why};
use super::segment::{Block, Place, Segment};
use super::{Spool, block_of};
use crate::logs::block;

/// Names a block on the disk, once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a spool needs a block back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hunger {
    /// Nothing can leave before it is there.
    Starving,
    /// It will be next.
    Soon,
}

/// A block that goes to the disk or comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its last line, which finds it again.
    pub last_line: u64,
    /// Its bytes: to be written, or empty.
    pub bytes: Bytes,
    /// How many they are on the disk.
    pub length: usize,
    /// Its name.
    pub id: BlockId,
}

impl Spool {
    /// How many bytes could go to the disk.
    pub fn movable(&self) -> usize {
        self.movable
    }

    /// How many bytes are on the disk, or on the way to or from it.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// The memory of what came back from the disk, in bytes.
    pub fn ahead(&self) -> usize {
        self.ahead
    }

    /// The bytes of a block that is back, or on the way back, and can't leave before another one has left.
    pub fn early(&self) -> usize {
        match self.segments.get(1) {
            Some(Segment::Block(Block { place: Place::Ahead(bytes), .. })) => bytes.len(),
            Some(Segment::Block(Block { place: Place::Fetching(_, length), .. })) => *length,
            _ => 0,
        }
    }

    /// The size of the block that [`Spool::store`] would give out.
    pub fn next_store(&self) -> Option<usize> {
        self.movable_block().and_then(|index| match self.segments.get(index) {
            Some(Segment::Block(Block { place: Place::Sealed(bytes), .. })) => Some(bytes.len()),
            _ => None,
        })
    }

    /// Gives out the block that leaves last of those that may go to the disk. From now on its memory is accounted for
    /// by the caller, until [`Spool::written`].
    pub fn store(&mut self, id: BlockId) -> Option<Stored> {
        let index = self.movable_block()?;
        let block = block_of(self.segments.get_mut(index))?;
        let Place::Sealed(bytes) = &block.place else { return None };
        let bytes = bytes.clone();
        block.place = Place::Writing(id, bytes.clone());
        let (last_line, length) = (block.next_line() - 1, bytes.len());
        self.kept -= length;
        self.movable -= length;
        self.stored += length as u64;
        Some(Stored { last_line, bytes, length, id })
    }

    /// A block was written, or could not be. Returns whether the one on the disk is needed.
    pub fn written(&mut self, id: BlockId, last_line: u64, success: bool) -> bool {
        let Some(index) = self.find(last_line) else { return false };
        let is_begun = self.is_begun(index);
        let Some(block) = block_of(self.segments.get_mut(index)) else { return false };
        let Place::Writing(writing, bytes) = &block.place else { return false };
        if *writing != id {
            return false;
        }
        let (bytes, length) = (bytes.clone(), bytes.len());
        if success && !is_begun {
            block.place = Place::Stored(id, length);
            return true;
        }
        self.kept += length;
        self.stored -= length as u64;
        if is_begun {
            block.place = Place::Pinned(bytes);
        } else {
            self.movable += length;
            block.place = Place::Sealed(bytes);
        }
        false
    }

    /// How much the next block on the disk is needed, its name, and how many bytes it has.
    pub fn wants(&self) -> Option<(Hunger, BlockId, usize)> {
        let index = self.wanted_block()?;
        match self.segments.get(index) {
            Some(Segment::Block(Block { place: Place::Stored(id, length), .. })) => {
                Some((if index == 0 { Hunger::Starving } else { Hunger::Soon }, *id, *length))
            }
            _ => None,
        }
    }

    /// Gives out the next block that should come back. The memory for it is accounted for by the caller, until
    /// [`Spool::fetched`] or [`Spool::unread`].
    pub fn fetch(&mut self) -> Option<Stored> {
        let index = self.wanted_block()?;
        let block = block_of(self.segments.get_mut(index))?;
        let Place::Stored(id, length) = block.place else { return None };
        block.place = Place::Fetching(id, length);
        Some(Stored { last_line: block.next_line() - 1, bytes: Bytes::new(), length, id })
    }

    /// A block could not be read, and is still on the disk. Returns whether it is needed there.
    pub fn unread(&mut self, id: BlockId, last_line: u64) -> bool {
        let Some(index) = self.find(last_line) else { return false };
        let Some(block) = block_of(self.segments.get_mut(index)) else { return false };
        match block.place {
            Place::Fetching(fetching, length) if fetching == id => {
                block.place = Place::Stored(id, length);
                true
            }
            _ => false,
        }
    }

    /// A block came back, or never will; it is needed on the disk no more. Returns how many lines are lost.
    pub fn fetched(&mut self, id: BlockId, last_line: u64, bytes: Option<Bytes>, now: Instant) -> u64 {
        let Some(index) = self.find(last_line) else { return 0 };
        let Some(block) = block_of(self.segments.get_mut(index)) else { return 0 };
        let length = match block.place {
            Place::Fetching(fetching, length) if fetching == id => length,
            _ => return 0,
        };
        self.stored -= length as u64;
        let whole = |bytes: &Bytes| bytes.len() == length && block::measure(bytes) == Some((block.lines, block.data));
        if let Some(bytes) = bytes.filter(whole) {
            self.ahead += length;
            block.place = Place::Ahead(bytes);
            return 0;
        }
        self.lose(index, now)
    }

    /// The disk gives nothing back any more, apart from what is on the way. Returns how many lines are lost.
    pub fn lose_stored(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        for index in 0..self.segments.len() {
            if let Some(Segment::Block(Block { place: Place::Stored(_, length), .. })) = self.segments.get(index) {
                self.stored -= *length as u64;
                lost += self.lose(index, now);
            }
        }
        lost
    }

    /// The lines of a block are lost, which was on the disk. Returns how many they are.
    fn lose(&mut self, index: usize, now: Instant) -> u64 {
        let Some(segment) = self.segments.get_mut(index) else { return 0 };
        let Segment::Block(block) = segment else { return 0 };
        let (lines, data) = (block.lines, block.data);
        *segment = Segment::Lost(Lost::run(block.first_line, block.time, now, lines, data, Why::Unreadable));
        self.data -= data;
        self.lines = self.lines + 1 - usize::try_from(lines).unwrap_or(self.lines);
        lines
    }

    /// The blocks that are on the disk, with their bytes, apart from those on the way.
    pub fn on_disk(&self) -> impl Iterator<Item = (BlockId, usize)> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Block(Block { place: Place::Stored(id, length), .. }) => Some((*id, *length)),
            _ => None,
        })
    }

    /// A block that was begun to be taken stays in memory.
    pub(super) fn pin_front(&mut self) {
        if let Some(block) = block_of(self.segments.front_mut())
            && let Place::Sealed(bytes) = &block.place
        {
            self.movable -= bytes.len();
            block.place = Place::Pinned(bytes.clone());
        }
    }

    /// The last of those that may go: what leaves next stays as long as possible.
    fn movable_block(&self) -> Option<usize> {
        if self.movable == 0 {
            return None;
        }
        let is_movable = |segment: &Segment| matches!(segment, Segment::Block(Block { place: Place::Sealed(_), .. }));
        self.segments.iter().rposition(is_movable)
    }

    /// The first that is on the disk, if it is near the front.
    fn wanted_block(&self) -> Option<usize> {
        let is_stored = |segment: &Segment| matches!(segment, Segment::Block(Block { place: Place::Stored(..), .. }));
        self.segments.iter().take(2).position(is_stored)
    }

    /// The segment that holds a line.
    fn find(&self, line: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.first_line() <= line).checked_sub(1)
    }
}
