//! Panics anywhere in a simulation, also in tasks whose end nobody looks at.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// What panicked in this thread's simulation; `None` if none is watched.
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Takes note of every panic of this thread. Without one, panics are printed as ever.
#[derive(Debug)]
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn begin() -> Self {
        HOOK.call_once(|| {
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !note(info) {
                    print(info);
                }
            }));
        });
        SEEN.set(Some(Vec::new()));
        Self(())
    }

    /// What panicked.
    pub(crate) fn end(self) -> Vec<String> {
        SEEN.take().unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SEEN.set(None);
    }
}

fn note(info: &PanicHookInfo<'_>) -> bool {
    SEEN.with_borrow_mut(|seen| {
        let Some(seen) = seen else { return false };
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        seen.push(format!("a panic at {place}: {}", info.payload_as_str().unwrap_or("without words")));
        true
    })
}
