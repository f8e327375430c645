"""The run of epochs: compared with loops written out here, and fed scripted losses and perplexities."""
import csv
import dataclasses
import io
import itertools
import json
import math
import os
import signal
import threading
import types

import numpy
import pytest
from any_device import np
from checkpoint_files import rewrite

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common import plots
from common.cli.signals import SIGNALS
from common.device.ids import ids_on_host
from common.errors import InputError, Stopped
from common.language_model import progress as progress_module
from common.language_model import run as training_run
from common.language_model.machine import machine_facts
from common.language_model.progress import Progress, write_csv
from common.language_model.run import TrainingRun
from common.language_model.settings import TrainSettings
from common.layers.sampled_softmax import UnigramSampler
from common.optimizer import ASGD, OPTIMIZERS, SGD
from common.text.vocabulary import Vocabulary
from common.training.batches import RandomStripBatches, StripBatches, WindowBatches
from common.training.checkpoint import read_checkpoint
from common.training.finite import NotFinite
from dataset.corpus import Corpus

V, N, T = 7, 2, 5
_rng = numpy.random.default_rng(0)
TRAIN, VALID, TEST = (_rng.choice(V, n, p=numpy.roll([.4, .2, .1, .1, .1, .05, .05], shift)).astype(numpy.int32)
                      for shift, n in enumerate((64, 23, 19)))
BATCHES = 63 // (N * T)  # of strips, in an epoch
CONFIG = {"model": "simple", "epochs": 3, "batch_size": N, "time_size": T, "max_grad": 0.25, "lr_decay": 1.0,
          "seed": 3, "windows": False, "shuffle": False}
WINDOWS = {"windows": True, "batch_size": 13, "max_grad": None}  # 59 pairs: the last batch of an epoch holds 7


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """What is drawn, in the place of pictures, which take longer than the runs here, as waiting for the disk would."""
    calls = []
    monkeypatch.setattr(os, "fsync", lambda file: None)
    for name in "save_history", "save_health":
        monkeypatch.setattr(plots, name, lambda *args: calls.append(args))
    return calls


@pytest.fixture(autouse=True)
def no_run_without_end(monkeypatch):
    """Fail after 500 batches: no run here has as many."""
    for kind in (StripBatches, RandomStripBatches, WindowBatches):
        monkeypatch.setattr(kind, "next_batch", at_most(500, kind.next_batch))


def at_most(calls, method):
    count = itertools.count()

    def counted(self):
        assert next(count) < calls
        return method(self)

    return counted


def tiny_model(seed=0):
    model = SimpleRnnlm(V, 3, 4, seed=seed, dtype=np.float64)
    for param in model.params:
        param *= 3  # as drawn they are so small that a lost state would hardly show
    return model


def corpus_of(train=TRAIN, name="somewhere/tiny.txt"):
    return Corpus(name, "words", Vocabulary(list("abcdefg")), train, VALID, TEST)


def run_in(folder, model=None, lr=2.0, corpus=None, **changes):
    return TrainingRun(folder, TrainSettings(**CONFIG | changes), "ch_rnn.train", model or tiny_model(), SGD(lr),
                       corpus or corpus_of())


def config_of(run):
    return {"script": "ch_rnn.train"} | dataclasses.asdict(run.settings)


def last_of(run, name="last"):
    return read_checkpoint(run.folder / f"{name}.npz", run.settings.model, run.corpus.vocabulary)


# The loop by hand


