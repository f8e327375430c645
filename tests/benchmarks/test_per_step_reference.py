"""The design that we measure against computes the same as ours."""
import numpy as np
import pytest
from per_step_reference import PerStepModel, per_step_update

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.optimizer import SGD
from common.trainer import training_step


@pytest.mark.parametrize("model", [
    SimpleRnnlm(11, 4, 5, seed=0, dtype=np.float64),
    Rnnlm(11, 4, 5, seed=0, dtype=np.float64),
    BetterRnnlm(11, 5, 5, dropout_ratio=0.0, seed=0, dtype=np.float64),
], ids=lambda model: type(model).__name__)
def test_training_steps_give_the_same_losses_and_parameters(model):
    rng = np.random.default_rng(1)
    reference = PerStepModel(model)
    for _ in range(3):
        xs, ts = rng.integers(11, size=(2, 3, 6))
        loss = training_step(model, SGD(1.0), xs, ts, max_grad=0.25)
        np.testing.assert_allclose(reference.forward(xs, ts), loss, rtol=1e-6)
        reference.backward()
        per_step_update(reference, lr=1.0, max_norm=0.25)
    for ours, theirs in zip(model.params, reference.params):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
