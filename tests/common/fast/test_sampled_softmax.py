"""The fast head of the sampled softmax, held against the plain one."""
from unittest import mock

import pytest
from any_device import np

from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.device import threads
from common.fast import speed_up
from common.fast.sampled_softmax import FastOutputWithSampledLoss
from common.layers.sampled_softmax import OutputWithSampledLoss, UnigramSampler
from common.layers.time import TimeAffine

pytestmark = pytest.mark.usefixtures("device")

N, T, D, V = 3, 4, 5, 9


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_it_equals_the_plain_head_on_any_number_of_cores(cores, transposed, monkeypatch):
    monkeypatch.setattr(threads, "worker_count", lambda: cores)
    monkeypatch.setattr(threads, "_blas_libraries", lambda: [mock.Mock(num_threads=8)])
    monkeypatch.setattr(threads, "LEAST_SHARE", 1)
    parts, run_parallel = [], threads.run_parallel
    monkeypatch.setattr(threads, "run_parallel", lambda function, *arguments: (
        parts.append(len(arguments)), run_parallel(function, *arguments))[1])
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((V, D)).T if transposed else rng.standard_normal((D, V)), rng.standard_normal(V)
    xs, ts = rng.standard_normal((N, T, D)), rng.integers(V, size=(N, T))
    results = []
    for make in (OutputWithSampledLoss, FastOutputWithSampledLoss):
        np.seed(1)  # the same drawn words
        layer = make(TimeAffine(W, b), UnigramSampler(range(V), 3))
        results.append([layer.forward(xs, ts), layer.backward(2), *(grad.copy() for grad in layer.grads)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)
    assert parts == ([cores] * 3 if np.backend == "numpy" and cores > 1 else [])


@pytest.mark.parametrize("fast", [False, True])
def test_a_model_that_was_sped_up_has_it(fast):
    model = SimpleRnnlm(V, D, D)
    if fast:
        speed_up(model)
    model.sample_softmax(UnigramSampler(range(V), 3))
    form = FastOutputWithSampledLoss if fast and np.backend == "numpy" else OutputWithSampledLoss
    assert type(model.sampled_head) is form