def batches_by_hand(config):
    """All batches of all epochs, xs and ts (N, T), by index arithmetic alone."""
    N = config["batch_size"]
    for step in itertools.count():
        if not config["windows"]:
            index = (numpy.arange(N)[:, None] * (63 // N) + step * T + numpy.arange(T)) % 63
        else:
            pairs = 64 - T
            epoch, batch = divmod(step, -(-pairs // N))
            order = numpy.arange(pairs)
            if config["shuffle"]:
                order = numpy.random.default_rng([config["seed"], epoch]).permutation(pairs)
            index = order[batch * N:(batch + 1) * N, None] + numpy.arange(T)
        yield TRAIN[index], TRAIN[index + 1]


def perplexity_by_hand(params, ids):
    model = tiny_model()
    model.assign_params(params, "")
    scores = np.to_cpu(model.predict(np.to_device(ids[None, :-1])))[0]  # (n - 1, V)
    probabilities = numpy.exp(scores) / numpy.exp(scores).sum(axis=1, keepdims=True)
    return math.exp(-numpy.log(probabilities[numpy.arange(len(ids) - 1), ids[1:]]).mean())


def singular_values_by_hand(model):
    return [numpy.linalg.svd(np.to_cpu(layer.params[1]), compute_uv=False) for layer in model.recurrent_layers]


def states_by_hand(params, xs, h):
    """The states (T, N, H) of a `SimpleRnnlm` that reads xs (N, T) from h (N, H)."""
    embed_W, Wx, Wh, b, _, _ = params
    return numpy.stack([h := numpy.tanh(embed_W[column] @ Wx + h @ Wh + b) for column in xs.T])


def train_by_hand(config, lr):
    """Yield after each step (params, state) and after each epoch what the history should say of it."""
    model, batches, best = tiny_model(), batches_by_hand(config), math.inf
    in_epoch = -(-59 // config["batch_size"]) if config["windows"] else BATCHES
    for epoch in range(config["epochs"]):
        nats = tokens = 0
        norms, health = [], {}
        for batch in range(in_epoch):
            xs, ts = next(batches)
            if config["windows"]:
                model.reset_state()
            before = [np.to_cpu(param).copy() for param in model.params]
            if batch == 0:
                h = model.recurrent_layers[0].h
                hs = states_by_hand(before, xs, numpy.zeros((len(xs), 4)) if h is None else np.to_cpu(h))
                health["saturated"] = (abs(hs) > 0.8).mean()
            nats += float(model.forward(np.to_device(xs), np.to_device(ts))) * xs.size
            tokens += xs.size
            model.backward()
            norm = math.sqrt(sum(float((grad * grad).sum()) for grad in model.grads))
            rate = 1 if config["max_grad"] is None else min(1, config["max_grad"] / (norm + 1e-6))
            if batch == 0 or config["max_grad"] is not None:
                norms.append(norm)
            for param, grad in zip(model.params, model.grads):
                param -= lr * rate * grad
            params = [np.to_cpu(param).copy() for param in model.params]
            if batch == 0:
                update = math.sqrt(sum(((new - old)**2).sum() for new, old in zip(params, before)))
                health["update_ratio"] = update / math.sqrt(sum((old**2).sum() for old in before))
            yield params, np.to_cpu(model.recurrent_layers[0].h).copy()
        valid = perplexity_by_hand(params, VALID)
        yield {"epoch": epoch + 1, "lr": lr, "max_grad": config["max_grad"],
               "train_perplexity": math.exp(nats / tokens), "valid_perplexity": valid,
               "skipped": 0, "gradient_norm": numpy.mean(norms),
               "clipped": None if config["max_grad"] is None else numpy.mean(numpy.array(norms) > config["max_grad"]),
               **health}, singular_values_by_hand(model)[0]
        if valid >= best:
            lr /= config["lr_decay"]
        best = min(best, valid)


def by_hand(config, lr=2.0):
    """All steps and all epochs of a training run."""
    events = list(train_by_hand(config, lr))
    return ([event for event in events if isinstance(event[0], list)],
            [event for event in events if isinstance(event[0], dict)])


def assert_row(found, row):
    """Compare two rows of a history."""
    none = {name for name, value in row.items() if value is None}
    assert found.keys() == row.keys() and {name for name, value in found.items() if value is None} == none
    for name in row.keys() - none:  # clipping divides by a norm that is 1e-6 larger, which the log leaves out
        assert found[name] == pytest.approx(row[name], rel=1e-5 if name == "update_ratio" else 1e-7)


def assert_params(arrays, params):
    for i, param in enumerate(params):
        np.testing.assert_allclose(arrays[f"param_{i}"], param, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("changes", [
    {}, WINDOWS, WINDOWS | {"shuffle": True}], ids=["strips", "windows", "shuffled windows"])
def test_a_run_is_the_loop_by_hand(changes, device, tmp_path, capsys):
    changes = changes | {"epochs": 6, "lr_decay": 4.0}
    steps, epochs = by_hand(CONFIG | changes, lr=1.0)
    run = run_in(tmp_path / "run", lr=1.0, **changes)
    before = singular_values_by_hand(run.model)[0]
    run.begin()
    assert run.train() is True

    rows = [row for row, _ in epochs]
    best = min(range(6), key=lambda epoch: rows[epoch]["valid_perplexity"])
    assert rows[5]["lr"] < 1 and best < 5  # else neither the decay nor the choice could be seen
    assert [row.keys() for row in run.history] == [row.keys() for row in rows]
    for found, row in zip(run.history, rows, strict=True):
        assert_row(found, row)
    arrays, header = last_of(run)
    assert header["history"] == run.history
    assert_params(arrays, steps[-1][0])
    assert header["progress"]["singular_value_epochs"] == [0, 1, 2, 3, 4, 5, 6]
    numpy.testing.assert_allclose(arrays["singular_values_0"], [before, *(values for _, values in epochs)], atol=0.6e-6)

    params = steps[(best + 1) * len(steps) // 6 - 1][0]
    assert_params(last_of(run, "best")[0], params)
    assert run.test_perplexity() == pytest.approx(perplexity_by_hand(steps[-1][0], TEST), rel=1e-7)
    assert run.finish() == pytest.approx(perplexity_by_hand(params, TEST), rel=1e-7)
    assert_params({f"param_{i}": param for i, param in enumerate(run.model.params)}, params)


SAMPLED = {"sampled_softmax": 2, "full_softmax": 0.5}  # of 18 updates the first 9 are sampled


def test_the_last_part_of_a_run_takes_all_words(tmp_path, capsys):
    model, optimizer = tiny_model(), SGD(2.0)
    sampler = UnigramSampler(numpy.bincount(TRAIN, minlength=V), 2)
    for step, (xs, ts) in enumerate(itertools.islice(batches_by_hand(CONFIG), 3 * BATCHES)):
        model.sample_softmax(sampler if step < 9 else None)
        training_run.training_step(model, optimizer, np.to_device(xs), np.to_device(ts), 0.25)
    run = run_in(tmp_path / "run", **SAMPLED)
    run.begin()
    assert run.train() is True
    for param, expected in zip(run.model.params, model.params):
        np.testing.assert_array_equal(param, expected)
    assert [row["sampled"] for row in run.history] == [6, 3, 0]
    lines = capsys.readouterr().out.splitlines()
    assert ["sampled softmax" in line for line in lines if line.startswith("epoch") and "validation" in line] == [
        True, True, False]


@pytest.mark.parametrize("stop", [4, 6, 8, 10])
def test_sampled_softmax_goes_on_where_it_stopped(stop, tmp_path, monkeypatch):
    whole = run_in(tmp_path / "whole", **SAMPLED)
    whole.begin()
    whole.train()
    run = run_in(tmp_path / "run", **SAMPLED)
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(stop))
        assert run.train() is False
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), **SAMPLED)
    again.resume()
    assert again.train() is True
    assert again.history == whole.history
    for param, expected in zip(again.model.params, whole.model.params):
        np.testing.assert_array_equal(param, expected)


# Random lengths, and averages

RANDOM = {"random_lengths": True, "epochs": 3, "time_size": 8}


def test_batches_of_random_lengths_have_learning_rates_in_proportion(tmp_path):
    model, optimizer = tiny_model(), SGD(2.0)
    batches = RandomStripBatches(np.to_device(TRAIN[:-1]), np.to_device(TRAIN[1:]), N, 8, seed=3)
    nats = tokens = 0
    for _ in range(3):
        in_epoch = len(batches)
        for _ in range(in_epoch):
            xs, ts = batches.next_batch()
            optimizer.lr = 2.0 * xs.shape[1] / 8
            nats += float(training_run.training_step(model, optimizer, xs, ts, 0.25)) * math.prod(xs.shape)
            tokens += math.prod(xs.shape)
    assert tokens == 3 * 62
    run = run_in(tmp_path / "run", **RANDOM)
    run.begin()
    assert run.train() is True
    for param, expected in zip(run.model.params, model.params):
        np.testing.assert_array_equal(param, expected)
    assert [row["lr"] for row in run.history] == [2.0] * 3
    assert sum(math.log(row["train_perplexity"]) for row in run.history) == pytest.approx(nats / 62, rel=1e-12)


def lengths_of(run):
    return [len(run.batches.lengths(epoch)) for epoch in range(3)]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("where", ["first", "middle", "end of epoch", "second epoch", "last"])
def test_random_lengths_go_on_where_they_stopped(where, schedule, tmp_path, monkeypatch):
    changes = RANDOM | {"schedule": schedule}
    whole = run_in(tmp_path / "whole", **changes)
    whole.begin()
    whole.train()
    first, second, third = lengths_of(whole)
    stop = {"first": 1, "middle": 2, "end of epoch": first, "second epoch": first + 1,
            "last": first + second + third}[where]
    run = run_in(tmp_path / "run", **changes)
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(stop))
        assert run.train() is False
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), lr=77.0, **changes)
    again.resume()
    assert again.step == stop and again.of_epoch == (first if stop <= first else second if where[0] == "s" else third)
    assert again.train() is True
    assert again.history == whole.history
    for param, expected in zip(again.model.params, whole.model.params):
        np.testing.assert_array_equal(param, expected)


def averaging_run(folder, lr=2.0, model=None, **changes):
    return TrainingRun(folder, TrainSettings(**CONFIG | {"optimizer": "asgd"} | changes), "ch_rnn.train",
                       model or tiny_model(), ASGD(lr, start=None), corpus_of())


PERPLEXITIES = [6, 5, 4, 4.5, 4.6, 4.7, 4.8, 4.9, 4.95, 3, 2]  # the ninth is larger than the third


def seen_by(evaluations, perplexities):
    """An evaluation that notes the parameters and returns what is given."""
    given = iter(perplexities)

    def perplexity(model, ids):
        evaluations.append([np.to_cpu(param).copy() for param in model.params])
        return next(given)

    return perplexity


def test_parameters_are_averaged_once_validation_has_not_fallen_for_a_while(tmp_path, monkeypatch, capsys):
    model, evaluations, values = tiny_model(), [], []
    optimizer = SGD(2.0)
    for xs, ts in itertools.islice(batches_by_hand(CONFIG), 11 * BATCHES):
        training_run.training_step(model, optimizer, np.to_device(xs), np.to_device(ts), 0.25)
        values.append([np.to_cpu(param).copy() for param in model.params])
    monkeypatch.setattr(training_run, "perplexity", seen_by(evaluations, PERPLEXITIES))
    run = averaging_run(tmp_path / "run", epochs=11)
    run.begin()
    assert run.train() is True
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert ["averaging begins" in line for line in lines] == [False] * 8 + [True] + [False] * 2
    for epoch, params in enumerate(evaluations, start=1):
        done = values[epoch * BATCHES - 1:epoch * BATCHES] if epoch <= 9 else values[9 * BATCHES + 1:epoch * BATCHES]
        for i, param in enumerate(params):
            numpy.testing.assert_allclose(param, numpy.mean([of_step[i] for of_step in done], axis=0), rtol=1e-9)
    best = last_of(run, "best")[0]
    last = last_of(run)[0]
    for i, param in enumerate(run.model.params):
        numpy.testing.assert_array_equal(best[f"param_{i}"], evaluations[-1][i])
        numpy.testing.assert_allclose(last[f"param_{i}"], values[-1][i], rtol=1e-9)
        numpy.testing.assert_array_equal(np.to_cpu(param), last[f"param_{i}"])


@pytest.mark.parametrize("stop", [8, 9, 9.5, 10])
def test_averaging_goes_on_where_it_stopped(stop, tmp_path, monkeypatch):
    folders = []
    for name in "whole", "run":
        run = averaging_run(tmp_path / name, epochs=11)
        run.begin()
        with monkeypatch.context() as patch:
            patch.setattr(training_run, "perplexity", seen_by([], PERPLEXITIES))
            if name == "run":
                patch.setattr(training_run, "training_step", interrupted_at(int(stop * BATCHES)))
            run.train()
        folders.append(run)
    whole, stopped = folders
    again = averaging_run(tmp_path / "run", lr=77.0, model=tiny_model(seed=5), epochs=11)
    again.resume()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "perplexity", seen_by([], PERPLEXITIES[stopped.epoch:]))
        assert again.train() is True
    assert again.history == whole.history
    for name in "last", "best":
        ours, theirs = last_of(again, name)[0], last_of(whole, name)[0]
        assert ours.keys() == theirs.keys()
        for array in ours:
            numpy.testing.assert_array_equal(ours[array], theirs[array])


