"""The models as wholes: their weights, their dropout, their states, and what is a target of what."""
import contextlib
import inspect
import math

import numpy
import pytest
from any_device import np
from by_hand import lstm_by_hand

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common import plots
from common.device.ids import ids_array
from common.fast import speed_up
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.language_model.cell_rnnlm import CellRnnlm
from common.language_model.evaluate import eval_perplexity, perplexity
from common.language_model.model import LanguageModel
from common.language_model.run import TrainingRun
from common.language_model.settings import TrainSettings
from common.layers.gru import TimeGRU
from common.layers.losses import OutputWithLoss
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.sampled_softmax import UnigramSampler
from common.optimizer import SGD
from common.text.ppmi import ppmi_vectors
from common.text.vocabulary import Vocabulary
from common.trainer import RnnlmTrainer, training_step
from common.training.batches import StripBatches, WindowBatches
from common.training.clip import unique_params
from dataset.corpus import Corpus

pytestmark = pytest.mark.usefixtures("device")

N, T, V, D, H = 2, 3, 7, 4, 9
UNTIED = {  # a model, its recurrent layer, the blocks of its weights
    "SimpleRnnlm": (lambda **options: SimpleRnnlm(V, D, H, **options), TimeRNN, 1),
    "Rnnlm": (lambda **options: Rnnlm(V, D, H, **options), TimeLSTM, 4),
    "CellRnnlm, rnn": (lambda **options: CellRnnlm("rnn", V, D, H, **options), TimeRNN, 1),
    "CellRnnlm, gru": (lambda **options: CellRnnlm("gru", V, D, H, **options), TimeGRU, 3),
    "CellRnnlm, lstm": (lambda **options: CellRnnlm("lstm", V, D, H, **options), TimeLSTM, 4),
}
every_untied_model = pytest.mark.parametrize("make, layer, blocks", UNTIED.values(), ids=UNTIED)
MODELS = {name: make for name, (make, _, _) in UNTIED.items()} | {
    "BetterRnnlm": lambda **options: BetterRnnlm(V, H, H, **options)}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def ids(seed):
    return np.random.default_rng(seed).integers(V, size=(N, T))


def randomized(model):
    """Give a model larger weights, and biases, so that every part of it matters."""
    rng = np.random.default_rng(2)
    for param in unique_params(model.params):
        param[...] = 0.5 * rng.standard_normal(param.shape)
    return model


# --- weights

def drawn(rng, *shapes_and_deviations):
    return [rng.standard_normal(shape) * std for shape, std in shapes_and_deviations]


def assert_params(model, expected):
    assert [param.shape for param in model.params] == [array.shape for array in expected]
    for param, array in zip(model.params, expected):
        np.testing.assert_allclose(param, array, rtol=1e-6)
    assert model.vocab_size == V


@pytest.mark.parametrize("seed", [3, None])
@every_untied_model
def test_weights_have_the_book_s_deviations_and_biases_are_zeros(make, layer, blocks, seed):
    rng = numpy.random.default_rng(3)
    embedding, Wx, Wh, W = drawn(
        rng, ((V, D), 0.01), ((D, blocks * H), 1 / math.sqrt(D)), ((H, blocks * H), 1 / 3), ((H, V), 1 / 3))
    np.seed(3 if seed is None else 4)  # without a seed a model goes on with the generator as it is
    model = make(seed=seed)
    assert_params(model, [embedding, Wx, Wh, numpy.zeros(blocks * H), W, numpy.zeros(V)])
    assert type(model.layers[1]) is layer and model.layers[1].stateful
    assert np.host_rng.random() == rng.random()  # nothing else was drawn


