//! Instruction sets: which ones this machine has, and which of them runs.
//!
//! An [`Isa`] is one that this machine was found to have. Nobody needs to choose: [`Context::new`](crate::Context::new) takes the best.
//! To choose another, set the environment variable `TERSOR_ISA` to its name for a process, or give it to
//! [`Context::with_isa`](crate::Context::with_isa) for a scope; [`Isa::available`] lists what there is, [`Isa::named`] finds one by its
//! name, and [`Isa::scalar`] is the reference for all others.
//!
//! ```
//! use tersor::{Context, Isa};
//!
//! println!("this machine has {:?}, and runs {}", Isa::available(), Isa::selected()?);
//! let reference = Context::new()?.with_isa(Isa::named("scalar")?);
//! assert_eq!(reference.scope(|| Context::current().unwrap().isa()), Isa::scalar());
//! # Ok::<(), tersor::Error>(())
//! ```

// Here are the micro-kernels written by hand as well, and what compiles a generic body for each instruction set.
//
// An element-wise operation is **one** generic body, an `Operation`, that lives in the room that owns it; `Isa::run`
// compiles it under the features of the instruction set, so that the compiler vectorizes the same source for all of
// them. A `Token` hands the body the few things that a compiler does not find by itself (16-bit conversions). This is
// also where slices are cut into disjoint pieces for several threads. It is the only module of the library in which
// `unsafe` is allowed.

#![allow(unsafe_code)]
// The products of layers are methods of a token like all else; without layers nothing calls them, and a `cfg` at each would say no more.
#![cfg_attr(not(feature = "linear"), allow(dead_code, unused_imports))]

mod bf16_dot;
mod bitmap;
mod cast;
mod channels;
mod dispatch;
mod dot;
#[cfg(feature = "linear")]
mod gemm;
mod int4;
mod int4_float;
mod isa;
mod matrix;
#[cfg(feature = "linear")]
mod pages;
mod pieces;
mod prefetch;
#[cfg(feature = "linear")]
mod stack;
mod tile;

#[cfg(kernels = "aarch64")]
mod aarch64;
#[cfg(kernels = "aarch64")]
mod aarch64_dot;
#[cfg(kernels = "aarch64")]
mod aarch64_float;
#[cfg(kernels = "aarch64")]
mod aarch64_int4_float;
#[cfg(kernels = "aarch64")]
mod aarch64_matrix;
#[cfg(kernels = "x86_64")]
mod x86_64;
#[cfg(kernels = "x86_64")]
mod x86_64_amx;
#[cfg(kernels = "x86_64")]
mod x86_64_amx_runs;
#[cfg(kernels = "x86_64")]
mod x86_64_avx2;
#[cfg(kernels = "x86_64")]
mod x86_64_avx512;
#[cfg(kernels = "x86_64")]
mod x86_64_avx_vnni;
#[cfg(kernels = "x86_64")]
mod x86_64_bf16_dot;
#[cfg(kernels = "x86_64")]
mod x86_64_bitmap;
#[cfg(kernels = "x86_64")]
mod x86_64_channels;
#[cfg(kernels = "x86_64")]
mod x86_64_dot;
#[cfg(kernels = "x86_64")]
mod x86_64_dot_avx_vnni;
#[cfg(kernels = "x86_64")]
mod x86_64_float;
#[cfg(kernels = "x86_64")]
mod x86_64_int4;
#[cfg(kernels = "x86_64")]
mod x86_64_int4_float;
#[cfg(kernels = "x86_64")]
mod x86_64_places;

pub use isa::Isa;

#[cfg(feature = "linear")]
pub(crate) use bf16_dot::{Pair, StoredPair};
pub(crate) use bitmap::{CHUNK, GROUP_BITS};
pub(crate) use dispatch::{Operation, Token};
#[cfg(feature = "linear")]
pub(crate) use dot::{BLOCK, Group, LANES, RowBlock, Staged, TILE};
#[cfg(feature = "linear")]
pub(crate) use gemm::product;
#[cfg(feature = "linear")]
pub(crate) use int4::{Int4Row, Int4Tile, MIDDLE, Nibbles};
#[cfg(feature = "linear")]
pub(crate) use int4_float::SPAN;
#[cfg(feature = "linear")]
pub(crate) use matrix::{Band, Codes, Matrix, dot_places};
#[cfg(feature = "linear")]
pub(crate) use pages::prefer_large_pages;
#[cfg(feature = "linear")]
pub(crate) use pieces::Rows;
pub(crate) use pieces::{PIECE, Pieces, for_each_piece, reduce_pieces};
#[cfg(feature = "linear")]
pub(crate) use prefetch::{Ahead, Beside};
#[cfg(feature = "linear")]
pub(crate) use stack::StackBuffer;
#[cfg(feature = "linear")]
pub(crate) use tile::{TileBlock, TileMut, TileStrip, as_bytes, for_each_tile};
