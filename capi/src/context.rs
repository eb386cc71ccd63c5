//! Context: which instruction set runs a call, and on whose threads. NULL is a context too: the best instruction set of
//! the machine (or the one that the environment variable `TERSOR_ISA` names), on the calling thread alone.

use crate::ffi::Options;
use crate::panic::export;
use crate::status::{Failure, TERSOR_E_THREAD, tersor_status};
use crate::threads::{HostThreads, Pool};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use tersor::{Context, Error, Isa, Parallel, ParallelFor};

/// The instruction set and the threads that calls use. Any number of threads may use one at the same time.
///
/// Since 0.1.
pub struct tersor_context {
    pub(crate) context: Context,
}

/// One share of a call's work, which a host's `parallel_for` runs: `task(data, index)`.
///
/// Since 0.1.
pub type tersor_task = Option<extern "C" fn(data: *const c_void, index: usize)>;

/// A host's loop: calls `task(data, i)` for each `i` below `count`, in any order, on any threads, and returns when all
/// these calls have returned. It may make fewer calls than asked (the calling thread does the rest). No call may be made
/// after it returned, and it must not throw. Threads that use a context at the same time call it at the same time.
///
/// Since 0.1.
pub type tersor_parallel_for =
    Option<extern "C" fn(user: *mut c_void, count: usize, task: tersor_task, data: *const c_void)>;

/// What a context is made of. Fill it with `tersor_context_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_context_options {
    /// The size of this struct, set by `tersor_context_options_init`.
    pub struct_size: u32,
    /// How many threads work on a call, the calling one included. Without `parallel_for`: 0 and 1 mean the calling
    /// thread alone, N that N - 1 threads are started, which `tersor_context_destroy` joins. With it: how many shares
    /// the host's threads can run at the same time. At most 1024. Default 1.
    pub threads: u32,
    /// The name of an instruction set (see `tersor_isa_name`), or NULL for the best. Default NULL.
    pub isa: *const c_char,
    /// The host's loop, or NULL. Default NULL.
    pub parallel_for: tersor_parallel_for,
    /// Passed to `parallel_for`. Default NULL.
    pub user: *mut c_void,
}

// SAFETY: `repr(C)`, begins with `struct_size`; integers, pointers and an optional function.
unsafe impl Options for tersor_context_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_context_options {
            struct_size: size_of::<Self>() as u32,
            threads: 1,
            isa: std::ptr::null(),
            parallel_for: None,
            user: std::ptr::null_mut(),
        }
    }
}

const MAX_THREADS: u32 = 1024;

/// Fills `options` with the defaults.
///
/// @param options      the struct to fill
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_NULL`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_context_options_init(
    options: *mut tersor_context_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// Makes a context. Nothing of `options` is kept but `parallel_for` and `user`.
///
/// @param options      NULL means the defaults: no threads, the best instruction set
/// @param out_context  receives the context; pass it to `tersor_context_destroy` at the end
/// @return `TERSOR_E_NULL`, `TERSOR_E_STRUCT_SIZE`, `TERSOR_E_OUT_OF_RANGE` (too many threads), `TERSOR_E_ISA`,
///         `TERSOR_E_THREAD`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_context_create(
    options: *const tersor_context_options,
    out_context: *mut *mut tersor_context,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let out = caller.out("out_context", out_context)?;
        let mut context = Context::new()?.with_parallel(Parallel::Serial);
        if let Some(name) = caller.string("options.isa", options.isa)? {
            context = context.with_isa(Isa::named(name).map_err(|error| match error {
                Error::Isa { value, available, .. } => {
                    Error::Isa { argument: "options.isa".into(), value, available }
                }
                other => other,
            })?);
        }
        if options.threads > MAX_THREADS {
            return Err(Failure::out_of_range(
                "options.threads",
                options.threads,
                format!("at most {MAX_THREADS}"),
            ));
        }
        let threads = options.threads as usize;
        if let Some(parallel_for) = options.parallel_for {
            let host = HostThreads { threads, parallel_for, user: options.user };
            context = context.with_parallel(Parallel::Host(Arc::new(host)));
        } else if threads > 1 {
            let pool = Pool::new(threads).map_err(|error| {
                Failure::new(TERSOR_E_THREAD, format!("options.threads is {threads}, but {error}"))
            })?;
            context = context.with_parallel(Parallel::Host(Arc::new(pool) as Arc<dyn ParallelFor>));
        }
        out.set(caller.give_context(tersor_context { context }));
        Ok(())
    })
}

/// Joins the context's own threads and frees it. No call may be using it. NULL is fine.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_context_destroy(context: *mut tersor_context) {
    export(|caller| {
        drop(caller.take_context(context));
        Ok(())
    });
}

/// How many threads work on a call with this context, the calling one included. 1 for NULL.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_context_threads(context: *const tersor_context) -> usize {
    let mut threads = 1;
    export(|caller| {
        threads = caller.context(context)?.parallel().threads();
        Ok(())
    });
    threads
}

/// The name of the instruction set that calls with this context use.
///
/// @param context   NULL is allowed
/// @param out_name  receives the name; never freed
/// @return `TERSOR_E_NULL`; `TERSOR_E_ISA` when the context is NULL and `TERSOR_ISA` names none of this machine's
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_context_isa(
    context: *const tersor_context,
    out_name: *mut *const c_char,
) -> tersor_status {
    export(|caller| {
        let out = caller.out("out_name", out_name)?;
        out.set(caller.context(context)?.isa().c_name().as_ptr());
        Ok(())
    })
}

/// The instruction sets of this machine, from the plainest ("scalar", the reference) to the best.
///
/// @param index  0, 1, ...
/// @return the name, or NULL past the last one; never freed
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn tersor_isa_name(index: usize) -> *const c_char {
    let mut name = std::ptr::null();
    export(|_| {
        name = Isa::available().get(index).map_or(std::ptr::null(), |isa| isa.c_name().as_ptr());
        Ok(())
    });
    name
}
