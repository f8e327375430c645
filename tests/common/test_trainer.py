import numpy
import pytest
from any_device import np

from ch_lstm.rnnlm import Rnnlm
from common.clip import global_norm
from common.errors import InputError
from common.ids import ids_array
from common.layers import Affine, SoftmaxWithLoss
from common.optimizer import SGD
from common.trainer import RnnlmTrainer, Trainer, training_step

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


def test_training_step_clips_before_it_updates():
    model = Classifier()
    x, t = points(8)
    training_step(model, SGD(0.0), 100 * x, t)
    assert global_norm(model.grads) > 1
    training_step(model, SGD(1.0), 100 * x, t, max_grad=0.5)
    assert float(global_norm(model.params)) == pytest.approx(0.5, rel=1e-5)


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


def test_plot_shows_the_curve(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gca()))
    trainer = RnnlmTrainer(Rnnlm(5, 3, 4, seed=0), SGD(0.1))
    corpus = np.tile(np.arange(5), 10)
    trainer.fit(corpus[:-1], corpus[1:], max_epoch=2, batch_size=2, time_size=4, eval_interval=2)
    trainer.plot(ylim=(0, 9))
    (axes,) = shown
    np.testing.assert_allclose(axes.lines[0].get_ydata(), trainer.ppl_list)
    assert axes.get_ylim() == (0, 9) and axes.get_xlabel() == "iterations (x 2)"
    pyplot.close("all")