# Signals, and going on


def interrupted_at(number, step=training_run.training_step, by=signal.SIGINT):
    """A training step that is interrupted at the end of the step of this number."""
    count = itertools.count(1)

    def interrupted_step(*args):
        loss = step(*args)
        if next(count) == number:
            signal.raise_signal(by)
        return loss

    return interrupted_step


@pytest.mark.parametrize("changes", [{}, WINDOWS | {"shuffle": True}], ids=["strips", "windows"])
@pytest.mark.parametrize("stop, by", [
    (1, signal.SIGINT), (4, signal.SIGTERM), (6, signal.SIGINT), (9, signal.SIGHUP), (18, signal.SIGTERM)])
def test_a_signal_saves_the_step_it_came_in_and_a_new_process_goes_on_from_it(
        stop, by, changes, tmp_path, monkeypatch, capfd):
    changes = changes | {"lr_decay": 4.0}
    steps, epochs = by_hand(CONFIG | changes)
    in_epoch = len(steps) // 3
    stop = min(stop, len(steps))
    run = run_in(tmp_path / "run", **changes)
    run.begin()
    monkeypatch.setattr(training_run, "training_step", interrupted_at(stop, by=by))
    handlers = [signal.getsignal(number) for number in SIGNALS]
    assert run.train() is False and run.stop.signum == by
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    name = {signal.SIGINT: "Ctrl-C"}.get(by, by.name)
    assert f"{name}: stopping after this step (once more to stop at once, without saving)" in capfd.readouterr().err
    epoch, batch = divmod(stop - 1, in_epoch)  # an epoch whose last batch it was is closed when the run goes on
    assert (run.epoch, run.batch) == (epoch, batch + 1)
    params, h = steps[stop - 1]
    arrays, header = last_of(run)
    assert_params(arrays, params)
    assert header["progress"]["batch"] == batch + 1
    if not changes.get("windows"):
        np.testing.assert_allclose(arrays["state_0_0"], h, rtol=1e-7)
    assert run.test_perplexity() == pytest.approx(perplexity_by_hand(params, TEST), rel=1e-7)

    again = run_in(tmp_path / "run", model=tiny_model(seed=5), lr=77.0, **changes)
    again.resume()
    assert (again.epoch, again.batch) == (epoch, batch + 1)
    assert again.train() is True
    assert_params(last_of(again)[0], steps[-1][0])
    for found, (row, _) in zip(again.history, epochs, strict=True):
        assert_row(found, row)
    assert again.singular_value_epochs == [0, 1, 2, 3]


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_signal_during_an_evaluation_ends_it_and_the_epoch_is_evaluated_when_the_run_goes_on(
        epoch, tmp_path, monkeypatch):
    count = itertools.count(1)

    def interrupted_evaluation(model, ids):
        if next(count) == epoch:
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("the evaluation went on")
        return training_run_perplexity(model, ids)

    training_run_perplexity = training_run.perplexity
    run = run_in(tmp_path / "run")
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "perplexity", interrupted_evaluation)
        assert run.train() is False
    assert (run.epoch, run.batch) == (epoch - 1, BATCHES) and len(last_of(run)[1]["history"]) == epoch - 1
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    again.resume()
    assert again.train() is True
    for found, (row, _) in zip(again.history, by_hand(CONFIG)[1], strict=True):
        assert_row(found, row)


@pytest.mark.parametrize("where", ["reset_state", "set_state"])
def test_a_signal_while_an_evaluation_puts_the_state_away_or_back_loses_no_state(where, tmp_path, monkeypatch):
    run = run_in(tmp_path / "run")
    run.begin()
    method, evaluating = getattr(type(run.model), where), []

    def signalled(self, *args):
        if evaluating and evaluating.pop():
            signal.raise_signal(signal.SIGTERM)
        return method(self, *args)

    def evaluate(*args):
        evaluating.append(True)
        return evaluation(*args)

    evaluation = training_run.perplexity
    with monkeypatch.context() as patch:
        patch.setattr(type(run.model), where, signalled)
        patch.setattr(training_run, "perplexity", evaluate)
        assert run.train() is False
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    again.resume()
    assert again.train() is True
    assert_params(last_of(again)[0], by_hand(CONFIG)[0][-1][0])


@pytest.mark.parametrize("twice", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_is_sent_twice_at_once_is_one(twice, tmp_path, monkeypatch):
    step = training_run.training_step

    def signalled_step(*args):
        signal.raise_signal(twice)  # by a shell, and by the terminal that it runs in
        signal.raise_signal(twice)
        return step(*args)

    monkeypatch.setattr(training_run, "training_step", signalled_step)
    run = run_in(tmp_path / "run")
    run.begin()
    assert run.train() is False and last_of(run)[1]["progress"]["batch"] == 1
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    again.resume()

    def patient_step(*args):
        signal.raise_signal(twice)
        again.stop._came -= 1
        signal.raise_signal(twice)

    monkeypatch.setattr(training_run, "training_step", patient_step)
    with pytest.raises(Stopped):
        again.train()


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_stops_at_once_and_saves_nothing(second, tmp_path, monkeypatch):
    def step(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(second)

    run, handler = run_in(tmp_path / "run"), signal.getsignal(signal.SIGINT)
    run.begin()
    monkeypatch.setattr(training_run, "training_step", step)
    before = (tmp_path / "run" / "last.npz").read_bytes()
    with pytest.raises(Stopped) as stopped:
        run.train()
    assert stopped.value.signum == second
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "run" / "last.npz").read_bytes() == before
    run_in(tmp_path / "run").resume()  # its lock is gone


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "training_step", interrupted_at(2, by=signal.SIGHUP))
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run.train() is True
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)


@pytest.mark.parametrize("changes", [{}, WINDOWS | {"shuffle": True}], ids=["strips", "windows"])
def test_checkpoints_are_saved_after_a_time_and_change_nothing(changes, device, tmp_path, monkeypatch):
    steps, _ = by_hand(CONFIG | changes)
    saved = []

    def save(path, *args):
        if path.name == "last.npz":
            saved.append((run.epoch, run.batch))
        save_checkpoint(path, *args)

    save_checkpoint = training_run.checkpoint.save_checkpoint
    monkeypatch.setattr(training_run.checkpoint, "save_checkpoint", save)
    clock = Clock()
    monkeypatch.setattr(training_run, "time", clock)
    step = training_run.training_step

    def slow_step(*args):
        clock.now += 2
        return step(*args)

    monkeypatch.setattr(training_run, "training_step", slow_step)
    run = run_in(tmp_path / "run", save_every=5.0, **changes)
    run.begin()
    assert run.train() is True
    in_epoch = len(steps) // 3
    middle = [(epoch, batch) for epoch in range(3) for batch in range(3, in_epoch + 1, 3)]  # after 6 of 5 seconds
    assert saved == sorted([(0, 0), (1, 0), (2, 0), (3, 0), *middle])
    assert_params(last_of(run)[0], steps[-1][0])