@pytest.mark.parametrize("seed", [3, None])
def test_the_weights_of_better_rnnlm(seed):
    rng = numpy.random.default_rng(3)
    recurrent = ((H, 4 * H), 1 / 3)
    embedding, Wx1, Wh1, Wx2, Wh2 = drawn(rng, ((V, H), 0.01), *4 * [recurrent])
    zeros = numpy.zeros(4 * H)
    np.seed(3 if seed is None else 4)
    model = BetterRnnlm(V, H, H, seed=seed)
    assert_params(model, [embedding, Wx1, Wh1, zeros, Wx2, Wh2, zeros, embedding.T, numpy.zeros(V)])
    assert [layer.stateful for layer in model.layers if type(layer) is TimeLSTM] == [True, True]
    assert np.host_rng.random() == rng.random()


@pytest.mark.parametrize("fast", [False, True])
def test_the_output_weights_of_better_rnnlm_are_the_memory_of_the_embedding(fast):
    model = speed_up(BetterRnnlm(V, H, H)) if fast else BetterRnnlm(V, H, H)
    model.params[0][2, 3] = 5
    assert model.params[7][3, 2] == 5 and len(unique_params(model.params)) == len(model.params) - 1
    model.params[7][1, 4] = 6
    assert model.params[0][4, 1] == 6


def test_a_model_without_layers_has_no_parameters_and_leaves_the_generator_alone():
    np.seed(3)
    model = LanguageModel(V)
    assert (model.vocab_size, model.params, model.grads, model.layers) == (V, [], [], [])
    assert np.host_rng.random() == numpy.random.default_rng(3).random()


@every_model
def test_float32_by_default_and_float64_on_request(make):
    for model, dtype in ((make(), np.float32), (make(dtype=np.float64), np.float64)):
        assert {array.dtype for array in (*model.params, *model.grads, model.predict(ids(0)))} == {np.dtype(dtype)}


@pytest.mark.parametrize("model, sizes", [
    (SimpleRnnlm, {}), (CellRnnlm, {"layers": 1, "tied": False, "dropout_ratio": 0.0}),
    (Rnnlm, {"vocab_size": 10000, "wordvec_size": 100, "hidden_size": 100}),
    (BetterRnnlm, {"vocab_size": 10000, "wordvec_size": 650, "hidden_size": 650, "dropout_ratio": 0.5})])
def test_defaults(model, sizes):
    found = {name: parameter.default for name, parameter in inspect.signature(model).parameters.items()
             if parameter.default is not parameter.empty}
    assert found == sizes | {"seed": None, "dtype": np.float32}
    assert BetterRnnlm(V, H, H).layers[1].dropout_ratio == 0.5


def test_better_rnnlm_wants_equal_sizes():
    with pytest.raises(ValueError, match=r"wordvec_size \(4\) and hidden_size \(9\) must be equal"):
        BetterRnnlm(V, D, H)


# --- forward and backward

def loss_by_hand(scores, ts):
    """Mean cross entropy of scores (N, T, V) and targets (N, T)."""
    probabilities = numpy.exp(scores) / numpy.exp(scores).sum(axis=2, keepdims=True)
    return -numpy.log(numpy.take_along_axis(probabilities, ts[:, :, None], axis=2)).mean()


FAST_FORMS = {TimeLSTM: FastTimeLSTM, TimeRNN: FastTimeRNN}


@every_model
def test_a_fast_model_has_the_fast_forms_that_there_are_over_its_weights(make, device):
    plain, fast = make(seed=0), speed_up(make(seed=0))
    for one, other in zip(plain.layers, fast.layers, strict=True):
        kind = type(one) if device == "gpu" else FAST_FORMS.get(type(one), type(one))
        assert type(other) is kind
        assert not hasattr(one, "stateful") or other.stateful
    assert type(plain.head) is OutputWithLoss
    assert type(fast.head) is (OutputWithLoss if device == "gpu" else TimeAffineSoftmaxWithLoss)
    for arrays, of_layers, of_head in ((fast.params, [layer.params for layer in fast.layers], fast.head.params),
                                       (fast.grads, [layer.grads for layer in fast.layers], fast.head.grads)):
        assert all(one is other for one, other in zip(arrays, sum(of_layers, []), strict=True))
        assert all(one is other for one, other in zip(arrays[-2:], of_head, strict=True))


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_only_tanh_has_a_fast_form(activation):
    embedding, rnn, affine = SimpleRnnlm(V, D, H).layers
    model = LanguageModel(V)
    model.compose([embedding, TimeRNN(*rnn.params, stateful=False, activation=activation), affine])
    speed_up(model)
    assert type(model.layers[1]) is TimeRNN and model.layers[1].activation_name == activation


