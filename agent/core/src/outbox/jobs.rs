//! Which blocks of which step go to the disk and come back, and when.

use std::time::Instant;

use super::Outbox;
use super::disk::{Arrived, Division, Done, Job, Verdict};
use super::run::Run;
use crate::logs::spool::Hunger;

impl Outbox {
    /// The next thing to do with the disk, if there is one. To be asked until there is none; then again after anything
    /// was handed in, sent or [done](Outbox::done).
    pub fn next_job(&mut self, now: Instant) -> Option<Job> {
        self.next_fetch(now).or_else(|| self.disk.remove(now)).or_else(|| self.next_write(now))
    }

    /// When [`Outbox::next_job`] has something that it doesn't have now because it failed before.
    pub fn next_job_due(&self, now: Instant) -> Option<Instant> {
        self.disk.due(now)
    }

    /// A job was done, or failed.
    pub fn done(&mut self, done: Done, now: Instant) {
        let Some((id, length, owner, arrived)) = self.disk.done(done, now) else { return };
        let spool = self.runs.get_mut(&owner.key).and_then(|run| run.spool(&owner.step));
        match (arrived, spool) {
            (Arrived::Written(success), Some(spool)) => {
                let before = spool.kept();
                let is_needed = spool.written(id, owner.last_line, success);
                self.kept = self.kept - before + spool.kept();
                if success && !is_needed {
                    self.disk.forget(id, length);
                }
            }
            (Arrived::Written(true), None) => self.disk.forget(id, length),
            (Arrived::Fetched(bytes), Some(spool)) => {
                let before = spool.ahead();
                self.lost_lines += spool.fetched(id, owner.last_line, Some(bytes), now);
                self.ahead = self.ahead - before + spool.ahead();
                self.disk.forget(id, length);
            }
            (Arrived::Unread(verdict), spool) => {
                let is_needed = match (&verdict, spool) {
                    (Verdict::Again | Verdict::AllLost, Some(spool)) => spool.unread(id, owner.last_line),
                    (Verdict::Lost(_), Some(spool)) => {
                        self.lost_lines += spool.fetched(id, owner.last_line, None, now);
                        false
                    }
                    (_, None) => false,
                };
                if !is_needed && verdict != Verdict::Lost(false) {
                    self.disk.forget(id, length);
                }
                if verdict == Verdict::AllLost {
                    self.lose_stored(now);
                }
            }
            (Arrived::Fetched(_), None) => self.disk.forget(id, length),
            (Arrived::Written(false), None) => {}
        }
    }

    /// The disk gives nothing back any more.
    fn lose_stored(&mut self, now: Instant) {
        for spool in self.runs.values_mut().flat_map(Run::spools_mut) {
            let blocks: Vec<_> = spool.on_disk().collect();
            self.lost_lines += spool.lose_stored(now);
            blocks.into_iter().for_each(|(id, length)| self.disk.forget(id, length));
        }
    }

    /// Until when no more lines should be handed in: memory runs short, and the disk is just making room. Whoever
    /// hands them in nevertheless may lose some. At most a moment, whatever the disk does.
    pub fn busy_until(&self, now: Instant) -> Option<Instant> {
        let used = self.kept + self.disk.writing();
        if used <= self.division().pushed / 4 * 3 { None } else { self.disk.waited_for(now) }
    }

    /// A block that should come back from the disk. Who can't go on without one has it first.
    ///
    /// A full memory can always be emptied. What is back, or comes, is the first block of its log and can leave, or it
    /// is early: the second, which has to stay if the first one is on the disk, because it went there later or could
    /// not be read yet. A block is fetched early only if all early ones together leave room for the largest block that
    /// a disk may have. Later they only become fewer, for what is early becomes the first one or is lost. So once all
    /// that can leave has left, there is room for any first block.
    fn next_fetch(&mut self, now: Instant) -> Option<Job> {
        if !self.disk.has_any() {
            return None;
        }
        let Division { ahead, largest, .. } = self.division();
        let room = ahead.saturating_sub(self.ahead + self.disk.fetching());
        let logs = || self.turns.iter().filter_map(|(key, step)| Some((key, step, self.runs.get(key)?.log(step)?)));
        let early: usize = logs().map(|(.., spool)| spool.early()).sum();
        let early_room = (ahead - largest).saturating_sub(early);
        let wishes = logs().filter_map(|(key, step, spool)| {
            let (hunger, id, length) = spool.wants()?;
            let can_wait = hunger != Hunger::Starving;
            let is_welcome = !can_wait || length <= early_room;
            (is_welcome && self.disk.gives(id, now)).then_some((can_wait, length, key, step))
        });
        // The first of those that are equal, so that they take turns.
        let (_, length, key, step) = wishes.min_by_key(|(can_wait, ..)| *can_wait)?;
        if length > room {
            return None;
        }
        let (key, step) = (key.clone(), step.clone());
        let block = self.runs.get_mut(&key)?.spool(&step)?.fetch()?;
        Some(self.disk.fetch(key, step, &block, now))
    }

    /// A block that should go to the disk: one of the step that has the most to give.
    fn next_write(&mut self, now: Instant) -> Option<Job> {
        if self.kept <= self.division().pushed / 2 || !self.disk.takes(now) {
            return None;
        }
        let logs = self.turns.iter().filter_map(|(key, step)| Some((key, step, self.runs.get(key)?.log(step)?)));
        let fitting = logs.filter(|(.., spool)| self.disk.has_room(spool));
        let (key, step, _) = fitting.max_by_key(|(.., spool)| spool.movable())?;
        let (key, step) = (key.clone(), step.clone());
        let id = self.disk.name();
        let spool = self.runs.get_mut(&key)?.spool(&step)?;
        let before = spool.kept();
        let block = spool.store(id)?;
        self.kept = self.kept - before + spool.kept();
        Some(self.disk.write(key, step, block, now))
    }
}