def test_what_a_crash_after_a_save_leaves_goes_on(tmp_path, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(self):
        raise Crash

    clean = run_in(tmp_path / "clean")
    clean.begin()
    clean.train()
    for name in ("_save_best", "_write_tables", "_draw_history"):
        run = run_in(tmp_path / name)
        run.begin()
        with monkeypatch.context() as patch, pytest.raises(Crash):
            patch.setattr(TrainingRun, name, crash)
            run.train()
        again = run_in(tmp_path / name, model=tiny_model(seed=5))
        again.resume()
        again.train()
        for file in ("history.csv", "best.npz"):
            assert (again.folder / file).read_bytes() == (clean.folder / file).read_bytes()


def test_tables_and_picture_are_made_from_the_checkpoint_when_a_run_goes_on(tmp_path, drawn):
    run = run_in(tmp_path / "run", epochs=2)
    run.begin()
    run.train()
    tables = {name: (run.folder / name).read_bytes() for name in ("history.csv", "timing.csv")}
    for name in tables:
        (run.folder / name).write_text("epoch,lr\n1,2\n")
    drawn.clear()
    again = run_in(tmp_path / "run", epochs=2)
    again.resume()
    assert {name: (run.folder / name).read_bytes() for name in tables} == tables
    assert drawn == [(run.folder / name, run.history, "simple on tiny.txt") for name in ("loss.png", "health.png")]


def test_where_a_run_was_started_is_noted(tmp_path, monkeypatch):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    facts = run.starts[0]["machine"]
    assert facts == machine_facts() and facts["numpy"] == numpy.__version__ and run.changes == []
    again = run_in(tmp_path / "run", epochs=2)
    again.resume()
    assert again.changes == []
    again.train()
    monkeypatch.setattr(training_run, "machine_facts", lambda: facts | {"BLAS": "openblas, threads: 7"})
    third = run_in(tmp_path / "run", epochs=3)
    third.resume()
    assert third.changes == [f"BLAS: {facts['BLAS']}, now openblas, threads: 7"]
    third.train()
    assert [start["step"] for start in last_of(third)[1]["times"]["starts"]] == [0, BATCHES, 2 * BATCHES]
    with open(tmp_path / "run" / "starts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["lr"], row["max_grad"]) for row in rows] == [
        (str(step), "2.0", "0.25") for step in (0, BATCHES, 2 * BATCHES)]
    assert [row["BLAS"] for row in rows] == [facts["BLAS"], facts["BLAS"], "openblas, threads: 7"]


@pytest.mark.promise("Only one run at a time writes into a folder, and runs that start at once get one each")
def test_only_one_run_at_a_time_writes_into_a_folder(tmp_path):
    """A second run into the folder of one that is at work is refused, and changes nothing."""
    run = run_in(tmp_path / "run")
    run.begin()
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    for other in (run_in(tmp_path / "run").resume, run_in(tmp_path / "run").begin):
        with pytest.raises(InputError, match=r"another run is at work in .*run: wait|is there already"):
            other()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before
    run.train()
    run_in(tmp_path / "run").resume()


@pytest.mark.parametrize("left", [
    [], [".lock"], ["config.json"], ["config.json", "vocabulary.json", ".lock"], [".last.npz.0123456789abcdef.tmp"],
    ["config.json", ".config.json.1.tmp", "vocabulary.json", ".last.npz.0123456789abcdef.tmp"]], ids=str)
@pytest.mark.parametrize("how", ["begin", "resume"])
def test_what_a_run_left_that_ended_before_its_first_checkpoint_does_no_harm(left, how, tmp_path):
    run = run_in(tmp_path / "whole")
    run.begin()
    (tmp_path / "run").mkdir()
    for name in left:
        source = run.folder / name
        (tmp_path / "run" / name).write_bytes(source.read_bytes() if source.exists() else b"half")
    again = run_in(tmp_path / "run")
    getattr(again, how)()
    again.train()
    assert_params(last_of(again)[0], by_hand(CONFIG)[0][-1][0])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock", "config.json", "vocabulary.json", "last.npz", "best.npz", "history.csv", "timing.csv", "starts.csv"}


@pytest.mark.parametrize("content", ["{}", "[", '{"script": "ch_lstm.classify"}'])
def test_a_configuration_of_something_else_is_left_alone(content, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(InputError, match="is there already"):
        run_in(tmp_path / "run").begin()
    assert [(path.name, path.read_text()) for path in (tmp_path / "run").iterdir()] == [("config.json", content)]


def test_a_learning_rate_and_a_norm_may_change_when_a_run_goes_on(tmp_path):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    changed = TrainSettings(**CONFIG | {"epochs": 3, "lr": 0.5, "max_grad": 0.125})
    again = TrainingRun(run.folder, changed, "ch_rnn.train", tiny_model(seed=5), SGD(0.5), corpus_of())
    again.resume()
    again.train()
    assert [(row["lr"], row["max_grad"]) for row in again.history] == [(2.0, 0.25), (0.5, 0.125), (0.5, 0.125)]
    assert [(start["lr"], start["max_grad"]) for start in again.starts] == [(2.0, 0.25), (0.5, 0.125)]


def test_a_learning_rate_that_is_given_counts_also_where_it_is_that_of_the_beginning(tmp_path):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    edit(run, largest_lr=0.125)
    again = run_in(tmp_path / "run", epochs=2)
    again.resume()
    assert again.lr == 0.125
    again.close()
    again = run_in(tmp_path / "run", epochs=2)
    again.resume(lr=2.0)
    assert again.lr == 2.0


def test_large_weights_that_are_finite_have_singular_values_that_are(tmp_path):
    model = tiny_model()
    model.recurrent_layers[0].params[1][:] = 1e200
    run = run_in(tmp_path / "run", model=model)
    run.begin()
    assert numpy.isfinite(last_of(run)[0]["singular_values_0"]).all()
    model.recurrent_layers[0].params[1][0, 0] = math.nan
    with pytest.raises(NotFinite, match=r"^a recurrent weight is not finite"):
        run_in(tmp_path / "other", model=model).begin()


def test_a_disk_that_is_full_for_a_while_does_not_end_a_run(tmp_path, monkeypatch, capfd):
    save, count = training_run.checkpoint.save_checkpoint, itertools.count(1)

    def save_sometimes(path, *args):
        if next(count) in (3, 4):
            raise InputError(f"cannot write {path}: No space left on device")
        save(path, *args)

    monkeypatch.setattr(training_run.checkpoint, "save_checkpoint", save_sometimes)
    run = run_in(tmp_path / "run", save_every=1e-9)
    run.begin()
    assert run.train() is True
    assert_params(last_of(run)[0], by_hand(CONFIG)[0][-1][0])
    words = "last.npz: No space left on device; training goes on, and saving is tried again after 1e-09 s"
    assert capfd.readouterr().err.count(words) == 2


def test_batches_that_were_skipped_in_a_row_are_counted_over_a_stop(tmp_path, monkeypatch):
    run = run_in(tmp_path / "run", corpus=LONG, skip_nonfinite=True)
    step, forward = spoiled_at(range(1, 100), run.model)
    monkeypatch.setattr(type(run.model), "forward", forward)
    monkeypatch.setattr(training_run, "training_step", step)
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "train_batch", interrupted_at(15, TrainingRun.train_batch))
        assert run.train() is False and run.skipped_in_a_row == 15
    again = run_in(tmp_path / "run", corpus=LONG, skip_nonfinite=True)
    again.resume()
    with pytest.raises(NotFinite, match="training stops at step 20, "):
        again.train()


def test_a_setting_that_makes_other_results_may_not_change(tmp_path):
    run_in(tmp_path / "run").begin()
    with pytest.raises(InputError, match=r"last.npz was made with seed 3, but config.json has 4: put it back$"):
        run_in(tmp_path / "run", seed=4).resume()


def test_a_run_trains_in_a_thread_too(tmp_path):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    done = []
    thread = threading.Thread(target=lambda: done.append(run.train()))
    thread.start()
    thread.join()
    assert done == [True]
    assert_params(last_of(run)[0], by_hand(CONFIG | {"epochs": 1})[0][-1][0])


def test_a_run_that_was_not_trained_yet_can_be_resumed(tmp_path):
    run_in(tmp_path / "run").begin()
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    again.resume()
    assert again.train() is True
    assert_params(last_of(again)[0], by_hand(CONFIG)[0][-1][0])
    assert again.singular_value_epochs == [0, 1, 2, 3]


def test_resuming_may_add_epochs_and_says_so_in_the_config(tmp_path):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), epochs=2)
    again.resume()
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == config_of(again) != config_of(run)
    assert again.train() is True
    assert_params(last_of(again)[0], by_hand(CONFIG)[0][2 * BATCHES - 1][0])