@pytest.mark.parametrize("fast", [False, True])
def test_better_rnnlm_drops_out_behind_its_embedding_and_behind_each_lstm(fast):
    model = randomized(BetterRnnlm(V, H, H, dropout_ratio=0.3, dtype=np.float64))
    model = speed_up(model) if fast else model
    xs, ts = ids(0), ids(1)

    def scores_by_hand(masks):
        embedding, *lstms, _, b = map(np.to_cpu, model.params)
        hs = embedding[np.to_cpu(xs)] * masks[0]
        hs = lstm_by_hand(hs, *lstms[:3]) * masks[1]
        hs = lstm_by_hand(hs, *lstms[3:]) * masks[2]
        return hs @ embedding.T + b

    np.seed(5)
    masks = [(np.to_cpu(np.rng.random((N, T, H), dtype=np.float64)) >= 0.3) / 0.7 for _ in range(3)]
    in_training, in_evaluation = scores_by_hand(masks), scores_by_hand([1, 1, 1])

    def called(function, *args, **options):
        np.seed(5)
        model.reset_state()
        return np.to_cpu(function(*args, **options))

    numpy.testing.assert_allclose(called(model.predict, xs), in_evaluation, rtol=1e-10)
    numpy.testing.assert_allclose(called(model.predict, xs, train_flg=True), in_training, rtol=1e-10)
    for options, scores in (({"train_flg": False}, in_evaluation), ({}, in_training)):
        loss = loss_by_hand(scores, np.to_cpu(ts))
        assert called(model.forward, xs, ts, **options) == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize("fast", [False, True])
@every_model
def test_the_upstream_gradient_scales_every_gradient(make, fast):
    model, gradients = randomized(make(dtype=np.float64)), []
    model = speed_up(model) if fast else model
    for arguments in ((), (3,), (-0.5,)):
        np.seed(5)
        model.reset_state()
        model.forward(ids(0), ids(1))
        model.backward(*arguments)
        gradients.append([grad.copy() for grad in model.grads])
    for once, thrice, minus_half in zip(*gradients, strict=True):
        assert once.any()
        np.testing.assert_allclose(thrice, 3 * once, rtol=1e-9)
        np.testing.assert_allclose(minus_half, -0.5 * once, rtol=1e-9)


WITH_DROPOUT = {  # those whose dropout ratio can be chosen, then those without dropout
    "BetterRnnlm": lambda ratio, **options: BetterRnnlm(V, H, H, dropout_ratio=ratio, **options)} | {
    f"CellRnnlm, {cell}, dropout": lambda ratio, cell=cell, **options: CellRnnlm(
        cell, V, D, H, layers=2, dropout_ratio=ratio, **options) for cell in ("rnn", "gru", "lstm")} | {
    name: lambda ratio, make=make, **options: make(**options) for name, (make, _, _) in UNTIED.items()}


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("make", WITH_DROPOUT.values(), ids=WITH_DROPOUT)
def test_with_dropout_off_the_gradients_are_those_of_a_model_without_dropout(make, fast):
    losses, gradients = [], []
    for ratio, train_flg in ((0.7, False), (0.0, True), (0.0, False)):
        model = randomized(make(ratio, seed=0, dtype=np.float64))
        model = speed_up(model) if fast else model
        model.forward(ids(2), ids(3))  # with dropout on, and a state to go on from
        model.reset_state()
        model.predict(ids(2))
        losses.append(float(model.forward(ids(0), ids(1), train_flg=train_flg)))
        model.backward()
        gradients.append([np.to_cpu(grad).copy() for grad in model.grads])
    for loss, grads in zip(losses[1:], gradients[1:]):
        assert loss == pytest.approx(losses[0], rel=1e-12)
        for grad, expected in zip(grads, gradients[0], strict=True):
            assert grad.any()
            numpy.testing.assert_allclose(grad, expected, rtol=1e-9, atol=1e-12)


