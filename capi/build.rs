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

    // What a program that links the dynamic library asks for when it starts. The number is that of the ABI: it grows when a
    // program would have to be built again, so a later library of the same number can take this one's place. Packages for
    // Android take only files that end in `.so`; there the name has no number.
    let soname = match variable("CARGO_CFG_TARGET_OS").as_str() {
        "linux" | "freebsd" | "netbsd" | "openbsd" | "dragonfly" | "illumos" | "solaris" => {
            Some("libtersor.so.0")
        }
        "android" => Some("libtersor.so"),
        _ => None,
    };
    if let Some(soname) = soname {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{soname}");
    }

    // Android 15 refuses libraries whose segments are not aligned to 16 KB pages.
    if variable("CARGO_CFG_TARGET_OS") == "android" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,max-page-size=16384");
    }
}
