import math

import numpy
import pytest
from any_device import np

from ch_lstm.rnnlm import Rnnlm
from common import trainer as trainer_module
from common.base_model import BaseModel
from common.device.ids import ids_array
from common.errors import InputError
from common.layers.dense import Affine
from common.layers.losses import SoftmaxWithLoss
from common.optimizer import SGD
from common.trainer import RnnlmTrainer, Trainer, training_step
from common.training.clip import global_norm

pytestmark = pytest.mark.usefixtures("device")


class Classifier:
    """One affine layer and a loss: the smallest model that the trainer takes."""

    def __init__(self):
        self.affine, self.loss = Affine(np.zeros((2, 2)), np.zeros(2)), SoftmaxWithLoss()
        self.params, self.grads = self.affine.params, self.affine.grads

    def forward(self, x, t):
        return self.loss.forward(self.affine.forward(x), t)

    def backward(self):
        self.affine.backward(self.loss.backward())


def points(n):
    """Points left and right of a line, and the side that each is on."""
    x = np.random.default_rng(0).standard_normal((n, 2))
    return x, (x[:, 0] > 0).astype(int)


@pytest.mark.training
def test_trainer_learns_and_records_the_mean_loss_of_each_interval(capsys):
    np.seed(0)
    trainer = Trainer(Classifier(), SGD(1.0))
    trainer.fit(*points(64), max_epoch=5, batch_size=8, eval_interval=4)
    assert trainer.loss_list[0] == pytest.approx(numpy.log(2))
    assert trainer.loss_list[-1] < 0.25
    assert len(trainer.loss_list) == 5 * 2 and trainer.current_epoch == 5
    assert capsys.readouterr().out.count("loss") == 10


def test_trainer_deals_each_example_once_an_epoch_in_a_new_order():
    seen = []

    class Recorder(Classifier):
        def forward(self, x, t):
            seen.append(x[:, 0].copy())
            return super().forward(x, t)

    x, t = points(24)
    Trainer(Recorder(), SGD(0.1)).fit(x, t, max_epoch=2, batch_size=8, eval_interval=None)
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    np.testing.assert_array_equal(np.sort(first), np.sort(x[:, 0]))
    np.testing.assert_array_equal(np.sort(second), np.sort(x[:, 0]))
    assert not np.array_equal(first, second) and not np.array_equal(first, x[:, 0])


