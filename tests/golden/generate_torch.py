"""Golden data of torch 2.15.0: optimizers, gradient clipping, loss scaling, pruning.

    pip install -r requirements-torch.txt
    python generate_torch.py OUTPUT_FOLDER

writes `torch_optim.safetensors`, `torch_grad_scaler.safetensors` and `torch_prune.safetensors`.

The kernels without FMA are chosen (`ATEN_CPU_CAPABILITY=default`), so that every operation is one IEEE f32 operation.
The exception is the square root: torch calls MKL's, which is 1 ulp off on a fifth of all values. The optimizers that
take one therefore run twice: with a correctly rounded square root put in its place (the role `params_rounded_sqrt`,
every step), which a test can meet bit for bit, and as torch is (the role `final_params`, the last step only).
"""

import contextlib
import os
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "default"  # Read when torch is imported.

import numpy
import torch
import torch.nn.utils.prune

import training_data
from golden_file import GoldenFile

TOOLKITS = "torch 2.15.0, ATEN_CPU_CAPABILITY=default, one thread"


@contextlib.contextmanager
def rounded_square_root():
    """Puts a correctly rounded f32 square root in the place of MKL's (f64 holds enough bits to round once more)."""
    original = torch.Tensor.sqrt
    torch.Tensor.sqrt = lambda tensor: original(tensor.double()).to(tensor.dtype)
    try:
        yield
    finally:
        torch.Tensor.sqrt = original


# Optimizers --------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.01}),
    "sgd_momentum": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "sgd_dampening": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "dampening": 0.3}),
    "sgd_nesterov": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.8, "nesterov": True}),
    "sgd_weight_decay": (torch.optim.SGD, {"lr": 0.02, "weight_decay": 0.05}),
    "sgd_all": (torch.optim.SGD, {"lr": 0.003, "momentum": 0.95, "weight_decay": 0.01, "nesterov": True}),
    "sgd_maximize": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01, "maximize": True}),
    "adam": (torch.optim.Adam, {"lr": 0.001}),
    "adam_betas": (torch.optim.Adam, {"lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-5}),
    "adam_small_beta1": (torch.optim.Adam, {"lr": 0.01, "betas": [0.3, 0.99]}),
    "adam_weight_decay": (torch.optim.Adam, {"lr": 0.003, "weight_decay": 0.1}),
    "adam_amsgrad": (torch.optim.Adam, {"lr": 0.003, "betas": [0.9, 0.9], "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"lr": 0.001}),
    "adamw_weight_decay": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.01}),
    "adagrad_decays": (torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.02}),
    "adagrad_initial": (torch.optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-6}),
}

# What torch fills in for options that a case leaves out; stored too, so that a test reads every option.
OPTION_DEFAULTS = {
    torch.optim.SGD: {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False},
    torch.optim.Adam: {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False},
    torch.optim.AdamW: {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False, "maximize": False},
    torch.optim.Adagrad: {
        "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "maximize": False,
    },
}


def trajectory(optimizer_class, options, start, gradients):
    """Parameters before the first and after every step, `[steps + 1, n]`."""
    parameters = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = optimizer_class([parameters], foreach=False, **options)
    if "fused" in optimizer.defaults and optimizer.defaults["fused"]:
        raise RuntimeError("a fused kernel was chosen")
    for name, value in OPTION_DEFAULTS[optimizer_class].items():
        actual = optimizer.defaults[name]
        if name not in options and actual != (tuple(value) if isinstance(value, list) else value):
            raise RuntimeError(f"{optimizer_class.__name__}: default of {name} is {actual}")
    rows = [start.copy()]
    for gradient in gradients:
        parameters.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        rows.append(parameters.detach().numpy().copy())
    return numpy.stack(rows)


def extreme_gradients():
    """Gradients whose squares underflow, are subnormal, or overflow to infinity: `[12, 19]`."""
    random = numpy.random.default_rng(3)
    magnitude = numpy.logspace(-44, 30, 19)
    return (random.standard_normal((12, 19)) * magnitude).astype(numpy.float32)


def generate_optim(folder):
    file = GoldenFile("torch_optim", TOOLKITS)
    start = training_data.initial_parameters()
    ordinary = training_data.gradients()
    extreme = extreme_gradients()
    shared = {"gradients": file.share("gradients", ordinary)}
    shared_extreme = {"gradients": file.share("extreme_gradients", extreme)}
    runs = [(name, *case, start, ordinary, shared) for name, case in OPTIMIZERS.items()]
    for name in ("sgd_momentum", "adam", "adamw", "adagrad"):
        runs.append((f"{name}_extreme", *OPTIMIZERS[name], start[:19], extreme, shared_extreme))
    for name, optimizer_class, options, first, gradients, roles in runs:
        params = trajectory(optimizer_class, options, first, gradients)
        if optimizer_class is torch.optim.SGD:
            arrays = {"params": params}
        else:
            with rounded_square_root():
                rounded = trajectory(optimizer_class, options, first, gradients)
            arrays = {"params_rounded_sqrt": rounded, "final_params": params[-1]}
        all_options = {"optimizer": optimizer_class.__name__, **OPTION_DEFAULTS[optimizer_class], **options}
        file.case(name, all_options, arrays, roles)
    add_clip_cases(file)
    file.save(folder)


