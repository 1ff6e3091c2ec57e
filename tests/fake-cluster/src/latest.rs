//! The latest of something, for many who wait for news of it.
//!
//! It is what `tokio::sync::watch` is, but for the order in which those who wait are woken: here it is the order in
//! which they began to wait. Theirs is random, and a simulation has to do the same again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The end that says what is new. When it goes, nothing is new any more.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The end that waits for it.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The sender is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    news: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// Grows with each news.
    version: u64,
    is_over: bool,
}

/// The value, locked.
#[derive(Debug)]
pub(crate) struct Value<'a, T>(MutexGuard<'a, State<T>>);

impl<T> Deref for Value<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> DerefMut for Value<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        let state = Mutex::new(State { value, version: 0, is_over: false });
        Self { shared: Arc::new(Shared { state, news: Notify::new() }) }
    }

    /// One who knows the value of now.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver { seen: self.shared.lock().version, shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn borrow(&self) -> Value<'_, T> {
        Value(self.shared.lock())
    }

    pub(crate) fn send_replace(&self, value: T) {
        self.send_modify(|old| *old = value);
    }

    pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Says something new if `modify` says that it is.
    pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) {
        let mut state = self.shared.lock();
        if modify(&mut state.value) {
            state.version += 1;
            self.shared.news.notify_waiters();
        }
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.news.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The value of now. News that was not looked at stays news.
    pub(crate) fn borrow(&self) -> Value<'_, T> {
        Value(self.shared.lock())
    }

    /// The value of now, which is news no more.
    pub(crate) fn borrow_and_update(&mut self) -> Value<'_, T> {
        let state = self.shared.lock();
        self.seen = state.version;
        Value(state)
    }

    /// Whether there is news.
    pub(crate) fn has_changed(&self) -> Result<bool, Gone> {
        let state = self.shared.lock();
        if state.is_over { Err(Gone) } else { Ok(state.version != self.seen) }
    }

    /// Waits for news.
    pub(crate) async fn changed(&mut self) -> Result<(), Gone> {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let state = self.shared.lock();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(());
                }
                if state.is_over {
                    return Err(Gone);
                }
            }
            news.await;
        }
    }

    /// Waits until the value is such.
    pub(crate) async fn wait_for(&mut self, mut is_such: impl FnMut(&T) -> bool) -> Result<(), Gone> {
        loop {
            if is_such(&*self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Sender;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_their_order() {
        for _ in 0..50 {
            let (sender, next) = (Sender::new(0), Arc::new(AtomicUsize::new(0)));
            let waiting: Vec<_> = (0..20)
                .map(|place| {
                    let (mut receiver, next) = (sender.subscribe(), Arc::clone(&next));
                    tokio::spawn(async move {
                        receiver.wait_for(|value| *value == 1).await.expect("the sender is there");
                        assert_eq!(next.fetch_add(1, Ordering::Relaxed), place);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            sender.send_replace(1);
            for waiting in waiting {
                waiting.await.expect("the order is right");
            }
        }
    }

    #[tokio::test]
    async fn news_is_news_once_and_ends_with_the_sender() {
        let sender = Sender::new(0);
        let mut receiver = sender.subscribe();
        assert!(!receiver.has_changed().expect("the sender is there"));
        sender.send_modify(|value| *value += 1);
        assert!(receiver.changed().await.is_ok());
        assert_eq!(*receiver.borrow(), 1);
        sender.send_replace(2);
        drop(sender);
        assert!(receiver.changed().await.is_ok(), "what was said before it went is still news");
        assert!(receiver.changed().await.is_err());
        assert!(receiver.wait_for(|value| *value == 2).await.is_ok());
    }
}
