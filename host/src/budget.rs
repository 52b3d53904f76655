//! What many facets take together: budgets within budgets, so that a limit of a tree, a namespace or the host holds for the
//! sum of what is in it. What is taken counts in all of them, or in none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An amount that is shared, and the budget that it is part of.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In a message: "the tree of app/demo", "the host".
    whose: String,
    limit: u64,
    used: AtomicU64,
    above: Option<Arc<Budget>>,
}

impl Budget {
    pub(crate) fn new(whose: impl Into<String>, limit: u64, above: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            whose: whose.into(),
            limit,
            used: AtomicU64::new(0),
            above,
        })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// It is part of that one, or of none.
    pub(crate) fn is_within(&self, above: Option<&Arc<Self>>) -> bool {
        match (&self.above, above) {
            (Some(own), Some(above)) => Arc::ptr_eq(own, above),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    pub(crate) fn whose(&self) -> &str {
        &self.whose
    }

    /// Itself, and what it is part of.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |budget| budget.above.as_deref())
    }

    /// Takes so much of all, or answers the one that has not enough left.
    pub(crate) fn take(&self, amount: u64) -> Result<(), &Self> {
        for budget in self.chain() {
            let fits = |used: u64| used.checked_add(amount).filter(|used| *used <= budget.limit);
            if budget
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_err()
            {
                for taken in self.chain().take_while(|taken| !std::ptr::eq(*taken, budget)) {
                    taken.used.fetch_sub(amount, Ordering::Relaxed);
                }
                return Err(budget);
            }
        }
        Ok(())
    }

    pub(crate) fn give_back(&self, amount: u64) {
        for budget in self.chain() {
            budget.used.fetch_sub(amount, Ordering::Relaxed);
        }
    }

    /// What is left in the tightest of them, and which that is.
    pub(crate) fn left(&self) -> (u64, &Self) {
        let left = |budget: &Self| budget.limit.saturating_sub(budget.used.load(Ordering::Relaxed));
        self.chain()
            .map(|budget| (left(budget), budget))
            .min_by_key(|(left, _)| *left)
            .expect("a chain has itself in it")
    }

    /// Something in it has so many instead of so many.
    pub(crate) fn shift(&self, before: u64, after: u64) {
        let shift = |used: u64| Some(used.saturating_sub(before).saturating_add(after));
        for budget in self.chain() {
            // It always is `Some`.
            let _ = budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shift);
        }
    }

    /// What this one alone has in use, counted anew by whoever knows.
    pub(crate) fn set_used(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Budget>,
    amount: u64,
}

impl Share {
    pub(crate) fn none(of: Arc<Budget>) -> Self {
        Self { of, amount: 0 }
    }

    /// Takes more; answers the budget that has not enough left.
    pub(crate) fn grow(&mut self, by: u64) -> Result<(), &Budget> {
        self.of.take(by)?;
        self.amount += by;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_above_and_a_refusal_takes_nothing() {
        let host = Budget::new("the host", 100, None);
        let (one, other) = (
            Budget::new("one", 80, Some(host.clone())),
            Budget::new("other", 80, Some(host.clone())),
        );
        assert!(one.take(70).is_ok());
        assert_eq!(one.take(11).expect_err("over its own").whose(), "one");
        assert_eq!(other.take(31).expect_err("over the host's").whose(), "the host");
        assert_eq!((one.left().0, other.left().0), (10, 30));
        assert!(other.take(30).is_ok());
        one.give_back(70);
        assert_eq!((host.left().0, other.left().0), (70, 50));
    }

    #[test]
    fn a_share_comes_back_whole() {
        let budget = Budget::new("it", 10, None);
        let mut share = Share::none(budget.clone());
        assert!(share.grow(4).is_ok() && share.grow(6).is_ok() && share.grow(1).is_err());
        drop(share);
        assert_eq!(budget.left().0, 10);
    }

    #[test]
    fn no_amount_overflows() {
        let budget = Budget::new("it", u64::MAX, None);
        assert!(budget.take(u64::MAX).is_ok());
        assert!(budget.take(1).is_err());
    }
}