def test_resuming_a_run_that_is_complete_trains_no_more(tmp_path):
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    before = (tmp_path / "run" / "last.npz").read_bytes()
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), epochs=1)
    again.resume()
    assert again.train() is True and again.epoch == 1
    assert (tmp_path / "run" / "last.npz").read_bytes() == before


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was stopped in its second epoch."""
    run = run_in(tmp_path / "run")
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(BATCHES + 2))
        assert run.train() is False
    return run


def edit(run, **changes):
    """Change what last.npz says of the run, and how far it is."""
    def change(header):
        for name, value in changes.items():
            owner = next((part for part in (header["progress"], header["times"]) if name in part), header)
            owner[name] = value

    rewrite(run.folder / "last.npz", change)


@pytest.mark.parametrize("changes", [
    {"batch": -1}, {"batch": BATCHES + 1, "tokens": (BATCHES + 1) * N * T}, {"position": -1}, {"position": 15},
    {"tokens": 1}, {"tokens": 30}, {"skipped": 1}, {"skipped": 3}, {"batch": 3}, {"seconds": "x"}, {"nats": math.nan},
    {"nats": math.inf}, {"largest_lr": -1}, {"history": []}, {"singular_value_epochs": 3},
    {"singular_value_epochs": [0]}, {"random_state": {}}, {"random_state": 3}, {"timing": None}, {"starts": [{}]},
    {"timing": []}, {"singular_value_epochs": [1, 0]}, {"tokens": None}, {"batches_before": None}, {"steps": 99},
    {"skipped_in_a_row": -1},
    {"starts": [{"step": 0, "lr": 1, "max_grad": 1, "machine": {"numpy": "\ud800"}}]},
    {"batch": 10**400}], ids=lambda changes: str(changes)[:60])
def test_progress_that_cannot_be_is_refused_and_changes_nothing(changes, stopped):
    edit(stopped, **changes)
    model = tiny_model(seed=5)
    again = run_in(stopped.folder, model=model)
    before = {path.name: path.read_bytes() for path in stopped.folder.iterdir()}
    with pytest.raises(InputError, match=r"last.npz is damaged: ") as refused:
        again.resume()
    assert len(str(refused.value)) < 400
    for param, untouched in zip(model.params, tiny_model(seed=5).params):
        numpy.testing.assert_array_equal(param, untouched)
    assert again.epoch == again.batch == 0
    assert {path.name: path.read_bytes() for path in stopped.folder.iterdir()} == before


@pytest.mark.parametrize("numbers", [[2], [1, 1], [0], [1, 3]])
def test_a_history_of_other_epochs_is_refused(numbers, stopped):
    row, = stopped.history
    edit(stopped, history=[row | {"epoch": number} for number in numbers])
    with pytest.raises(InputError, match=r"last.npz is damaged: "):
        run_in(stopped.folder).resume()


@pytest.mark.parametrize("health", [
    {"steps": 3}, {"norms": 3}, {"clipped": 3}, {"saturated": 41}, {"norm": math.inf}, {"norm": -1.0},
    {"update": math.nan}, {"weight": None}, {"more": 1}], ids=str)
def test_a_health_log_that_cannot_be_is_refused(health, stopped):
    noted = last_of(stopped)[1]["progress"]["health"]
    assert (noted["steps"], noted["norms"], noted["gates"]) == (2, 2, N * T * 4)
    edit(stopped, health=noted | health)
    with pytest.raises(InputError, match=r"last.npz is damaged: "):
        run_in(stopped.folder).resume()


def test_a_checkpoint_that_has_no_health_log_goes_on_and_the_log_begins_there(stopped):
    log = ("gradient_norm", "clipped", "saturated", "update_ratio")
    wanted = run_in(stopped.folder.with_name("through"))
    wanted.begin()
    wanted.train()

    def make_older(header):
        del header["progress"]["health"]
        for row in header["history"]:
            for name in log:
                del row[name]

    rewrite(stopped.folder / "last.npz", make_older)
    again = run_in(stopped.folder, model=tiny_model(seed=5))
    again.resume()
    assert again.train() is True
    with open(again.folder / "history.csv", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert [first[name] for name in log] == [""] * 4
    assert [bool(second[name]) for name in log] == [True, True, False, False]  # its one look was before
    assert third == {name: str(value) for name, value in wanted.history[2].items()}
    norms = [second["gradient_norm"], wanted.history[1]["gradient_norm"]]
    assert float(norms[0]) > 0 and float(norms[0]) != norms[1]


@pytest.mark.parametrize("changes", [
    {}, {"accumulate": 2}, {"max_grad": None}, {"windows": True, "batch_size": 10}, {"optimizer": "adam"}], ids=str)
@pytest.mark.parametrize("stop", [1, 20, 21, 30, 45, 66])
def test_a_run_that_stops_in_an_epoch_leaves_the_same_health_log(stop, changes, device, tmp_path, monkeypatch):
    def new(folder, seed=0):
        run = run_in(folder, model=tiny_model(seed), lr=0.5, corpus=LONG, epochs=2, **changes)
        run.optimizer = OPTIMIZERS[run.settings.optimizer](0.01)
        return run

    through, run = new(tmp_path / "through"), new(tmp_path / "stopped")
    through.begin()
    assert through.train() is True
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(stop))
        assert run.train() is False
    again = new(tmp_path / "stopped", seed=5)
    again.resume()
    assert again.train() is True
    assert all(row[name] > 0 for row in again.history for name in ("gradient_norm", "saturated", "update_ratio"))
    assert (again.folder / "history.csv").read_bytes() == (through.folder / "history.csv").read_bytes()


def test_the_random_numbers_go_on_where_they_were(stopped):
    expected = numpy.random.default_rng()
    expected.bit_generator.state = last_of(stopped)[1]["progress"]["random_state"]["host"]
    again = run_in(stopped.folder, model=tiny_model(seed=5))
    np.seed(99)
    again.resume()
    assert np.rng.random() == expected.random()


def test_another_text_and_fewer_epochs_are_refused(stopped):
    other = corpus_of(train=TRAIN[::-1], name="other.txt")
    with pytest.raises(InputError, match=r"the text of other.txt has changed since the run in .*run began"):
        run_in(stopped.folder, corpus=other).resume()
    other = dataclasses.replace(other, vocabulary=Vocabulary(list("abcdefg"), unknown="g"))
    with pytest.raises(InputError, match=r"the vocabulary of other.txt is not the one in .*run: the text has changed"):
        run_in(stopped.folder, corpus=other).resume()
    edit(stopped, history=[stopped.history[0], stopped.history[0] | {"epoch": 2}])
    with pytest.raises(InputError, match="--epochs 1 is less than the 2 epochs that are done"):
        run_in(stopped.folder, epochs=1).resume()


# Scripted losses and perplexities


def counting_step(model, optimizer, *batch_and_options):
    """A step that moves the first parameter by one."""
    model.params[0] += 1
    return np.float64(0.5)


def epoch_in(run, name):
    """How many epochs of `counting_step` the parameters of a checkpoint have been through."""
    steps = last_of(run, name)[0]["param_0"] - np.to_cpu(tiny_model().params[0])
    return steps.mean() / BATCHES


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Train a run whose validation perplexities are given; the run."""
    def train(perplexities, **changes):
        perplexities = iter(perplexities)

        def scripted_perplexity(model, ids):
            numpy.testing.assert_array_equal(ids_on_host(ids), VALID)
            return next(perplexities)

        with monkeypatch.context() as patch:
            patch.setattr(training_run, "training_step", counting_step)
            patch.setattr(training_run, "perplexity", scripted_perplexity)
            run = run_in(tmp_path / "run", **changes)
            run.begin()
            assert run.train() is True
        assert next(perplexities, None) is None
        return run

    return train


@pytest.mark.parametrize("decay, perplexities, rates, best", [
    (4.0, [5, 4, 3], [32, 32, 32], 3),
    (4.0, [5, 4, 6, 3], [32, 32, 32, 8], 4),            # a later minimum takes the place of an earlier one
    (4.0, [4, 5, 4.5, 4.2, 9], [32, 32, 8, 2, .5], 1),  # better than the last epoch, not than the best
    (1.25, [4, 4, 5, 4], [32, 32, 25.6, 20.48], 1),     # as good as the best is not better, and the earlier is kept
    (2.0, [9, 5, 7, 4, 4.5, 3, 8], [32, 32, 32, 16, 16, 8, 8], 6),
])
def test_the_learning_rate_falls_and_the_best_is_kept_as_validation_says(
        decay, perplexities, rates, best, scripted, capsys):
    run = scripted(perplexities, lr=32.0, lr_decay=decay, epochs=len(rates))
    assert [row["lr"] for row in run.history] == rates
    assert [row["valid_perplexity"] for row in run.history] == perplexities
    assert epoch_in(run, "best") == best and epoch_in(run, "last") == len(rates)
    arrays, facts = last_of(run, "best")
    assert facts["history"] == run.history[:best]
    assert set(arrays) == {f"param_{i}" for i in range(len(run.model.params))}  # nothing of the optimizer

    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    for epoch, (line, now, rate) in enumerate(zip(lines, perplexities, rates, strict=True)):
        words = f"epoch {epoch + 1}: training perplexity 1.65, validation perplexity {now:.2f}, "  # exp(0.5)
        assert line.startswith(words)
        earlier = min(perplexities[:epoch], default=math.inf)
        fell = line.partition("; ")[2]
        assert fell == ("" if now < earlier else
                        f"not better than {earlier:.2f}, so the learning rate becomes {rate / decay:g}")