def classifier_by_hand(x, t, W, b, orders, batch_size, lr, max_grad, eval_interval):
    """Train softmax regression; the curve. W (2, 2) and b (2,) are changed in place."""
    curve, since = [], []
    for order in orders:
        for i in range(len(x) // batch_size):
            chosen = order[i * batch_size:(i + 1) * batch_size]
            scores = numpy.exp(x[chosen] @ W + b)
            probabilities = scores / scores.sum(axis=1, keepdims=True)  # (N, 2)
            since.append(-numpy.log(probabilities[range(batch_size), t[chosen]]).mean())
            dscores = (probabilities - numpy.eye(2)[t[chosen]]) / batch_size
            dW, db = x[chosen].T @ dscores, dscores.sum(axis=0)
            norm = math.sqrt((dW**2).sum() + (db**2).sum())
            rate = 1 if max_grad is None else min(1, max_grad / (norm + 1e-6))
            W -= lr * rate * dW
            b -= lr * rate * db
            if i % eval_interval == 0:
                curve.append(numpy.mean(since))
                since = []
    return curve


@pytest.mark.parametrize("eval_interval, max_grad", [(1, None), (2, 0.2), (3, 0.2)])
def test_trainer_is_the_loop_by_hand(eval_interval, max_grad, capsys):
    x, t = points(29)  # 4 batches of 7, one example left over
    model = Classifier()
    trainer = Trainer(model, SGD(0.9))
    np.seed(5)
    trainer.fit(x, t, max_epoch=3, batch_size=7, max_grad=max_grad, eval_interval=eval_interval)
    rng = numpy.random.default_rng(5)
    W, b = numpy.zeros((2, 2)), numpy.zeros(2)
    orders = [rng.permutation(29) for _ in range(3)]
    curve = classifier_by_hand(np.to_cpu(x), np.to_cpu(t), W, b, orders, 7, 0.9, max_grad, eval_interval)
    np.testing.assert_allclose(model.params[0], W, rtol=1e-9)
    np.testing.assert_allclose(model.params[1], b, rtol=1e-9)
    assert trainer.loss_list == pytest.approx(curve, rel=1e-9)
    assert {type(point) for point in trainer.loss_list} == {float}
    lines = capsys.readouterr().out.splitlines()
    reports = [(epoch, batch) for epoch in (1, 2, 3) for batch in (1, 2, 3, 4) if (batch - 1) % eval_interval == 0]
    for (epoch, batch), loss, line in zip(reports, curve, lines, strict=True):
        assert line.startswith(f"epoch {epoch}  batch {batch}/4  ") and line.endswith(f" s  loss {loss:.4f}")


@pytest.mark.parametrize("n, targets, batch_size, message", [
    (5, 5, 6, "got 6 for 5"), (5, 5, 0, "got 0 for 5"), (5, 4, 2, "got 5 examples and 4 targets")])
def test_examples_that_make_no_batch_are_refused(n, targets, batch_size, message):
    x, t = points(n)
    with pytest.raises(InputError, match=message):
        Trainer(Classifier(), SGD(0.1)).fit(x, t[:targets], batch_size=batch_size)


def test_training_step_clips_before_it_updates():
    model = Classifier()
    x, t = points(8)
    training_step(model, SGD(0.0), 100 * x, t)
    assert global_norm(model.grads) > 1
    training_step(model, SGD(1.0), 100 * x, t, max_grad=0.5)
    assert float(global_norm(model.params)) == pytest.approx(0.5, rel=1e-5)


class Shared(BaseModel):
    """Two parameters, the second the transposed view of the first, with given gradients."""

    def __init__(self):
        W = np.zeros((2, 2))
        self.params, self.grads = [W, W.T], [np.array([[3.0, 0], [0, 0]]), np.array([[0.0, 0], [4, 0]])]

    def forward(self, xs, ts, **options):
        self.got = xs, ts, options
        return np.array(0.75)

    def backward(self):
        pass


def test_training_step_merges_shared_gradients_and_clips_their_sum():
    model = Shared()
    assert float(training_step(model, SGD(1.0), "xs", "ts", 2.5, lengths="lengths")) == 0.75
    assert model.got == ("xs", "ts", {"lengths": "lengths"})
    np.testing.assert_allclose(model.params[0], [[-1.5, -2], [0, 0]], rtol=1e-6)  # 3 and 4, of norm 5, halved


def rnnlm_by_hand(model, corpus, epochs, N, T, max_grad, eval_interval, position=0, lr=0.7):
    """Train a language model along a corpus; the curve."""
    xs, ts, n = np.to_device(corpus[:-1]), np.to_device(corpus[1:]), len(corpus) - 1
    curve, since = [], []
    for _ in range(epochs):
        for i in range(n // (N * T)):
            index = np.to_device((numpy.arange(N)[:, None] * (n // N) + position + numpy.arange(T)) % n)
            position += T
            since.append(float(model.forward(xs[index], ts[index])))
            model.backward()
            norm = math.sqrt(sum(float((grad * grad).sum()) for grad in model.grads))
            rate = 1 if max_grad is None else min(1, max_grad / (norm + 1e-6))
            for param, grad in zip(model.params, model.grads):
                param -= lr * rate * grad
            if eval_interval is not None and i % eval_interval == 0:
                curve.append(math.exp(numpy.mean(since)))
                since = []
    return curve


def strong_rnnlm():
    model = Rnnlm(7, 3, 4, seed=0, dtype=np.float64)
    for param in model.params:
        param *= 3  # as drawn they are so small that a lost state would hardly show
    return model


def assert_same_model(one, other):
    for param, expected in zip(one.params, other.params, strict=True):
        np.testing.assert_allclose(param, expected, rtol=1e-9, atol=1e-11)
    for state, expected in zip(one.layers[1].state, other.layers[1].state, strict=True):
        np.testing.assert_allclose(state, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("eval_interval, max_grad", [(1, None), (2, 0.2), (4, 0.2), (None, None)])
def test_rnnlm_trainer_is_the_loop_by_hand(eval_interval, max_grad, capsys):
    corpus = numpy.random.default_rng(0).integers(7, size=48)  # 5 batches of 3 x 3 an epoch, strips 15 ids apart
    model, expected = strong_rnnlm(), strong_rnnlm()
    trainer = RnnlmTrainer(model, SGD(0.7))
    assert trainer.ppl_list == [] and trainer.eval_interval is None
    curve = []
    for epochs, position in ((3, 0), (2, 45)):  # the second call goes on where the first ended
        trainer.fit(np.to_device(corpus[:-1]), np.to_device(corpus[1:]), epochs, 3, 3, max_grad, eval_interval)
        curve += rnnlm_by_hand(expected, corpus, epochs, 3, 3, max_grad, eval_interval, position)
        assert trainer.time_idx == (position + epochs * 15) % 47
    assert_same_model(model, expected)
    assert trainer.ppl_list == pytest.approx(curve, rel=1e-9)
    assert all(type(point) is float for point in trainer.ppl_list)
    assert trainer.current_epoch == 5 and trainer.eval_interval == eval_interval
    lines = capsys.readouterr().out.splitlines()
    reports = [(epoch, batch) for epoch in range(1, 6) for batch in range(1, 6)
               if eval_interval is not None and (batch - 1) % eval_interval == 0]
    for (epoch, batch), point, line in zip(reports, curve, lines, strict=True):
        assert line.startswith(f"epoch {epoch}  batch {batch}/5  ") and line.endswith(f" s  perplexity {point:.2f}")


@pytest.mark.parametrize("trainer, examples, shape", [
    (Trainer, (21 * 32, 2), (32, 2)), (RnnlmTrainer, (21 * 20 * 35,), (20, 35))])
def test_by_default_fit_takes_10_epochs_does_not_clip_and_reports_at_every_20th_batch(trainer, examples, shape):
    class Steep:
        """A model whose gradient is 1000 everywhere."""

        def __init__(self):
            self.params, self.grads, self.shapes = [np.zeros(1)], [np.full(1, 1000.0)], []

        def forward(self, xs, ts):
            self.shapes.append(xs.shape)
            return 0.0

        def backward(self):
            pass

    model = Steep()
    trainer = trainer(model, SGD(1.0))
    x = np.zeros(examples, dtype=int)
    trainer.fit(x, x)
    assert model.shapes == [shape] * 10 * 21
    assert float(model.params[0][0]) == -1000 * 10 * 21
    assert len(trainer.curve) == 10 * 2 and trainer.eval_interval == 20


def test_the_report_says_the_seconds_since_fit_began(monkeypatch, capsys):
    class Clock:
        now = 100.0

        def perf_counter(self):
            self.now += 7
            return self.now

    monkeypatch.setattr(trainer_module, "time", Clock())
    x, t = points(14)
    trainer = Trainer(Classifier(), SGD(0.1))
    for _ in range(2):
        trainer.fit(x, t, max_epoch=1, batch_size=7, eval_interval=1)
    assert [line.split("  ")[2] for line in capsys.readouterr().out.splitlines()] == ["7 s", "14 s"] * 2


def test_get_batch_returns_arrays_of_its_own():
    corpus = np.arange(23)
    trainer = RnnlmTrainer(None, None)
    for step in range(6):
        xs, ts = trainer.get_batch(corpus, corpus + 100, 2, 5)
        expected = (numpy.array([[0], [11]]) + 5 * step + numpy.arange(5)) % 23
        np.testing.assert_array_equal(xs, expected)
        np.testing.assert_array_equal(ts, expected + 100)
        assert trainer.time_idx == 5 * (step + 1) % 23
        xs[...] = ts[...] = -1
    np.testing.assert_array_equal(corpus, numpy.arange(23))


@pytest.mark.training
def test_rnnlm_trainer_learns_a_cycle(capsys):
    corpus = np.tile(np.arange(5), 60)
    trainer = RnnlmTrainer(Rnnlm(5, 8, 8, seed=0), SGD(5.0))
    trainer.fit(corpus[:-1], corpus[1:], max_epoch=8, batch_size=4, time_size=5, max_grad=0.5, eval_interval=7)
    assert trainer.ppl_list[0] == pytest.approx(5, rel=0.2)
    assert trainer.ppl_list[-1] < 1.1
    assert "perplexity" in capsys.readouterr().out


def test_rnnlm_batches_go_on_over_the_end_of_the_corpus_and_between_fits():
    class Recorder(Rnnlm):
        seen = []

        def forward(self, xs, ts, train_flg=True):
            ids = ids_array(xs)
            self.seen.append(ids.copy())
            np.testing.assert_array_equal(ids_array(ts), (ids + 1) % 23)
            return super().forward(xs, ts, train_flg)

    trainer = RnnlmTrainer(Recorder(23, 3, 4, seed=0), SGD(0.1))
    corpus = np.arange(23)
    for _ in range(3):
        trainer.fit(corpus, (corpus + 1) % 23, max_epoch=1, batch_size=2, time_size=5, eval_interval=None)
    strip = np.concatenate([xs[0] for xs in Recorder.seen])
    np.testing.assert_array_equal(strip, np.arange(30) % 23)
    other = np.concatenate([xs[1] for xs in Recorder.seen])
    np.testing.assert_array_equal(other, (11 + np.arange(30)) % 23)
    assert trainer.current_epoch == 3 and trainer.eval_interval is None


def test_a_corpus_too_short_for_one_batch_is_refused():
    trainer = RnnlmTrainer(Rnnlm(5, 3, 4, seed=0), SGD(0.1))
    with pytest.raises(InputError, match="too short"):
        trainer.fit(np.arange(5), np.arange(5), batch_size=2, time_size=5)


@pytest.mark.parametrize("options, message", [
    ({"max_epoch": -1}, "max_epoch is -1, wanted at least 0"),
    ({"eval_interval": 0}, "eval_interval is 0, wanted at least 1"),
    ({"eval_interval": -3}, "eval_interval is -3, wanted at least 1"),
    ({"max_grad": 0}, "max_norm is 0, wanted a number above 0"),
    ({"max_grad": math.nan}, "max_norm is nan, wanted a number above 0"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": -2}, "batch_size"),
    ({"batch_size": 24}, "24|too short"),
])
@pytest.mark.parametrize("kind", [Trainer, RnnlmTrainer])
def test_what_would_train_nothing_is_refused(kind, options, message):
    ids = np.arange(23) % 5
    trainer, data = ((Trainer(Classifier(), SGD(0.1)), points(23)) if kind is Trainer else
                     (RnnlmTrainer(Rnnlm(5, 3, 4, seed=0), SGD(0.1)), (ids, ids)))
    before = [param.copy() for param in trainer.model.params]
    with pytest.raises(ValueError, match=message):
        trainer.fit(*data, **{"batch_size": 5} | ({"time_size": 2} if kind is RnnlmTrainer else {}) | options)
    assert all(np.array_equal(param, old) for param, old in zip(trainer.model.params, before))


@pytest.mark.parametrize("ts, options, message", [
    (22, {}, r"xs and ts must be two \(n,\) arrays, got shapes \(23,\) and \(22,\)"),
    (23, {"time_size": 0}, "batch_size and time_size must be at least 1, got 5 and 0"),
    (23, {"time_size": -1}, "batch_size and time_size must be at least 1, got 5 and -1"),
    (23, {"time_size": 5}, "the corpus is too short: 23 ids do not fill one batch of 5 x 5"),
])
def test_a_corpus_that_makes_no_batch_is_refused(ts, options, message):
    trainer = RnnlmTrainer(Rnnlm(5, 3, 4, seed=0), SGD(0.1))
    with pytest.raises(ValueError, match=message):
        trainer.fit(np.arange(23) % 5, np.arange(ts) % 5, **{"batch_size": 5, "time_size": 2} | options)


def test_a_huge_perplexity_is_reported_as_infinite(capsys):
    class Lost(Rnnlm):
        def forward(self, xs, ts):
            return 0 * super().forward(xs, ts) + 1000

    trainer, ids = RnnlmTrainer(Lost(5, 3, 4, seed=0), SGD(0.1)), np.arange(23) % 5
    trainer.fit(ids, ids, max_epoch=1, batch_size=2, time_size=3, eval_interval=3)
    assert trainer.ppl_list == [math.inf]
    assert capsys.readouterr().out.endswith("s  perplexity inf\n")


def test_plot_shows_the_curve(monkeypatch, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    pyplot.figure()  # of its own: another test may have left one
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gca()))
    trainer = RnnlmTrainer(Rnnlm(5, 3, 4, seed=0), SGD(0.1))
    corpus = np.tile(np.arange(5), 10)
    trainer.fit(corpus[:-1], corpus[1:], max_epoch=2, batch_size=2, time_size=4, eval_interval=2)
    trainer.plot(ylim=(0, 9))
    (axes,) = shown
    np.testing.assert_allclose(axes.lines[0].get_ydata(), trainer.ppl_list)
    assert axes.lines[0].get_color() == "black"
    assert axes.get_ylim() == (0, 9) and axes.get_xlabel() == "iterations (x 2)"
    assert axes.get_ylabel() == "perplexity"
    pyplot.close("all")

    trainer = Trainer(Classifier(), SGD(0.1))
    trainer.fit(*points(64), max_epoch=2, batch_size=8, eval_interval=3)
    trainer.plot((0, 2))
    np.testing.assert_allclose(shown[1].lines[0].get_ydata(), trainer.loss_list)
    assert (shown[1].get_ylim(), shown[1].get_xlabel(), shown[1].get_ylabel()) == ((0, 2), "iterations (x 3)", "loss")
    pyplot.close("all")
    trainer.plot()
    assert shown[2].get_ylim() != (0, 2)
    pyplot.close("all")
