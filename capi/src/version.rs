//! Version. Functions and types of a minor version stay; each comment says since when it is there.

/// The major version of this header. Since 0.1.
pub const TERSOR_VERSION_MAJOR: u32 = 0;
/// The minor version of this header. Since 0.1.
pub const TERSOR_VERSION_MINOR: u32 = 1;
/// The patch version of this header. Since 0.1.
pub const TERSOR_VERSION_PATCH: u32 = 0;

/// The version of the library that is linked: `major * 1000000 + minor * 1000 + patch`.
///
/// It differs from the header's constants when a program was compiled with another version's header.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn tersor_version() -> u32 {
    TERSOR_VERSION_MAJOR * 1_000_000 + TERSOR_VERSION_MINOR * 1_000 + TERSOR_VERSION_PATCH
}

// cbindgen needs literals, and a literal drifts: this does not compile when the package has another version.
const _: () = {
    assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == TERSOR_VERSION_MAJOR);
    assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == TERSOR_VERSION_MINOR);
    assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == TERSOR_VERSION_PATCH);
};

const fn number(digits: &str) -> u32 {
    let (digits, mut value, mut i) = (digits.as_bytes(), 0, 0);
    while i < digits.len() {
        value = value * 10 + (digits[i] - b'0') as u32;
        i += 1;
    }
    value
}