def test_a_decay_of_one_leaves_the_learning_rate(scripted, capsys):
    run = scripted([5, 6, 7], lr=32.0, lr_decay=1.0)
    assert [row["lr"] for row in run.history] == [32.0] * 3 and epoch_in(run, "best") == 1
    assert "learning rate" not in capsys.readouterr().out


def test_finish_reports_the_test_text_by_the_best_parameters(scripted):
    run = scripted([5, 3, 4], epochs=3)
    best = last_of(run, "best")[0]
    params = [best[f"param_{i}"] for i in range(len(run.model.params))]
    numpy.testing.assert_allclose(params[0], tiny_model().params[0] + 2 * BATCHES)
    assert run.finish() == pytest.approx(perplexity_by_hand(params, TEST), rel=1e-12)
    assert run.test_perplexity() == run.finish()


def test_every_recurrent_layer_s_singular_values_are_noted_before_training_and_after_each_epoch(
        tmp_path, monkeypatch):
    model = BetterRnnlm(V, 4, 4, seed=0)
    expected = [singular_values_by_hand(model)]

    def step(model, *args):
        for layer in model.recurrent_layers:
            layer.params[1][:] *= 1.5
        return np.float32(0.5)

    def note(model, ids):
        expected.append(singular_values_by_hand(model))
        return 3.0

    monkeypatch.setattr(training_run, "training_step", step)
    monkeypatch.setattr(training_run, "perplexity", note)
    run = run_in(tmp_path / "run", model=model, epochs=2)
    run.begin()
    run.train()
    arrays, header = last_of(run)
    assert header["progress"]["singular_value_epochs"] == [0, 1, 2]
    for layer in (0, 1):
        numpy.testing.assert_allclose(arrays[f"singular_values_{layer}"], [values[layer] for values in expected],
                                      rtol=1e-5, atol=0.6e-6)
    assert (arrays["singular_values_0"][0] != arrays["singular_values_1"][0]).any()
    digits = [f"{value:.9f}"[-3:] for value in arrays["singular_values_0"][0]]
    assert digits == ["000"] * 4


# Time, reports and files


class Clock:
    """Stands still but for what the steps take."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


def timed_run(monkeypatch, losses, stop=None, seconds=2.0):
    """Make each training step return the next loss and take a number of seconds; what the progress was told."""
    clock, told, losses = Clock(), [], iter(losses)

    class Recorder(Progress):
        def __init__(self, *args):
            super().__init__(*args)
            told.append(args)

        def show(self, *args):
            super().show(*args)
            told.append(args)

    def step(*args):
        clock.now += seconds
        return numpy.float32(next(losses))

    def slow_perplexity(model, ids):
        clock.now += 1000  # evaluation does not count as training
        return 3.0

    monkeypatch.setattr(training_run, "time", clock)
    monkeypatch.setattr(training_run, "Progress", Recorder)
    monkeypatch.setattr(training_run, "training_step", step if stop is None else interrupted_at(stop, step))
    monkeypatch.setattr(training_run, "perplexity", slow_perplexity)
    return told


LONG = corpus_of(train=numpy.resize(TRAIN, 456))  # 45 batches of strips


def test_seconds_add_up_over_a_stop_and_begin_anew_with_each_epoch(tmp_path, monkeypatch):
    timed_run(monkeypatch, itertools.repeat(0.5), stop=4)
    run = run_in(tmp_path / "run")
    run.begin()
    assert run.train() is False
    assert last_of(run)[1]["times"]["seconds"] == 8.0
    timed_run(monkeypatch, itertools.repeat(0.5), seconds=0.123456)
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    again.resume()
    assert again.train() is True
    seconds = [8.247, 0.741, 0.741]  # 4 x 2 + 2 x 0.123456, and 6 x 0.123456
    assert [row["seconds"] for row in again.timing] == seconds
    assert [row["epoch"] for row in again.timing] == [1, 2, 3]
    assert [row["tokens_per_second"] for row in again.timing] == [7, 81, 81]  # of 60 tokens
    assert (tmp_path / "run" / "timing.csv").read_text() == "epoch,seconds,tokens_per_second\n" + "".join(
        f"{row['epoch']},{row['seconds']},{row['tokens_per_second']}\n" for row in again.timing)


def test_reports_are_of_the_batches_since_the_last_and_the_speed_of_this_sitting(tmp_path, monkeypatch, capsys):
    losses = numpy.random.default_rng(1).uniform(0.5, 2, 90)
    told = timed_run(monkeypatch, losses[:13], stop=13)
    run = run_in(tmp_path / "run", corpus=LONG, epochs=2)
    run.begin()
    run.train()
    assert told == [(1, 2, 45, 0, run._say_training)]
    capsys.readouterr()

    told = timed_run(monkeypatch, losses[13:], seconds=0.01)
    again = run_in(tmp_path / "run", corpus=LONG, epochs=2)
    again.resume()
    again.train()
    assert told[0][:4] == (1, 2, 45, 13) and told[4][:4] == (2, 2, 45, 0) and len(told) == 8
    for (batch, perplexity, speed), (first, last) in zip(
            told[1:4] + told[5:], [(13, 20), (20, 40), (40, 45), (45, 65), (65, 85), (85, 90)], strict=True):
        assert batch == (last - 1) % 45 + 1
        assert perplexity == pytest.approx(math.exp(losses[first:last].mean()), rel=1e-6)
        assert speed == pytest.approx(N * T / 0.01)
    assert [row["train_perplexity"] for row in again.history] == pytest.approx(
        [math.exp(losses[:45].mean()), math.exp(losses[45:].mean())], rel=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert f"epoch 2/2, batch 40/45: perplexity {math.exp(losses[65:85].mean()):.2f}, 1,000 tokens/s" in lines


def test_a_short_last_batch_counts_by_its_tokens(tmp_path, monkeypatch):
    losses = [1.0, 2.0, 1.5, 0.5, 3.0]  # of 13, 13, 13, 13 and 7 windows
    told = timed_run(monkeypatch, losses)
    run = run_in(tmp_path / "run", epochs=1, **WINDOWS)
    run.begin()
    run.train()
    mean = (13 * sum(losses[:4]) + 7 * losses[4]) / 59
    assert run.history[0]["train_perplexity"] == pytest.approx(math.exp(mean), rel=1e-12)
    batch, recent, speed = told[1]
    assert batch == 5 and recent == pytest.approx(math.exp(mean), rel=1e-12) and speed == pytest.approx(59 * T / 10)
    assert run.timing == [{"epoch": 1, "seconds": 10.0, "tokens_per_second": 30}]  # 29.5


def test_history_and_picture(tmp_path, monkeypatch, drawn):
    timed_run(monkeypatch, itertools.repeat(0.5))
    run = run_in(tmp_path / "run", epochs=2)
    run.begin()
    assert not (tmp_path / "run" / "history.csv").exists() and not (tmp_path / "run" / "timing.csv").exists()
    run.train()
    mean = math.exp(0.5)
    assert (tmp_path / "run" / "history.csv").read_text() == (
        "epoch,lr,max_grad,train_perplexity,valid_perplexity,skipped,gradient_norm,clipped,saturated,update_ratio\n"
        f"1,2.0,0.25,{mean},3.0,0,,,,\n2,2.0,0.25,{mean},3.0,0,,,,\n")  # the scripted steps note nothing
    assert drawn == [(run.folder / name, run.history, "simple on tiny.txt") for name in ("loss.png", "health.png")]


def test_no_picture_before_the_first_epoch_is_done(tmp_path, monkeypatch, drawn):
    timed_run(monkeypatch, itertools.repeat(0.5), stop=2)
    run = run_in(tmp_path / "run")
    run.begin()
    assert run.train() is False and drawn == []


@pytest.mark.promise("NaN and infinity stop a run before anything good is overwritten")
@pytest.mark.parametrize("after, batch, epoch", [(0, 20, 1), (20, 40, 1), (44, 45, 1), (45, 20, 2)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_said_at_the_next_report_and_the_last_checkpoint_stays(
        value, after, batch, epoch, tmp_path, monkeypatch):
    """The loss becomes NaN or infinite at a step: within 20 steps the run stops, and its last checkpoint stays."""
    timed_run(monkeypatch, [0.5] * after + [value] * 45, seconds=0.1)
    run = run_in(tmp_path / "run", corpus=LONG)
    run.begin()
    with pytest.raises(NotFinite) as refused:
        run.train()
    step, saved = (epoch - 1) * 45 + batch, (epoch - 1) * 45
    assert str(refused.value) == (
        f"the loss is not finite: training stops at step {step}, batch {batch} of epoch {epoch}, with the learning "
        f"rate 2. The checkpoint of step {saved} stays: go on from it with --out {run.folder} --resume and a lower "
        "--lr or --max-grad, or with --skip-nonfinite")
    assert run.epoch == epoch - 1 == len(last_of(run)[1]["history"])


@pytest.mark.promise("NaN and infinity stop a run before anything good is overwritten")
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_perplexity_that_is_not_finite_is_said_and_noted_nowhere(value, tmp_path, monkeypatch):
    """A validation perplexity of NaN or infinity is noted in no file."""
    timed_run(monkeypatch, itertools.repeat(0.5))
    perplexities = iter([3.0, value])
    monkeypatch.setattr(training_run, "perplexity", lambda model, ids: next(perplexities))
    run = run_in(tmp_path / "run")
    run.begin()
    with pytest.raises(NotFinite, match=r"^the validation perplexity is not finite: training stops at step 12,"):
        run.train()
    assert run.epoch == len(last_of(run)[1]["history"]) == 1


def spoil_params(run):
    run.model.params[1].flat[2] = math.nan


def spoil_gradient(run):
    run.model.grads[1].flat[2] = math.inf


def spoil_loss(run):
    run.nats = np.float64(math.nan)


@pytest.mark.promise("NaN and infinity stop a run before anything good is overwritten")
@pytest.mark.parametrize("spoil, words", [
    (spoil_params, r"a parameter \(param_1\)"), (spoil_gradient, "the norm of the gradients"),
    (spoil_loss, "the loss")])
@pytest.mark.parametrize("by_signal", [True, False])
def test_a_state_that_is_not_finite_is_never_saved(spoil, words, by_signal, tmp_path, monkeypatch):
    """A parameter, a gradient or the loss becomes NaN right before a save: the checkpoint before it stays."""
    run = run_in(tmp_path / "run", save_every=60.0 if by_signal else 1e-9)
    run.begin()
    step, count = training_run.training_step, itertools.count(1)

    def spoiled_step(*args):
        loss = step(*args)
        if next(count) == 3:
            if by_signal:
                signal.raise_signal(signal.SIGINT)
            if spoil is spoil_loss:
                return loss * math.nan
            spoil(run)
        return loss

    monkeypatch.setattr(training_run, "training_step", spoiled_step)
    with pytest.raises(NotFinite, match=f"^{words} is not finite: training stops at step 3, "):
        run.train()
    assert last_of(run)[1]["progress"]["batch"] == (0 if by_signal else 2)  # the last good one
    again = run_in(tmp_path / "run", model=tiny_model(seed=5))
    monkeypatch.setattr(training_run, "training_step", step)
    again.resume()
    again.train()
    assert_params(last_of(again)[0], by_hand(CONFIG)[0][-1][0])


def spoiled_at(numbers, model):
    """A training step before which, at the steps of these numbers, the first batch's loss becomes NaN."""
    count, step = itertools.count(1), training_run.training_step
    forward = type(model).forward

    def spoiled_step(model, optimizer, *args):
        model.spoiled = next(count) in numbers
        return step(model, optimizer, *args)

    def spoiled_forward(self, *args, **options):
        loss = forward(self, *args, **options)
        if getattr(self, "spoiled", False):
            for layer in self.recurrent_layers:
                layer.set_state(np.full_like(layer.h, math.nan))
            return loss * math.nan
        return loss

    return spoiled_step, spoiled_forward


