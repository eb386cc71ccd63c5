//! Chooses the kernels of the target: sets `cfg(kernels = "x86_64" | "aarch64" | "portable")`. Sets `cfg(shared_kernels)` for
//! the profile that tests are built with (`src/linear/shared.rs`). Knows `cfg(tersor_vl_vnni)` and `cfg(tersor_model_amx)`,
//! which whoever tests sets (`src/kernels/x86_64.rs`, `x86_64_amx.rs`).
//!
//! One name decides in one place, so that a later target (wasm simd128, say) is a line here and a file in
//! `src/kernels`. Nothing is written anywhere; there is no `links` key, because that would forbid two versions of this
//! crate in one dependency graph.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(kernels, values(\"x86_64\", \"aarch64\", \"portable\"))");
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let endian = std::env::var("CARGO_CFG_TARGET_ENDIAN").unwrap_or_default();
    let kernels = match (arch.as_str(), endian.as_str()) {
        ("x86_64", _) => "x86_64",
        // Packed weights are little-endian, and its kernels load them as they are.
        ("aarch64", "little") => "aarch64",
        _ => "portable",
    };
    println!("cargo::rustc-cfg=kernels=\"{kernels}\"");
    println!("cargo::rustc-check-cfg=cfg(shared_kernels)");
    println!("cargo::rustc-check-cfg=cfg(tersor_vl_vnni)");
    println!("cargo::rustc-check-cfg=cfg(tersor_model_amx)");
    // Of the usual levels only our own `profile.dev`, and that is where rustc shares generic functions.
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "1") {
        println!("cargo::rustc-cfg=shared_kernels");
    }
}
