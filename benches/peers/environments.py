"""Makes what the workers run in: two virtual environments with exact versions, and the Rust programs twice."""
import hashlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.join(ROOT, "target", "peers")

# Which environment each worker lives in: requirements-<name>.txt, or the Rust program built with that feature.
PLACES = {
    "reference": "runtimes", "onnxruntime": "runtimes", "openvino": "runtimes", "tflite": "runtimes", "scipy": "runtimes",
    "torch": "torch",
    "tersor": "ours", "limits": "ours", "processors": "ours",
    "gemm": "peers", "rten": "peers", "tract": "peers", "candle": "peers",
}
SCRIPTS = {name: "reference.py" if name == "reference" else f"peer_{name}.py" for name, place in PLACES.items() if place in ("runtimes", "torch")}


def run(command, **options):
    print("+", " ".join(command), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr, **options)


def python(name):
    """The interpreter of an environment, made anew when its requirements change."""
    requirements = os.path.join(HERE, f"requirements-{name}.txt")
    with open(requirements, "rb") as file:
        folder = os.path.join(TARGET, f"venv-{name}-{hashlib.sha256(file.read()).hexdigest()[:8]}")
    interpreter, complete = os.path.join(folder, "bin", "python"), os.path.join(folder, "complete")
    if not os.path.exists(complete):
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements])
        open(complete, "w").close()
    return interpreter


def program(feature):
    """A Rust program: `ours` as users build it, `peers` for the machine at hand (candle chooses when it is compiled)."""
    target = os.path.join(TARGET, f"rust-{feature}")
    environment = dict(os.environ)
    if feature == "peers":
        environment["RUSTFLAGS"] = "-C target-cpu=native"
    run(["cargo", "build", "--release", "--locked", "--no-default-features", "--features", feature,
         "--manifest-path", os.path.join(HERE, "rust", "Cargo.toml"), "--target-dir", target], env=environment)
    return os.path.join(target, "release", "peers")


class Commands:
    """How each worker is started; an environment that could not be made fails all of its workers, and says why."""

    def __init__(self, workers):
        self.made = {}
        for place in sorted({PLACES[worker] for worker in workers}):
            try:
                self.made[place] = program(place) if place in ("ours", "peers") else python(place)
            except (OSError, subprocess.CalledProcessError) as error:
                self.made[place] = RuntimeError(f"its environment could not be made: {error}")

    def of(self, worker, threads):
        made = self.made[PLACES[worker]]
        if isinstance(made, Exception):
            raise made
        if worker in SCRIPTS:
            return [made, os.path.join(HERE, "python", SCRIPTS[worker])]
        return [made, worker, str(threads)]
