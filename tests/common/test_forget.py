"""A backward belongs to the last forward: what else goes through a model's layers in between makes it raise."""
import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.classifier import SequenceClassifier
from ch_lstm.encoder_decoder import AttentionSeq2seq, PeekySeq2seq, Seq2seq
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common.fast import speed_up
from common.language_model.beam import beam_search
from common.language_model.evaluate import perplexity
from common.language_model.generate import generate
from common.watch.states import recorded_states

V, H, N, T = 7, 5, 2, 3


def ids(*shape):
    return np.random.default_rng(0).integers(V, size=shape)


LANGUAGE_MODELS = {
    "SimpleRnnlm": lambda: SimpleRnnlm(V, H, H, seed=0),
    "Rnnlm": lambda: Rnnlm(V, H, H, seed=0),
    "Rnnlm fast": lambda: speed_up(Rnnlm(V, H, H, seed=0)),
    "BetterRnnlm": lambda: BetterRnnlm(V, H, H, seed=0),
}
BETWEEN = {
    "predict": lambda model: model.predict(ids(N, T)),
    "perplexity": lambda model: perplexity(model, ids(4)),
    "generate": lambda model: generate(model, [1], 2),
    "beam_search": lambda model: beam_search(model, [1], 2, 2),
    "recorded_states": lambda model: recorded_states(model, numpy.array([1, 2])),
}
OTHERS = {
    "classifier": (
        lambda: SequenceClassifier(V, H, H, V, seed=0), ids(N), lambda model: model.predict(ids(N, 1))),
    "attention_map": (
        lambda: AttentionSeq2seq(V, H, H, seed=0), ids(N, T), lambda model: model.attention_map(ids(N, 1), ids(N, 2))),
}
for kind in (Seq2seq, PeekySeq2seq, AttentionSeq2seq):
    OTHERS[f"{kind.__name__} answer"] = (
        lambda kind=kind: kind(V, H, H, seed=0), ids(N, T), lambda model: model.answer(ids(N, 1), 0, 2))
    OTHERS[f"{kind.__name__} beam_answers"] = (
        lambda kind=kind: kind(V, H, H, seed=0), ids(N, T), lambda model: model.beam_answers(ids(N, 1), 0, 2, 3))
CASES = [pytest.param(make, lambda: ids(N, T), between, id=f"{name}, {how}")
         for name, make in LANGUAGE_MODELS.items() for how, between in BETWEEN.items()]
CASES += [pytest.param(make, lambda ts=ts: ts, between, id=name) for name, (make, ts, between) in OTHERS.items()]


@pytest.mark.parametrize("make, targets, between", CASES)
def test_backward_raises_after_other_input_and_works_after_the_next_forward(make, targets, between):
    model, untouched = make(), make()
    xs, ts = ids(N, T), targets()
    model.forward(xs, ts)
    between(model)
    with pytest.raises(ValueError, match="backward needs a forward in training mode before it"):
        model.backward()

    for each in (model, untouched):
        if hasattr(each, "reset_state"):
            each.reset_state()
        np.seed(1)
        each.forward(xs, ts)
        each.backward()
    for grad, expected in zip(model.grads, untouched.grads, strict=True):
        np.testing.assert_array_equal(grad, expected)
