//! The panic guard around every export. A panic is a bug of ours; it must not become the host's abort.

use crate::ffi::Caller;
use crate::status::{Failure, TERSOR_E_PANIC, TERSOR_OK, tersor_status};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an export: its failure, or its panic, becomes a status and a message.
///
/// For functions that C calls, and nothing else: this is where [`Caller`], which may read pointers, comes from.
pub(crate) fn export(body: impl FnOnce(Caller) -> Result<(), Failure>) -> tersor_status {
    // Unwind safety: the body's state is gone after a panic, except what C owns, which the header calls undefined then.
    match catch_unwind(AssertUnwindSafe(|| body(Caller::of_export()))) {
        Ok(Ok(())) => TERSOR_OK,
        Ok(Err(failure)) => failure.report(),
        Err(payload) => {
            let message = message_of(payload.as_ref()).to_owned();
            // A payload whose destructor panics would unwind into C.
            std::mem::forget(payload);
            Failure::new(TERSOR_E_PANIC, format!("this is a bug in tersor: {message}")).report()
        }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(message) => message,
        None => payload.downcast_ref::<String>().map_or("a panic without a message", String::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tersor_last_error;

    fn last_error() -> String {
        let mut buffer = [0x55_u8; 200];
        // SAFETY: the buffer has the capacity that is passed.
        let length = unsafe { tersor_last_error(buffer.as_mut_ptr().cast(), buffer.len()) };
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_panic_is_a_status_and_a_message() {
        let index = std::hint::black_box(3);
        assert_eq!(export(|_| panic!("a literal")), TERSOR_E_PANIC);
        assert_eq!(last_error(), "this is a bug in tersor: a literal");
        assert_eq!(export(|_| panic!("index {index}")), TERSOR_E_PANIC);
        assert_eq!(last_error(), "this is a bug in tersor: index 3");
        assert_eq!(export(|_| std::panic::panic_any(index)), TERSOR_E_PANIC);
        assert_eq!(last_error(), "this is a bug in tersor: a panic without a message");
        assert_eq!(export(|_| Ok(())), TERSOR_OK);
    }
}
