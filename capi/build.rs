//! What linking the library needs beyond the defaults, and where its header lies. Writes nothing: the header is checked in
//! and a test proves it current, so a build never touches the source tree.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();

    // A Rust package that depends on this one finds the header in `DEP_TERSOR_INCLUDE`.
    println!("cargo::metadata=include={}/../include", variable("CARGO_MANIFEST_DIR"));

    // The tests that build C programs must know whether they run on the machine that they were built for.
    println!("cargo::rustc-env=TERSOR_HOST={}", variable("HOST"));
    println!("cargo::rustc-env=TERSOR_TARGET={}", variable("TARGET"));

    // Android 15 refuses libraries whose segments are not aligned to 16 KB pages.
    if variable("CARGO_CFG_TARGET_OS") == "android" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    }
}
