"""The same layers, trainings and files on a CPU and on a device."""
import contextlib
import functools
import math

import numpy
import pytest
import strict_cupy
from any_device import library, np

import ch_lstm.evaluate
import ch_lstm.train
import common.np
from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.device_random import DeviceGenerator
from common.gradients.cases import layer_cases
from common.optimizer import OPTIMIZERS, SGD
from common.text.vocabulary import Vocabulary
from common.trainer import training_step
from common.training.batches import StripBatches
from common.training.checkpoint import param_arrays, read_checkpoint, restore, save_checkpoint

TOLERANCES = {"float32": 2e-5, "float64": 1e-12}  # of the largest number of an array


@pytest.fixture(autouse=True)
def cpu_and_device(request):
    """Let np.use("cupy") find the device that the option --devices names, the stand-in by default."""
    on_gpu = "cupy" in request.config.getoption("devices").split(",")
    with contextlib.nullcontext() if on_gpu else strict_cupy.in_place_of_cupy():
        yield
        np.use("numpy")


def seed():
    """Let dropout draw the same masks on both."""
    np.seed(0)
    common.np.rng = DeviceGenerator(library(), 0)


@functools.cache
def names_of_cases():
    return [f"{case.layer}-{case.variant}" for case in layer_cases()]


def run_case(backend, number, dtype):
    """Run a layer forwards and backwards; its outputs, the gradients of its inputs and of its parameters by name."""
    np.use(backend)
    case = layer_cases(dtype=numpy.dtype(dtype))[number]
    layer = case.build()
    seed()
    outputs = case.forward(layer, case.inputs)
    rng = numpy.random.default_rng(0)
    upstream = {name: np.to_device(numpy.asarray(rng.standard_normal(output.shape), dtype=dtype))
                for name, output in outputs.items()}
    gradients = case.backward(layer, upstream)
    params = {f"d params[{i}]": grad for i, grad in enumerate(layer.grads)}
    inputs = {f"d {name}": gradient for name, gradient in gradients.items()}
    return {name: np.to_cpu(array) for name, array in (outputs | inputs | params).items()}


def assert_near(found, expected, tolerance):
    scale = max(1.0, float(abs(expected).max(initial=0)))
    numpy.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("number", range(len(names_of_cases())), ids=names_of_cases())
def test_each_layer_gives_the_same_outputs_and_gradients(number, dtype):
    on_cpu, on_device = run_case("numpy", number, dtype), run_case("cupy", number, dtype)
    assert on_cpu.keys() == on_device.keys()
    for name, expected in on_cpu.items():
        assert on_device[name].dtype == expected.dtype == dtype
        assert_near(on_device[name], expected, TOLERANCES[dtype])


def losses(backend, model, steps, dtype=numpy.float32, optimizer="sgd", lr=1.0):
    """Return the losses of the first steps of a training run."""
    np.use(backend)
    model = model(50, 16, 16, seed=0, dtype=dtype)
    seed()
    ids = numpy.random.default_rng(0).zipf(1.5, 3001).clip(1, 50) - 1
    batches, optimizer = StripBatches(ids[:-1], ids[1:], 5, 12), OPTIMIZERS[optimizer](lr)
    found = [training_step(model, optimizer, *batches.next_batch(), max_grad=0.25) for _ in range(steps)]
    return numpy.array([float(loss) for loss in found])


@pytest.mark.training
@pytest.mark.parametrize("model", [SimpleRnnlm, Rnnlm, BetterRnnlm])
def test_the_first_200_losses_of_a_training_run(model):
    on_cpu, on_device = losses("numpy", model, 200), losses("cupy", model, 200)
    assert on_cpu[-20:].mean() < on_cpu[:20].mean() - 0.1  # it learns
    numpy.testing.assert_allclose(on_device, on_cpu, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_losses_with_each_optimizer(optimizer):
    on_cpu, on_device = (losses(name, Rnnlm, 20, numpy.float64, optimizer, 0.01) for name in ("numpy", "cupy"))
    numpy.testing.assert_allclose(on_device, on_cpu, rtol=1e-9)


@pytest.mark.parametrize("here, there", [("numpy", "cupy"), ("cupy", "numpy")])
def test_a_checkpoint_of_one_goes_on_on_the_other(here, there, tmp_path):
    vocabulary, ids = Vocabulary([str(i) for i in range(30)]), numpy.random.default_rng(0).integers(30, size=400)

    def start(backend, seed):
        np.use(backend)
        model = Rnnlm(30, 8, 8, seed=seed, dtype=numpy.float64)
        return model, OPTIMIZERS["adam"](0.01), StripBatches(ids[:-1], ids[1:], 4, 7)

    def steps(model, optimizer, batches, count):
        return [float(training_step(model, optimizer, *batches.next_batch(), 0.25)) for _ in range(count)]

    run = start(here, seed=0)
    steps(*run, 5)
    facts = {"model": "rnnlm", "vocabulary": vocabulary.fingerprint, "corpus": "", "configuration": {}, "history": []}
    save_checkpoint(tmp_path / "run.npz", run[0], facts, run[1])
    position, expected = run[2].position, steps(*run, 5)

    model, optimizer, batches = start(there, seed=1)
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", vocabulary)
    restore(tmp_path / "run.npz", arrays, facts, model, optimizer, 4)
    batches.position = position
    assert all(isinstance(param, np.ndarray) for param in param_arrays(model).values())
    numpy.testing.assert_allclose(steps(model, optimizer, batches, 5), expected, rtol=1e-9)


def test_a_run_of_one_device_is_evaluated_and_resumed_on_the_other(tmp_path, capsys):
    def perplexity(device):
        assert ch_lstm.evaluate.main([str(tmp_path / "run"), "--checkpoint", "last", "--device", device]) == 0
        return float(capsys.readouterr().out.split("perplexity ")[1].split()[0])

    assert ch_lstm.train.main(["--smoke", "--model", "better", "--out", str(tmp_path / "run"), "--device", "gpu"]) == 0
    capsys.readouterr()
    assert math.isclose(perplexity("gpu"), perplexity("cpu"), rel_tol=1e-3)
    for epochs, device in ((2, "cpu"), (3, "gpu")):
        assert ch_lstm.train.main(
            ["--out", str(tmp_path / "run"), "--resume", "--epochs", str(epochs), "--device", device]) == 0
        capsys.readouterr()
    assert math.isclose(perplexity("gpu"), perplexity("cpu"), rel_tol=1e-3)


def test_a_layer_made_on_the_other_device_is_refused_by_name():
    np.use("numpy")
    model, ids = Rnnlm(30, 8, 8, seed=0), numpy.arange(12).reshape(3, 4)
    np.use("cupy")
    with pytest.raises(ValueError, match=r"^TimeEmbedding: its parameters are arrays of numpy.ndarray, np is cupy now"):
        training_step(model, SGD(0.1), np.to_device(ids), np.to_device(ids))
    with pytest.raises(ValueError, match=r"^TimeEmbedding: ids is a numpy.ndarray, wanted an array of cupy"):
        model.predict(ids)
    model = Rnnlm(30, 8, 8, seed=0)
    np.use("numpy")
    with pytest.raises(ValueError, match=r"^TimeEmbedding: its parameters are arrays of .*\.ndarray, np is numpy now"):
        model.predict(ids)
