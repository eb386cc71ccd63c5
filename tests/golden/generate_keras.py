"""Golden data of keras 3.15.1 (on tensorflow-cpu 2.21.0) and tf_keras 2.21.0: optimizers and loss scaling.

    pip install -r requirements-tensorflow.txt
    python generate_keras.py OUTPUT_FOLDER

writes `keras_optim.safetensors` and `keras_loss_scale.safetensors`.

Everything runs eagerly, one TensorFlow operation after another: no graph, no compilation, hence no fusion.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy
import tensorflow as tf
import tf_keras

import training_data
from golden_file import GoldenFile

KERAS = "keras 3.15.1 on tensorflow-cpu 2.21.0, eager"
KERAS_AND_TF_KERAS = f"{KERAS}; tf_keras 2.21.0"

# Optimizers --------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": ("SGD", {}),
    "sgd_momentum": ("SGD", {"momentum": 0.9}),
    "sgd_nesterov": ("SGD", {"momentum": 0.8, "nesterov": True}),
    "sgd_weight_decay": ("SGD", {"learning_rate": 0.02, "weight_decay": 0.05}),
    "sgd_all": ("SGD", {"learning_rate": 0.003, "momentum": 0.95, "nesterov": True, "weight_decay": 0.01}),
    "adam": ("Adam", {}),
    "adam_betas": ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-5}),
    "adam_weight_decay": ("Adam", {"learning_rate": 0.003, "weight_decay": 0.1}),
    "adam_amsgrad": ("Adam", {"learning_rate": 0.003, "beta_2": 0.9, "amsgrad": True}),
    "adamw": ("AdamW", {}),
    "adamw_weight_decay": ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {}),
    "adagrad_initial": ("Adagrad", {"learning_rate": 0.05, "initial_accumulator_value": 0.5, "epsilon": 1e-5}),
    "adagrad_weight_decay": ("Adagrad", {"learning_rate": 0.05, "weight_decay": 0.1}),
}

STORED_OPTIONS = {
    "SGD": ("learning_rate", "momentum", "nesterov", "weight_decay"),
    "Adam": ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay", "amsgrad"),
    "AdamW": ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay", "amsgrad"),
    "Adagrad": ("learning_rate", "initial_accumulator_value", "epsilon", "weight_decay"),
}


def stored_options(name, optimizer, given):
    """All options of one optimizer, defaults included.

    The learning rate is an f32 variable; its option is the f64 that went in, or else the shortest decimal of the f32.
    """
    options = {}
    for option in STORED_OPTIONS[name]:
        value = optimizer.get_config()[option]
        if option == "learning_rate":
            value = given.get(option, float(str(numpy.float32(value))))
        options[option] = value
    return {"optimizer": name, **options}


def trajectory(optimizer, start, gradients):
    """Parameters before the first and after every step, `[steps + 1, n]`."""
    parameters = keras.Variable(start, dtype="float32")
    optimizer.build([parameters])
    rows = [start.copy()]
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)])
        rows.append(parameters.numpy().copy())
    return numpy.stack(rows)


def generate_optim(folder):
    file = GoldenFile("keras_optim", KERAS)
    start = training_data.initial_parameters()
    gradients = training_data.gradients()
    shared = {"gradients": file.share("gradients", gradients)}
    for name, (optimizer_name, given) in OPTIMIZERS.items():
        optimizer = getattr(keras.optimizers, optimizer_name)(**given)
        params = trajectory(optimizer, start, gradients)
        file.case(name, stored_options(optimizer_name, optimizer, given), {"params": params}, shared)
    file.save(folder)


# Loss scaling ------------------------------------------------------------------------------------------------------

SCALERS = {
    "default": ("sparse", {"initial_scale": 32768.0, "dynamic_growth_steps": 2000}),
    "growth_1": ("sparse", {"initial_scale": 8.0, "dynamic_growth_steps": 1}),
    "growth_5": ("sparse", {"initial_scale": 1024.0, "dynamic_growth_steps": 5}),
    "growth_5_at_growth": ("at_growth", {"initial_scale": 1024.0, "dynamic_growth_steps": 5}),
    "growth_7_random": ("random", {"initial_scale": 3.0, "dynamic_growth_steps": 7}),
    "burst": ("burst", {"initial_scale": 32768.0, "dynamic_growth_steps": 4}),
    "grows_to_the_largest": ("late", {"initial_scale": 2.0**100, "dynamic_growth_steps": 4}),
    "always_overflows": ("always", {"initial_scale": 32768.0, "dynamic_growth_steps": 5}),
}


def keras_scaler(name, options, scaling):
    """keras 3: divides the scaled gradients itself, in `apply`."""
    inner = getattr(keras.optimizers, name)(**options)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, **scaling)

    def build(variables):
        optimizer.build(variables)

    def step(gradients, variables):
        optimizer.apply(gradients)

    def state():
        return optimizer.dynamic_scale.numpy(), optimizer.step_counter.numpy(), inner.iterations.numpy()

    return build, step, state


def tf_keras_scaler(name, options, scaling):
    """tf_keras: the caller divides by the scale (`get_unscaled_gradients`), then `apply_gradients`."""
    inner = getattr(tf_keras.optimizers, name)(**options, jit_compile=False)
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(inner, **scaling)

    def build(variables):
        optimizer.build(variables)

    def step(gradients, variables):
        optimizer.get_scaled_loss(tf.constant(0.0))  # Only so that it does not warn.
        unscaled = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(unscaled, variables, strict=True))

    def state():
        return optimizer.loss_scale.numpy(), optimizer.dynamic_counter.numpy(), optimizer.iterations.numpy()

    return build, step, state


def scaler_run(toolkit, name, options, scaling, start, scaled_gradients):
    """What one loss-scaling optimizer does at every step; row 0 is before the first."""
    if toolkit == "keras":
        variable = keras.Variable(start)
        build, step, state = keras_scaler(name, options, scaling)
    else:
        variable = tf.Variable(start)
        build, step, state = tf_keras_scaler(name, options, scaling)
    build([variable])
    states, params = [state()], [variable.numpy().copy()]
    for row in scaled_gradients:
        step([tf.constant(row)], [variable])
        states.append(state())
        params.append(variable.numpy().copy())
    scale, counter, iterations = zip(*states, strict=True)
    return {
        "scale": numpy.array(scale, dtype=numpy.float32),
        "counter": numpy.array(counter, dtype=numpy.int32),
        "iterations": numpy.array(iterations, dtype=numpy.int32),
        "params": numpy.stack(params),
    }


def add_both_toolkits(file, name, optimizer, options, scaling, start, scaled_gradients, shared):
    """The same gradients through keras 3 and through tf_keras."""
    shared = {"scaled_gradients": file.share(f"scaled_gradients.{name}", scaled_gradients), **shared}
    for toolkit in ("keras", "tf_keras"):
        run = scaler_run(toolkit, optimizer, options, scaling, start, scaled_gradients)
        all_options = {"toolkit": toolkit, "optimizer": optimizer, **options, **scaling}
        file.case(f"{toolkit}_{name}", all_options, run, shared)


def generate_loss_scale(folder):
    file = GoldenFile("keras_loss_scale", KERAS_AND_TF_KERAS)
    start = numpy.array([1.0, 2.0, 3.0], dtype=numpy.float32)
    for name, (pattern, scaling) in SCALERS.items():
        kinds = training_data.overflow_kinds(pattern)
        gradients = training_data.overflowing_gradients(kinds, 96.0)
        shared = {"injected": file.share(f"injected.{name}", kinds)}
        add_both_toolkits(file, name, "SGD", {"learning_rate": 0.5}, scaling, start, gradients, shared)

    # tf_keras counts a skipped step in Adam's bias correction, keras 3 does not.
    adam = {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    scaling = {"initial_scale": 32768.0, "dynamic_growth_steps": 6}
    start = training_data.initial_parameters()
    add_both_toolkits(file, "training_adam", "Adam", adam, scaling, start, training_data.scaled_gradients(), {})
    file.save(folder)


def main():
    folder = sys.argv[1]
    versions = (keras.__version__, tf.__version__, tf_keras.__version__)
    if versions != ("3.15.1", "2.21.0", "2.21.0"):
        raise RuntimeError(f"keras, tensorflow, tf_keras are {versions}")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generate_optim(folder)
    generate_loss_scale(folder)


if __name__ == "__main__":
    main()
