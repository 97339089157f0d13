//! What several images need, made once for all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Values that were made, by what they were made from. Whoever asks for one that somebody else is
/// making waits for it.
#[derive(Debug)]
pub struct Memo<K, V> {
    slots: Mutex<BTreeMap<K, Slot<V>>>,
}

/// Where a value will be; locked while it is made.
type Slot<V> = Arc<Mutex<Option<V>>>;

impl<K: Ord, V: Clone> Memo<K, V> {
    /// The value for `key`; `make` makes it if nobody has done so yet.
    ///
    /// # Errors
    /// That of `make`. It is not remembered: who asks next makes the value.
    pub fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*slot {
            return Ok(value.clone());
        }
        let value = make()?;
        *slot = Some(value.clone());
        Ok(value)
    }
}

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_value_is_made_once_and_a_failure_is_not_kept() {
        let memo = Memo::<&str, usize>::default();
        let made = AtomicUsize::new(0);
        assert_eq!(memo.get_or_make("a", || Err::<usize, _>("no")), Err("no"));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let value = memo.get_or_make("a", || {
                        thread::sleep(std::time::Duration::from_millis(5));
                        Ok::<_, ()>(made.fetch_add(1, Ordering::Relaxed))
                    });
                    assert_eq!(value, Ok(0));
                });
            }
        });
        assert_eq!(memo.get_or_make("b", || Ok::<_, ()>(7)), Ok(7));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