@pytest.mark.promise("NaN and infinity stop a run before anything good is overwritten")
def test_batches_that_are_not_finite_are_skipped_and_counted(device, tmp_path, monkeypatch):
    """With --skip-nonfinite the parameters end as if batches with a loss of NaN had not been there."""
    spoiled = {2, 3, BATCHES + 5}
    run = run_in(tmp_path / "run", skip_nonfinite=True, epochs=2)
    step, forward = spoiled_at(spoiled, run.model)
    monkeypatch.setattr(training_run, "training_step", step)
    monkeypatch.setattr(type(run.model), "forward", forward)
    run.begin()
    assert run.train() is True
    assert [row["skipped"] for row in run.history] == [2, 1]
    assert run.optimizer.steps == 2 * BATCHES - 3

    model, batches = tiny_model(), batches_by_hand(CONFIG | {"epochs": 2})  # by hand, without these batches
    monkeypatch.undo()
    nats, norms = [], []
    for number, (xs, ts) in zip(range(1, 2 * BATCHES + 1), batches):
        if number in spoiled:
            continue
        nats.append(float(model.forward(np.to_device(xs), np.to_device(ts))))
        model.backward()
        norm = math.sqrt(sum(float((grad * grad).sum()) for grad in model.grads))
        norms.append(norm)
        for param, grad in zip(model.params, model.grads):
            param -= 2.0 * min(1, 0.25 / (norm + 1e-6)) * grad
    assert_params(last_of(run)[0], [np.to_cpu(param) for param in model.params])
    assert run.history[0]["train_perplexity"] == pytest.approx(math.exp(numpy.mean(nats[:BATCHES - 2])), rel=1e-7)
    assert run.history[0]["gradient_norm"] == pytest.approx(numpy.mean(norms[:BATCHES - 2]), rel=1e-7)
    assert run.history[0]["clipped"] == numpy.mean(numpy.array(norms[:BATCHES - 2]) > 0.25)


def test_a_run_that_skipped_batches_goes_on_from_a_checkpoint_among_them(tmp_path, monkeypatch):
    def trained(folder, stop):
        run = run_in(folder, skip_nonfinite=True, epochs=2)
        step, forward = spoiled_at({2, 3, BATCHES + 5}, run.model)
        with monkeypatch.context() as patch:
            patch.setattr(type(run.model), "forward", forward)
            patch.setattr(training_run, "training_step", step if stop is None else interrupted_after_skip(step, stop))
            run.begin()
            if not run.train():
                run = run_in(folder, model=tiny_model(seed=5), skip_nonfinite=True, epochs=2)
                run.resume()
                assert run.train() is True
        return {name: array for name, array in last_of(run)[0].items()}

    def interrupted_after_skip(step, stop):
        count = itertools.count(1)

        def interrupted_step(*args):
            if next(count) == stop:
                signal.raise_signal(signal.SIGTERM)
            return step(*args)

        return interrupted_step

    wanted = trained(tmp_path / "through", None)
    for stop in (2, 3, 4):
        found = trained(tmp_path / str(stop), stop)
        for name, array in wanted.items():
            numpy.testing.assert_array_equal(found[name], array)


def test_when_every_batch_is_skipped_the_run_stops(tmp_path, monkeypatch):
    run = run_in(tmp_path / "run", corpus=LONG, skip_nonfinite=True)
    step, forward = spoiled_at(range(1, 100), run.model)
    monkeypatch.setattr(training_run, "training_step", step)
    monkeypatch.setattr(type(run.model), "forward", forward)
    run.begin()
    with pytest.raises(NotFinite, match=r"^the loss of 20 batches in a row is not finite: training stops at step 20, "):
        run.train()


def test_what_overflows_in_training_does_not_warn(tmp_path, monkeypatch):
    def step(*args):
        return numpy.float64(1e308) * 0 + numpy.exp(numpy.float64(800)) * 0 + numpy.log(numpy.float64(0)) * 0

    monkeypatch.setattr(training_run, "training_step", step)
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    with pytest.raises(InputError, match="not finite"):
        run.train()
    with pytest.warns(RuntimeWarning):
        step()


def test_a_training_perplexity_too_large_for_a_number_is_infinite(tmp_path, monkeypatch):
    timed_run(monkeypatch, itertools.repeat(1000.0))
    run = run_in(tmp_path / "run", epochs=1)
    run.begin()
    run.train()
    assert run.history[0]["train_perplexity"] == math.inf