def test_reading_gives_what_the_output_layer_maps_to_scores():
    model = randomized(BetterRnnlm(V, H, H, dtype=np.float64))
    scores = model.predict(ids(0))
    model.reset_state()
    model.forward(ids(0), ids(1))
    model.reset_state()
    hs = model.read(ids(0))
    assert hs.shape == (N, T, H)
    np.testing.assert_allclose(model.layers[-1].forward(hs), scores, rtol=1e-12)
    with pytest.raises(ValueError, match="backward needs a forward"):
        model.backward()


# --- states

@every_model
def test_a_state_that_was_put_back_goes_on_as_if_nothing_had_happened(make):
    model = randomized(make(dtype=np.float64))
    text = np.concatenate((ids(0), ids(1)), axis=1)
    whole = model.predict(text)
    model.reset_state()
    model.predict(text[:, :T])
    states = model.get_state()
    assert [len(state) for state in states] == [2 if "LSTM" in type(layer).__name__ else 1
                                                for layer in model.recurrent_layers]
    model.predict(ids(2))
    model.set_state(states)
    np.testing.assert_allclose(model.predict(text[:, T:]), whole[:, T:], rtol=1e-12)
    with pytest.raises(ValueError):
        model.set_state(states[1:])
    model.reset_state()
    np.testing.assert_allclose(model.predict(text[:, :T]), whole[:, :T], rtol=1e-12)


def test_a_fresh_state_lasts_as_long_as_the_block():
    model = randomized(BetterRnnlm(V, H, H, dtype=np.float64))
    from_zeros = model.predict(ids(0))
    states = model.get_state()
    for fails in (False, True):
        with contextlib.suppress(KeyboardInterrupt), model.fresh_state():
            assert np.array_equal(model.predict(ids(0)), from_zeros)
            if fails:
                raise KeyboardInterrupt
        for state, before in zip(model.get_state(), states, strict=True):
            assert all(np.array_equal(one, other) for one, other in zip(state, before, strict=True))


@pytest.mark.parametrize("within", [lambda model: None, lambda model: model.forward(ids(2), ids(3))])
def test_after_a_fresh_state_a_backward_needs_a_new_forward(within):
    model = randomized(BetterRnnlm(V, H, H, dtype=np.float64))
    model.forward(ids(0), ids(1))
    with model.fresh_state():
        within(model)
    with pytest.raises(ValueError, match="backward needs a forward"):
        model.backward()
    model.forward(ids(0), ids(1))
    model.backward()


# --- what is a target of what

class Follower(SimpleRnnlm):
    """Reads the corpus 0 1 2 ... V-1 0 1 ..., and sees that the target of every id is the one that follows it."""

    seen = 0

    def forward(self, xs, ts, **options):
        xs_, ts_ = np.to_cpu(ids_array(xs)), np.to_cpu(ids_array(ts))
        assert xs_.shape == ts_.shape and (ts_ == (xs_ + 1) % V).all()
        self.seen += xs_.size
        return super().forward(xs, ts, **options)


CYCLE = numpy.arange(60) % V


