//! The Rust peers.

mod candle;
mod gemm;
mod rten;
mod tract;

use crate::serve::Prepare;

/// Serves as the peer `name`; `false` if there is none of that name.
///
/// Everything runs inside a rayon pool, so that peers that use rayon find their threads awake.
pub fn serve(name: &str, threads: usize) -> bool {
    let (hello, prepare): (String, Prepare<'static>) = match name {
        "gemm" => (gemm::HELLO.into(), &gemm::prepare),
        "rten" => (rten::HELLO.into(), &rten::prepare),
        "tract" => (tract::hello(threads), &tract::prepare),
        "candle" => (candle::HELLO.into(), &candle::prepare),
        _ => return false,
    };
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(|| crate::serve::serve(&hello, prepare)),
        Err(error) => eprintln!("{error}"),
    }
    true
}

/// Whatever a peer fails with, as text.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What a peer answers for a family that it does not have.
fn absent(case: &crate::case::Case) -> String {
    format!("has no {} layer", case.kind)
}
