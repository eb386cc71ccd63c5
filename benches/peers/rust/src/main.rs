//! The Rust workers of `benches/peers`: `peers <worker> <threads>`, driven by `run.py` over stdin and stdout.
//!
//! `limits` prints what the machine can do at most, `processors` how many processors its threads really have; `tersor` (feature
//! `ours`) and `gemm`, `rten`, `tract`, `candle` (feature `peers`) hold a prepared layer and time it when told to.

mod case;
mod limits;
#[cfg(feature = "ours")]
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod serve;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.get(1).and_then(|text| text.parse::<usize>().ok()).filter(|&threads| threads > 0);
    let (Some(worker), Some(threads)) = (arguments.first(), threads) else {
        eprintln!("usage: peers <worker> <threads>");
        std::process::exit(2);
    };
    let known = match worker.as_str() {
        "limits" => {
            limits::print(threads, arguments.iter().any(|argument| argument == "quick"));
            true
        }
        "processors" => {
            println!("{:.3}", limits::processors(threads));
            true
        }
        #[cfg(feature = "ours")]
        "tersor" => {
            ours::serve(threads);
            true
        }
        #[cfg(feature = "peers")]
        name => peers::serve(name, threads),
        #[cfg(not(feature = "peers"))]
        _ => false,
    };
    if !known {
        eprintln!("peers: this program was built without the worker {worker}");
        std::process::exit(2);
    }
}