def add_clip_cases(file):
    """`clip_grad_norm_` over three tensors: gradients, the norm it returns, gradients after."""
    random = numpy.random.default_rng(4)
    gradients = [(random.standard_normal(n) * s).astype(numpy.float32) for n, s in ((5, 1.0), (33, 0.01), (67, 3.0))]
    norm = float(numpy.sqrt(sum((g.astype(numpy.float64) ** 2).sum() for g in gradients)))
    poisoned = [g.copy() for g in gradients]
    poisoned[1][7] = numpy.inf
    zero = [numpy.zeros_like(g) for g in gradients]
    cases = {
        "clip_above": (gradients, 1.0, 2.0),
        "clip_far_above": (gradients, 1e-3, 2.0),
        "clip_below": (gradients, 2.0 * norm, 2.0),
        "clip_just_below": (gradients, norm * (1 + 1e-7), 2.0),
        "clip_infinity_norm": (gradients, 0.5, float("inf")),
        "clip_one_norm": (gradients, 0.5, 1.0),
        "clip_zero_gradients": (zero, 1.0, 2.0),
        "clip_with_infinity": (poisoned, 1.0, 2.0),
    }
    for name, (values, max_norm, norm_type) in cases.items():
        parameters = [torch.nn.Parameter(torch.zeros(len(g))) for g in values]
        for parameter, value in zip(parameters, values, strict=True):
            parameter.grad = torch.from_numpy(value.copy())
        total = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, foreach=False)
        arrays = {"norm": total.numpy()}
        for index, (value, parameter) in enumerate(zip(values, parameters, strict=True)):
            arrays[f"gradients.{index}"] = value
            arrays[f"clipped.{index}"] = parameter.grad.numpy()
        kind = "infinity" if norm_type == float("inf") else norm_type
        file.case(name, {"max_norm": max_norm, "norm_type": kind, "tensors": len(values)}, arrays)


# Loss scaling ------------------------------------------------------------------------------------------------------

SCALERS = {
    "default": ("sparse", {}),
    "interval_1": ("sparse", {"init_scale": 8.0, "growth_interval": 1}),
    "interval_5": ("sparse", {"init_scale": 1024.0, "growth_interval": 5}),
    "interval_5_at_growth": ("at_growth", {"init_scale": 1024.0, "growth_interval": 5}),
    "interval_7_random": ("random", {"init_scale": 3.0, "growth_interval": 7}),
    "odd_factors": ("random", {"init_scale": 1000.0, "growth_factor": 1.1, "backoff_factor": 0.3, "growth_interval": 3}),
    "burst": ("burst", {"growth_interval": 4}),
    "grows_to_the_largest": ("never", {"init_scale": 2.0**100, "growth_interval": 5}),
    "largest_at_once": ("sparse", {"init_scale": 2.0**127, "growth_interval": 2}),
    "shrinks_to_zero": ("always", {"init_scale": 2.0**16, "growth_interval": 5}),
    "shrinks_to_subnormal_and_back": ("long_burst", {"init_scale": 2.0**50, "growth_interval": 3}),
}