def test_the_folder_of_a_new_run_holds_all_it_needs_to_go_on(tmp_path):
    run = run_in(tmp_path / "runs" / "new")
    run.begin()
    assert {path.name for path in run.folder.iterdir()} == {".lock", "config.json", "vocabulary.json", "last.npz"}
    assert json.loads((run.folder / "config.json").read_text()) == config_of(run)
    assert (run.folder / "config.json").read_text().startswith('{\n  "script": "ch_rnn.train",\n  "model": "simple",\n')
    assert Vocabulary.load(run.folder / "vocabulary.json") == run.corpus.vocabulary
    arrays, facts = last_of(run)
    assert_params(arrays, [np.to_cpu(param) for param in tiny_model().params])
    progress, times = facts["progress"], facts["times"]
    assert (progress["batch"], progress["position"], progress["nats"], times["seconds"]) == (0, 0, 0.0, 0.0)
    assert facts["model"] == "simple" and facts["vocabulary"] == run.corpus.vocabulary.fingerprint
    assert facts["corpus"] == run.corpus.fingerprint and facts["history"] == times["timing"] == []
    assert facts["configuration"] == {name: value for name, value in config_of(run).items()
                                      if name not in ("script", "save_every")}


def test_a_run_begins_in_an_empty_folder_and_in_no_other(tmp_path):
    (tmp_path / "empty").mkdir()
    run_in(tmp_path / "empty").begin()
    (tmp_path / "empty" / ".lock").unlink()
    with pytest.raises(InputError, match=r"is there already: choose another --out, or go on with --resume$"):
        run_in(tmp_path / "empty").begin()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "letter.txt"):
        with pytest.raises(InputError, match=r"is there already: choose another --out$"):
            run_in(path).begin()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_folder_that_cannot_be_looked_at_is_said(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    run = run_in(tmp_path / "run")
    monkeypatch.setattr(type(run.folder), "exists", refuse)
    with pytest.raises(InputError, match=r"cannot use the folder .*run: Permission denied"):
        run.begin()


# A budget of time


def clocked(monkeypatch, step_seconds=2.0, evaluation_seconds=4.0):
    """Let steps and evaluations take a number of seconds by a clock that nothing else moves."""
    clock, step, evaluate = Clock(), training_run.training_step, training_run.perplexity

    def slow_step(*args):
        clock.now += step_seconds
        return step(*args)

    def slow_evaluation(*args):
        clock.now += evaluation_seconds
        return evaluate(*args)

    monkeypatch.setattr(training_run, "time", clock)
    monkeypatch.setattr(training_run, "training_step", slow_step)
    monkeypatch.setattr(training_run, "perplexity", slow_evaluation)


def test_a_run_ends_when_its_time_is_over_with_a_last_evaluation(tmp_path, monkeypatch, capsys):
    clocked(monkeypatch)
    run = run_in(tmp_path / "run", epochs=100, minutes=1.0)
    run.begin()
    assert run.train() is True and run.is_done
    # Three epochs of 6 x 2 + 4 seconds; then four steps more, so that the last evaluation ends at 60 seconds.
    assert (run.epoch, run.step, run.batch, run.spent) == (4, 22, 0, 60.0)
    assert_params(last_of(run)[0], by_hand(CONFIG | {"epochs": 4})[0][21][0])
    assert [row["seconds"] for row in run.timing] == [12.0, 12.0, 12.0, 8.0]
    out = capsys.readouterr().out
    assert "epoch 4: training perplexity" in out and out.endswith("; the 1 minutes are over\n")

    again = run_in(tmp_path / "run", model=tiny_model(seed=5), epochs=100, minutes=1.0)
    again.resume()
    assert again.is_done and again.time_is_over and again.train() is True and again.step == 22
    more = run_in(tmp_path / "run", model=tiny_model(seed=5), epochs=100, minutes=1.25)
    more.resume()
    assert not more.is_done and more.train() is True
    assert (more.epoch, more.step, more.spent) == (5, 28, 76.0)  # a whole epoch: 6 x 2 + 4 seconds end behind 75
    assert_params(last_of(more)[0], by_hand(CONFIG | {"epochs": 5})[0][27][0])


@pytest.mark.parametrize("stop", [3, 6, 21])
def test_the_time_goes_on_where_it_stopped(stop, tmp_path, monkeypatch):
    clocked(monkeypatch)
    run = run_in(tmp_path / "run", epochs=100, minutes=1.0)
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(stop, training_run.training_step))
        assert run.train() is False
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), epochs=100, minutes=1.0)
    again.resume()
    assert again.spent == run.spent == 2 * stop + 4 * ((stop - 1) // 6)
    assert again.train() is True
    assert (again.epoch, again.step, again.spent) == (4, 22, 60.0)
    assert_params(last_of(again)[0], by_hand(CONFIG | {"epochs": 4})[0][21][0])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_spans_the_time_by_the_speed_so_far(schedule, tmp_path, monkeypatch):
    clocked(monkeypatch, evaluation_seconds=0.0)
    step, rates = training_run.training_step, []

    def noted(model, optimizer, *args):
        loss = step(model, optimizer, *args)
        rates.append(optimizer.lr)
        return loss

    monkeypatch.setattr(training_run, "training_step", noted)
    run = run_in(tmp_path / "run", epochs=100, minutes=1.0, schedule=schedule)
    run.begin()
    run.train()
    assert len(rates) == 30  # of two seconds
    for k, rate in enumerate(rates):
        left = 1 - k / 30 if schedule == "linear" else (1 + math.cos(math.pi * k / 30)) / 2
        assert rate == pytest.approx(2 * left, rel=1e-12)


@pytest.mark.parametrize("changes", [{"batches_before": 5}, {"batches_before": 0}, {"batches_before": 7}])
def test_a_number_of_batches_that_does_not_fit_is_refused(changes, stopped):
    assert last_of(stopped)[1]["progress"]["batches_before"] == BATCHES
    edit(stopped, **changes)
    with pytest.raises(InputError, match=r"last.npz is damaged: the progress that it records is impossible"):
        run_in(stopped.folder).resume()


# Progress


@pytest.mark.parametrize("batches, done, shown, lines", [
    (80, 0, [20, 40, 60, 80], [20, 40, 60]),
    (100, 0, [20, 40, 60, 80, 100], [40, 60, 80]),
    (400, 0, range(20, 401, 20), [100, 200, 300]),
    (400, 150, range(160, 401, 20), [260, 360]),
    (24, 0, [20, 24], [20]),
    (3, 0, [3], []),
])
def test_where_there_is_no_terminal_a_quarter_of_an_epoch_is_a_line(batches, done, shown, lines, capsys):
    with Progress(2, 3, batches, done) as progress:
        for batch in shown:
            progress.show(batch, 12.345, 6789.4)
    assert capsys.readouterr().out.splitlines() == [
        f"epoch 2/3, batch {batch}/{batches}: perplexity 12.35, 6,789 tokens/s" for batch in lines]


def test_on_a_terminal_a_bar_moves(monkeypatch, capsys):
    calls = []

    class Bar:
        def __init__(self, **options):
            self.n = options["initial"]
            calls.append(options)

        def set_postfix_str(self, words, refresh):
            calls.append((words, refresh))

        def update(self, more):
            self.n += more
            calls.append(self.n)

        def close(self):
            calls.append("closed")

    terminal = types.SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(progress_module, "sys", types.SimpleNamespace(stdout=terminal))
    monkeypatch.setattr("tqdm.tqdm", Bar)
    with Progress(2, 3, 45, 13) as progress:
        progress.show(20, 12.345, 6789.4)
        progress.show(40, 9.5, 6000.0)
    words = ["perplexity 12.35, 6,789 tokens/s", "perplexity 9.50, 6,000 tokens/s"]
    assert calls == [
        {"total": 45, "initial": 13, "desc": "epoch 2/3", "file": terminal, "leave": False, "dynamic_ncols": True,
         "bar_format": "{desc} {percentage:.0f}% {bar} {remaining} left{postfix}"},
        (words[0], False), 20, (words[1], False), 40, "closed"]
    assert capsys.readouterr().out == ""


def test_the_bar_fits_80_columns(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress_module, "sys", types.SimpleNamespace(stdout=terminal))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    with Progress(38, 40, 1327, 0) as progress:
        progress.show(664, 10000.584, 123456.0)
        shown = str(progress.bar)
    assert 60 < len(shown) <= 80
    assert shown.startswith("epoch 38/40 50% ") and shown.endswith(" left, perplexity 10000.58, 123,456 tokens/s")


def test_write_csv_quotes_and_writes_nothing_for_no_rows(tmp_path):
    write_csv(tmp_path / "rows.csv", [{"a": 1, "b": "x,y"}, {"b": 2.5, "a": None}])
    assert (tmp_path / "rows.csv").read_bytes() == b'a,b\n1,"x,y"\n,2.5\n'
    write_csv(tmp_path / "none.csv", [])
    assert not (tmp_path / "none.csv").exists()