def run(folder, model, **config):
    """Train for one epoch as a script does, the validation of it included."""
    part = CYCLE.astype(numpy.int32)
    corpus = Corpus("cycle", "words", Vocabulary([str(i) for i in range(V)]), part, part[:20], part[:20])
    defaults = {"model": "simple", "epochs": 1, "batch_size": 4, "time_size": 5, "max_grad": 1, "lr_decay": 1,
                "shuffle": True, "seed": 0}
    TrainingRun(folder, TrainSettings(**defaults | config), "ch_rnn.train", model, SGD(0.1), corpus).train()


READERS = {
    "training_step, strips": lambda model, folder: training_step(
        model, SGD(0.1), *StripBatches(CYCLE[:-1], CYCLE[1:], 4, 5).next_batch()),
    "training_step, windows": lambda model, folder: training_step(
        model, SGD(0.1), *WindowBatches(CYCLE, 5, 4).next_batch()),
    "RnnlmTrainer": lambda model, folder: RnnlmTrainer(model, SGD(0.1)).fit(
        CYCLE[:-1], CYCLE[1:], 2, batch_size=1, time_size=59, eval_interval=None),
    "perplexity": lambda model, folder: perplexity(model, CYCLE),
    "eval_perplexity": lambda model, folder: eval_perplexity(model, CYCLE, 4, 5),
    "TrainingRun, strips": lambda model, folder: run(folder, model, windows=False),
    "TrainingRun, windows": lambda model, folder: run(folder, model, windows=True),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whoever_reads_a_corpus_gives_each_id_the_next_one_as_its_target(read, monkeypatch, tmp_path, capsys):
    for name in "save_history", "save_health":
        monkeypatch.setattr(plots, name, lambda *args: None)
    model = Follower(V, D, H, seed=0)
    read(model, tmp_path)
    assert model.seen >= 20


@pytest.mark.parametrize("measure", [perplexity, lambda model, corpus: eval_perplexity(model, corpus, 2, 5)])
def test_a_model_that_knows_what_follows_is_at_a_loss_where_the_text_runs_backwards(measure):
    model = SimpleRnnlm(V, V, V)
    _, Wx, Wh, _, W, _ = model.params
    model.params[0][...] = Wx[...] = np.eye(V)  # the state is tanh(1) times the one-hot id
    Wh[...] = 0
    W[...] = 20 * np.to_device(numpy.roll(numpy.eye(V), 1, axis=1))  # from id i to i + 1
    assert measure(model, CYCLE) < 1.01
    model.reset_state()
    assert measure(model, CYCLE[::-1]) > 1000


@pytest.mark.parametrize("fast", [False, True])
@every_model
def test_sampled_softmax_is_for_training_only(make, fast):
    model = randomized(make(seed=0, dtype=np.float64))
    model = speed_up(model) if fast else model
    xs, ts = ids(0), ids(1)
    expected = float(model.forward(xs, ts, train_flg=False))
    model.backward()
    whole = [grad.copy() for grad in model.grads]
    model.sample_softmax(UnigramSampler([1] * V, 1))
    model.reset_state()
    assert float(model.forward(xs, ts, train_flg=False)) == expected
    model.backward()
    for grad, of_all in zip(model.grads, whole):
        np.testing.assert_allclose(grad, of_all, rtol=1e-10, atol=1e-15)
    model.reset_state()
    assert float(model.forward(xs, ts, train_flg=True)) != expected
    model.predict(xs)
    with pytest.raises(ValueError, match="OutputWithSampledLoss: backward needs a forward in training mode"):
        model.backward()


@every_model
def test_the_output_bias_can_start_from_frequencies(make):
    """Without anything else a model then predicts each token by its share; one that does not come up counts as once."""
    model, counts = make(seed=0), [3, 1, 0, 2, 9, 0, 4]
    for param in unique_params(model.params):
        param[...] = 0
    model.start_from_frequencies(counts)
    expected = numpy.array([3, 1, 1, 2, 9, 1, 4]) / 21
    scores = np.to_cpu(model.predict(ids(0)))  # (N, T, V)
    numpy.testing.assert_allclose(numpy.exp(scores), numpy.broadcast_to(expected, scores.shape), rtol=1e-6)


@pytest.mark.parametrize("frequencies", [[1, -1, 2], [0.5, 0.5], [[1, 2]], []])
def test_frequencies_that_are_none(frequencies):
    with pytest.raises(ValueError, match=r"start_from_frequencies: frequencies are .*, wanted whole numbers from 0"):
        CellRnnlm("rnn", 3, D, H).start_from_frequencies(frequencies)


@every_model
def test_the_embedding_can_start_from_the_neighbours_of_words_with_its_own_spread(make):
    text = numpy.random.default_rng(0).integers(7, size=200)
    model = make(seed=0)
    W = model.layers[0].params[0]
    spread, others = float(W.std()), [np.to_cpu(param).copy() for param in unique_params(model.params)[1:]]
    model.start_from_ppmi(text)
    vectors = ppmi_vectors(text, *W.shape)
    products, expected = np.to_cpu(W) @ np.to_cpu(W).T, vectors @ vectors.T
    numpy.testing.assert_allclose(products / products.max(), expected / expected.max(), atol=1e-4)
    assert float(W.std()) == pytest.approx(spread, rel=1e-4)
    for param, other in zip(unique_params(model.params)[1:], others, strict=True):
        numpy.testing.assert_array_equal(np.to_cpu(param), other)


@pytest.mark.parametrize("text", [[0, 0, 0], [1], numpy.array([], dtype=int)])
def test_a_text_without_neighbours_leaves_the_embedding_as_it_is(text):
    model = CellRnnlm("rnn", 4, D, H, seed=0)
    before = np.to_cpu(model.layers[0].params[0]).copy()
    model.start_from_ppmi(text)
    numpy.testing.assert_array_equal(np.to_cpu(model.layers[0].params[0]), before)


@pytest.mark.parametrize("counted", [{}, {"unigram_bias"}, {"ppmi_embedding"}])
def test_a_run_starts_from_what_it_is_to_count_in_its_training_text(tmp_path, counted):
    text = numpy.array([0, 1, 1, 2, 1, 0, 2, 1, 1, 1])
    corpus = Corpus(text, "lines", Vocabulary([*"abcd"]), text, text[:4], text[:4])
    settings = TrainSettings("cell", batch_size=2, time_size=2, schedule="constant", **dict.fromkeys(counted, True))
    model = CellRnnlm("rnn", 4, D, H)
    run = TrainingRun(tmp_path / "run", settings, "script", model, SGD(), corpus)
    run.begin()
    run.close()
    bias = numpy.log(numpy.array([2, 6, 2, 1]) / 11) if "unigram_bias" in counted else numpy.zeros(4)
    numpy.testing.assert_allclose(np.to_cpu(model.layers[-1].params[1]), bias, rtol=1e-6)
    without_neighbours = np.to_cpu(model.layers[0].params[0])[3]
    assert (without_neighbours == 0).all() == ("ppmi_embedding" in counted)


def test_a_run_that_was_killed_while_it_counted_begins_when_it_is_resumed(tmp_path, monkeypatch):
    text = numpy.array([0, 1, 1, 2, 1, 0, 2, 1, 1, 1])
    corpus = Corpus(text, "lines", Vocabulary([*"abcd"]), text, text[:4], text[:4])
    settings = TrainSettings("cell", batch_size=2, time_size=2, schedule="constant", ppmi_embedding=True)

    def killed(self, ids):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CellRnnlm, "start_from_ppmi", killed)
        TrainingRun(tmp_path / "run", settings, "script", CellRnnlm("rnn", 4, D, H), SGD(), corpus).begin()
    run = TrainingRun(tmp_path / "run", settings, "script", CellRnnlm("rnn", 4, D, H), SGD(), corpus)
    run.resume()
    run.close()
    assert (np.to_cpu(run.model.layers[0].params[0])[3] == 0).all()