SCALER_DEFAULTS = {"init_scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}

def scaler_run(options, scaled_gradients, start, learning_rate):
    """One GradScaler over one SGD optimizer; what it did at every step."""
    scaler = torch.amp.GradScaler("cpu", **options)
    scaler.scale(torch.zeros(()))  # Creates the scale tensor, as the first scaled loss would.
    parameters = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.SGD([parameters], lr=learning_rate, foreach=False)
    log = {"found_inf": [], "scale": [], "tracker": [], "unscaled": [], "params": [start.copy()]}
    log["scale"].append(numpy.float32(scaler.get_scale()))
    log["tracker"].append(scaler._get_growth_tracker())
    for row in scaled_gradients:
        parameters.grad = torch.from_numpy(row.copy())
        scaler.unscale_(optimizer)
        found = sum(float(v) for v in scaler._found_inf_per_device(optimizer).values())
        log["unscaled"].append(parameters.grad.numpy().copy())
        scaler.step(optimizer)
        scaler.update()
        log["found_inf"].append(found != 0.0)
        log["scale"].append(numpy.float32(scaler._scale.item()))
        log["tracker"].append(scaler._growth_tracker.item())
        log["params"].append(parameters.detach().numpy().copy())
    return {
        "found_inf": numpy.array(log["found_inf"]),
        "scale": numpy.array(log["scale"], dtype=numpy.float32),
        "tracker": numpy.array(log["tracker"], dtype=numpy.int32),
        "unscaled": numpy.stack(log["unscaled"]),
        "params": numpy.stack(log["params"]),
    }


def generate_grad_scaler(folder):
    file = GoldenFile("torch_grad_scaler", TOOLKITS)
    for name, (pattern, options) in SCALERS.items():
        kinds = training_data.overflow_kinds(pattern)
        gradients = training_data.overflowing_gradients(kinds, 1.0)
        run = scaler_run(options, gradients, numpy.zeros(3, dtype=numpy.float32), 0.0)
        arrays = {
            "injected": kinds,
            "found_inf": run["found_inf"],
            "scale": run["scale"],
            "tracker": run["tracker"],
            "unscaled": run["unscaled"],
        }
        file.case(name, {"kind": "scale", "pattern": pattern, **SCALER_DEFAULTS, **options}, arrays)

    options = {"init_scale": 2.0**15, "growth_interval": 6}
    gradients = training_data.scaled_gradients()
    run = scaler_run(options, gradients, training_data.initial_parameters(), 0.05)
    options = {"kind": "training", "optimizer": "SGD", "lr": 0.05, **SCALER_DEFAULTS, **options}
    file.case("training_sgd", options, {"scaled_gradients": gradients, **run})
    file.save(folder)


# Pruning -----------------------------------------------------------------------------------------------------------


def distinct_normal(seed, shape):
    """Normal f32 values no two of which have the same magnitude, so that no score ties."""
    values = numpy.random.default_rng(seed).standard_normal(shape).astype(numpy.float32)
    if len(numpy.unique(numpy.abs(values))) != values.size:
        raise RuntimeError(f"seed {seed} ties")
    return values


def layer(weight):
    """A module with one parameter called `weight`."""
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.from_numpy(weight.copy()))
    return module


def generate_prune(folder):
    prune = torch.nn.utils.prune
    file = GoldenFile("torch_prune", TOOLKITS)
    square, odd, image = distinct_normal(10, (16, 24)), distinct_normal(11, (7, 13)), distinct_normal(12, (6, 4, 3, 3))
    weights = {"16x24": square, "7x13": odd, "6x4x3x3": image}
    shared = {name: file.share(f"weight.{name}", value) for name, value in weights.items()}

    for shape, amount in (
        ("16x24", 0.0), ("16x24", 0.25), ("16x24", 0.5), ("16x24", 0.9), ("16x24", 1.0), ("16x24", 100), ("16x24", 0),
        ("7x13", 0.3), ("7x13", 0.5), ("7x13", 0.7), ("7x13", 45), ("6x4x3x3", 0.5), ("6x4x3x3", 17),
    ):
        module = layer(weights[shape])
        prune.l1_unstructured(module, "weight", amount)
        arrays = {"mask": module.weight_mask.numpy() != 0}
        file.case(f"l1_{shape}_{amount}", {"method": "l1_unstructured", "amount": amount}, arrays,
                  {"weight": shared[shape]})

    for amount in (0.2, 0.5, 0.85, 1, 300):
        modules = [layer(weight) for weight in weights.values()]
        prune.global_unstructured([(m, "weight") for m in modules], prune.L1Unstructured, amount=amount)
        arrays = {f"mask.{i}": m.weight_mask.numpy() != 0 for i, m in enumerate(modules)}
        roles = {f"weight.{i}": name for i, name in enumerate(shared.values())}
        file.case(f"global_{amount}", {"method": "global_unstructured", "amount": amount, "tensors": 3}, arrays, roles)

    for shape, amounts in (("16x24", (0.25, 0.5, 3)), ("7x13", (0.5, 2)), ("6x4x3x3", (0.5, 1))):
        for n in (1, 2, "infinity"):
            for dim in (0, 1):
                for amount in amounts:
                    module = layer(weights[shape])
                    prune.ln_structured(module, "weight", amount, float("inf") if n == "infinity" else n, dim)
                    arrays = {"mask": module.weight_mask.numpy() != 0}
                    options = {"method": "ln_structured", "n": n, "dim": dim, "amount": amount}
                    file.case(f"ln_{shape}_n{n}_dim{dim}_{amount}", options, arrays, {"weight": shared[shape]})

    # Pruning again prunes a share of what is still alive.
    module = layer(odd)
    arrays = {}
    for index, amount in enumerate((0.3, 0.5, 10)):
        prune.l1_unstructured(module, "weight", amount)
        arrays[f"mask.{index}"] = module.weight_mask.numpy() != 0
    file.case("l1_iterated", {"method": "l1_unstructured", "amounts": [0.3, 0.5, 10]}, arrays,
              {"weight": shared["7x13"]})
    file.save(folder)


def main():
    folder = sys.argv[1]
    torch.set_num_threads(1)
    if torch.__version__.split("+")[0] != "2.15.0" or torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        raise RuntimeError(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    generate_optim(folder)
    generate_grad_scaler(folder)
    generate_prune(folder)


if __name__ == "__main__":
    main()
