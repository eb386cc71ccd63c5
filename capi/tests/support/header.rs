//! `include/tersor.h` from the sources of this crate.
//!
//! cbindgen runs once for each public module of `lib.rs`, in that order, and the module's own `//!` comment introduces
//! its section: so types, constants and functions of one topic stand together, and the header can be read as
//! documentation. The frame around the sections is written here.

use std::fmt::Write;
use std::path::Path;

const PREAMBLE: &str = include_str!("preamble.h");
const ENDING: &str = "\
#ifdef __cplusplus
} /* extern \"C\" */
#endif

#endif /* TERSOR_H */
";

/// The whole header.
pub fn generate() -> String {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_dir.join("cbindgen.toml")).expect("cbindgen.toml");
    let root = std::fs::read_to_string(crate_dir.join("src/lib.rs")).unwrap();
    let mut header = PREAMBLE.to_owned();
    for module in root.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        let path = crate_dir.join(format!("src/{module}.rs"));
        let source = std::fs::read_to_string(&path).unwrap();
        section(&mut header, &source);
        let mut bindings = Vec::new();
        let mut config = config.clone();
        config.export.include = types(&source);
        cbindgen::Builder::new()
            .with_config(config)
            .with_src(&path)
            .generate()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .write(&mut bindings);
        header.push_str(String::from_utf8(bindings).unwrap().trim());
        header.push_str("\n\n");
    }
    header + ENDING
}

/// The types of a module: cbindgen leaves out those that only other modules use.
fn types(source: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub type "))?;
        rest.split([' ', ';']).next().map(str::to_owned)
    };
    source.lines().filter_map(name).collect()
}

/// The introduction of a section: the first sentence of the module's comment is its title.
fn section(header: &mut String, source: &str) {
    let rule = "=".repeat(108);
    writeln!(header, "/* {rule}").unwrap();
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        writeln!(header, " *{line}").unwrap();
    }
    writeln!(header, " * {rule} */\n").unwrap();
}
