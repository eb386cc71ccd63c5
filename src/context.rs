//! Which instruction set runs an operation, and on whose threads.
//!
//! A [`Context`] is a value, not global state: [`Context::scope`] puts it in force for the calls that a closure makes on
//! the current thread, so that no function needs two more arguments. It is what the C ABI calls `tersor_context`.

use crate::error::Result;
use crate::kernels::Isa;
use crate::parallel::Parallel;
use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// The instruction set and the threads that operations use.
///
/// ```
/// use tersor::{Context, Isa, Mask, Parallel};
///
/// let reference = Context::new()?.with_isa(Isa::scalar()).with_parallel(Parallel::Serial);
/// let mut weights = ndarray::arr1(&[1.0_f32, 2.0, 3.0]);
/// let mask = Mask::from_fn(&[3], |i| i != 1)?;
/// reference.scope(|| mask.apply(&mut weights))?; // runs the scalar code, on this thread
/// assert_eq!(weights, ndarray::arr1(&[1.0, 0.0, 3.0]));
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    isa: Isa,
    parallel: Parallel,
}

impl Context {
    /// The best instruction set of this machine, or the one that the environment variable `TERSOR_ISA` names, on
    /// [`Parallel::default`]'s threads.
    ///
    /// # Errors
    /// [`Error::Isa`](crate::Error::Isa) when `TERSOR_ISA` names an instruction set that does not exist or that this
    /// machine lacks: a forced choice is never replaced silently.
    pub fn new() -> Result<Self> {
        Ok(Context { isa: Isa::selected()?, parallel: Parallel::default() })
    }

    /// The context in force on this thread: the innermost [`scope`](Context::scope)'s, else [`Context::new`]. Every function that
    /// computes asks for it, and returns its error.
    ///
    /// # Errors
    /// As [`Context::new`], outside of a scope.
    pub fn current() -> Result<Self> {
        match CURRENT.with_borrow(Clone::clone) {
            Some(context) => Ok(context),
            None => Context::new(),
        }
    }

    /// The same context with another instruction set.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// The same context with other threads.
    #[must_use]
    pub fn with_parallel(mut self, parallel: Parallel) -> Self {
        self.parallel = parallel;
        self
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Who runs the pieces.
    pub fn parallel(&self) -> &Parallel {
        &self.parallel
    }

    /// Runs `body` with this context in force on this thread; the previous one returns afterwards, also on a panic.
    pub fn scope<R>(&self, body: impl FnOnce() -> R) -> R {
        struct Restore(Option<Context>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let previous = self.0.take();
                CURRENT.set(previous);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        body()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_ends_where_it_began_even_on_a_panic() {
        let outer = Context::new().unwrap();
        let scalar = outer.clone().with_isa(Isa::scalar()).with_parallel(Parallel::Serial);
        scalar.scope(|| {
            assert_eq!(Context::current().unwrap().isa(), Isa::scalar());
            let best = scalar.clone().with_isa(Isa::detected());
            let inside = std::panic::AssertUnwindSafe(|| best.scope(|| panic!("inside")));
            let result = std::panic::catch_unwind(inside);
            assert!(result.is_err());
            assert_eq!(Context::current().unwrap().isa(), Isa::scalar());
        });
        assert_eq!(Context::current().unwrap().isa(), outer.isa());
    }
}
