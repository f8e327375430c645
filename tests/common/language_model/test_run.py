"""The run of epochs: compared with loops written out here, and fed scripted losses and perplexities."""
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

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_rnn.simple_rnnlm import SimpleRnnlm
from common import plots
from common.device.ids import ids_on_host
from common.errors import InputError
from common.language_model import run as training_run
from common.language_model.run import Progress, TrainingRun, write_csv
from common.language_model.settings import TrainSettings
from common.optimizer import SGD
from common.text.vocabulary import Vocabulary
from common.training.batches import StripBatches, WindowBatches
from common.training.checkpoint import read_checkpoint
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
    monkeypatch.setattr(plots, "save_history", lambda *args: calls.append(args))
    return calls


@pytest.fixture(autouse=True)
def no_run_without_end(monkeypatch):
    """Fail after 500 batches: no run here has as many."""
    for kind in (StripBatches, WindowBatches):
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


def train_by_hand(config, lr):
    """Yield after each step (params, state) and after each epoch what the history should say of it."""
    model, batches, best = tiny_model(), batches_by_hand(config), math.inf
    in_epoch = -(-59 // config["batch_size"]) if config["windows"] else BATCHES
    for epoch in range(config["epochs"]):
        nats = tokens = 0
        for _ in range(in_epoch):
            xs, ts = next(batches)
            if config["windows"]:
                model.reset_state()
            nats += float(model.forward(np.to_device(xs), np.to_device(ts))) * xs.size
            tokens += xs.size
            model.backward()
            norm = math.sqrt(sum(float((grad * grad).sum()) for grad in model.grads))
            rate = 1 if config["max_grad"] is None else min(1, config["max_grad"] / (norm + 1e-6))
            for param, grad in zip(model.params, model.grads):
                param -= lr * rate * grad
            params = [np.to_cpu(param).copy() for param in model.params]
            yield params, np.to_cpu(model.recurrent_layers[0].h).copy()
        valid = perplexity_by_hand(params, VALID)
        yield {"epoch": epoch + 1, "lr": lr, "train_perplexity": math.exp(nats / tokens),
               "valid_perplexity": valid}, singular_values_by_hand(model)[0]
        if valid >= best:
            lr /= config["lr_decay"]
        best = min(best, valid)


def by_hand(config, lr=2.0):
    """All steps and all epochs of a training run."""
    events = list(train_by_hand(config, lr))
    return ([event for event in events if isinstance(event[0], list)],
            [event for event in events if isinstance(event[0], dict)])


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
        assert found == pytest.approx(row, rel=1e-7)
    arrays, facts = last_of(run)
    assert facts["history"] == run.history
    assert_params(arrays, steps[-1][0])
    assert [noted["epoch"] for noted in facts["singular_values"]] == [0, 1, 2, 3, 4, 5, 6]
    for noted, values in zip(facts["singular_values"], [before, *(values for _, values in epochs)], strict=True):
        (found,) = noted["layers"]
        numpy.testing.assert_allclose(found, values, atol=0.6e-6)

    params = steps[(best + 1) * len(steps) // 6 - 1][0]
    assert_params(last_of(run, "best")[0], params)
    assert run.test_perplexity() == pytest.approx(perplexity_by_hand(steps[-1][0], TEST), rel=1e-7)
    assert run.finish() == pytest.approx(perplexity_by_hand(params, TEST), rel=1e-7)
    assert_params({f"param_{i}": param for i, param in enumerate(run.model.params)}, params)


# Ctrl-C, and going on


def interrupted_at(number, step=training_run.training_step):
    """A training step that is interrupted at the end of the step of this number."""
    count = itertools.count(1)

    def interrupted_step(*args):
        loss = step(*args)
        if next(count) == number:
            signal.raise_signal(signal.SIGINT)
        return loss

    return interrupted_step


@pytest.mark.parametrize("changes", [{}, WINDOWS | {"shuffle": True}], ids=["strips", "windows"])
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_ctrl_c_saves_the_step_it_came_in_and_a_new_process_goes_on_from_it(
        stop, changes, tmp_path, monkeypatch, capsys):
    changes = changes | {"lr_decay": 4.0}
    steps, epochs = by_hand(CONFIG | changes)
    in_epoch = len(steps) // 3
    run = run_in(tmp_path / "run", **changes)
    run.begin()
    monkeypatch.setattr(training_run, "training_step", interrupted_at(stop))
    handler = signal.getsignal(signal.SIGINT)
    assert run.train() is False
    assert signal.getsignal(signal.SIGINT) is handler
    assert "Ctrl-C: stopping after this step" in capsys.readouterr().out
    assert (run.epoch, run.batch) == divmod(stop, in_epoch)
    params, h = steps[stop - 1]
    arrays, facts = last_of(run)
    assert_params(arrays, params)
    assert facts["batch"] == stop % in_epoch
    if not changes.get("windows"):
        np.testing.assert_allclose(arrays["state_0_0"], h, rtol=1e-7)
    assert run.test_perplexity() == pytest.approx(perplexity_by_hand(params, TEST), rel=1e-7)

    again = run_in(tmp_path / "run", model=tiny_model(seed=5), lr=77.0, **changes)
    again.resume()
    assert (again.epoch, again.batch) == divmod(stop, in_epoch)
    assert again.train() is True
    assert_params(last_of(again)[0], steps[-1][0])
    for found, (row, _) in zip(again.history, epochs, strict=True):
        assert found == pytest.approx(row, rel=1e-7)
    assert [noted["epoch"] for noted in again.singular_values] == [0, 1, 2, 3]


def test_ctrl_c_in_the_last_step_of_all_lets_the_run_end(tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "training_step", interrupted_at(3 * BATCHES))
    run = run_in(tmp_path / "run")
    run.begin()
    assert run.train() is True and run.epoch == 3
    assert last_of(run)[1]["batch"] == 0


def test_a_second_ctrl_c_stops_at_once_and_saves_nothing(tmp_path, monkeypatch):
    def step(*args):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    run, handler = run_in(tmp_path / "run"), signal.getsignal(signal.SIGINT)
    run.begin()
    monkeypatch.setattr(training_run, "training_step", step)
    before = (tmp_path / "run" / "last.npz").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "run" / "last.npz").read_bytes() == before


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
    assert [noted["epoch"] for noted in again.singular_values] == [0, 1, 2, 3]


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


def edit_facts(run, remove=(), **changes):
    """Change what last.npz says of the run's progress."""
    with numpy.load(run.folder / "last.npz") as file:
        held = {name: file[name] for name in file.files}
    facts = {name: fact for name, fact in json.loads(str(held["facts"])).items() if name not in remove} | changes
    numpy.savez(run.folder / "last.npz", **held | {"facts": numpy.array(json.dumps(facts))})


@pytest.mark.parametrize("changes", [{}, WINDOWS | {"shuffle": True}], ids=["strips", "windows"])
def test_a_file_of_an_older_run_which_added_up_the_losses_of_batches_goes_on(changes, tmp_path, monkeypatch):
    run = run_in(tmp_path / "run", **changes)
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(4))
        assert run.train() is False
    full = run.settings.batch_size * T
    assert last_of(run)[1]["tokens"] == 4 * full
    edit_facts(run, remove=["tokens", "singular_values"], nats=last_of(run)[1]["nats"] / full)
    again = run_in(tmp_path / "run", model=tiny_model(seed=5), **changes)
    again.resume()
    assert again.train() is True
    _, epochs = by_hand(CONFIG | changes)
    for found, (row, _) in zip(again.history, epochs, strict=True):
        assert found == pytest.approx(row, rel=1e-7)
    assert [noted["epoch"] for noted in again.singular_values] == [1, 2, 3]


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was stopped in its second epoch."""
    run = run_in(tmp_path / "run")
    run.begin()
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "training_step", interrupted_at(BATCHES + 2))
        assert run.train() is False
    return run


@pytest.mark.parametrize("changes", [
    {"batch": -1}, {"batch": BATCHES, "tokens": BATCHES * N * T}, {"position": -1}, {"tokens": 1}, {"seconds": "x"},
    {"history": []}, {"history": [{"epoch": 2, "valid_perplexity": 3.0}]}, {"history": [{"epoch": 1}]},
    {"history": [{"epoch": 1, "valid_perplexity": "x"}]}, {"singular_values": 3}, {"random_state": {}},
    {"random_state": 3}, {"timing": None}], ids=str)
def test_progress_that_cannot_be_is_refused_and_changes_nothing(changes, stopped):
    history = last_of(stopped)[1]["history"]
    edit_facts(stopped, **changes | ({"history": [*history, *history]} if changes == {"history": []} else {}))
    model = tiny_model(seed=5)
    again = run_in(stopped.folder, model=model)
    with pytest.raises(InputError, match=r"last.npz is damaged: the progress that it records is impossible"):
        again.resume()
    for param, untouched in zip(model.params, tiny_model(seed=5).params):
        numpy.testing.assert_array_equal(param, untouched)
    assert again.epoch == again.batch == 0


def test_the_random_numbers_go_on_where_they_were(stopped):
    expected = numpy.random.default_rng()
    expected.bit_generator.state = last_of(stopped)[1]["random_state"]["host"]
    again = run_in(stopped.folder, model=tiny_model(seed=5))
    np.seed(99)
    again.resume()
    assert np.rng.random() == expected.random()


def test_another_text_and_fewer_epochs_are_refused(stopped):
    other = corpus_of(train=TRAIN[::-1], name="other.txt")
    with pytest.raises(InputError, match=r"the text of other.txt has changed since the run in .*run began"):
        run_in(stopped.folder, corpus=other).resume()
    edit_facts(stopped, history=[{"epoch": 1, "valid_perplexity": 1.0}, {"epoch": 2, "valid_perplexity": 1.0}])
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
    noted = last_of(run)[1]["singular_values"]
    assert [entry["epoch"] for entry in noted] == [0, 1, 2]
    for entry, values in zip(noted, expected, strict=True):
        assert len(entry["layers"]) == 2
        numpy.testing.assert_allclose(entry["layers"], values, rtol=1e-5, atol=0.6e-6)
    assert noted[0]["layers"][0] != noted[0]["layers"][1]
    digits = [str(value).partition(".")[2] for value in noted[0]["layers"][0]]
    assert max(map(len, digits)) == 6


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
    assert last_of(run)[1]["seconds"] == 8.0
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
    assert told == [(1, 2, 45, 0, run.say["train"])]
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
        f"epoch,lr,train_perplexity,valid_perplexity\n1,2.0,{mean},3.0\n2,2.0,{mean},3.0\n")
    assert drawn == [(tmp_path / "run" / "loss.png", run.history, "simple on tiny.txt")]


def test_no_picture_before_the_first_epoch_is_done(tmp_path, monkeypatch, drawn):
    timed_run(monkeypatch, itertools.repeat(0.5), stop=2)
    run = run_in(tmp_path / "run")
    run.begin()
    assert run.train() is False and drawn == []


@pytest.mark.parametrize("after, batch, epoch", [(0, 20, 1), (20, 40, 1), (44, 45, 1), (45, 20, 2)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_said_at_the_next_report(value, after, batch, epoch, tmp_path, monkeypatch):
    timed_run(monkeypatch, [0.5] * after + [value] * 45)
    run = run_in(tmp_path / "run", corpus=LONG)
    run.begin()
    with pytest.raises(InputError, match=f"^the loss at batch {batch} of epoch {epoch} is not finite: "
                                         "try a lower learning rate \\(--lr\\)$"):
        run.train()
    assert run.epoch == epoch - 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_perplexity_that_is_not_finite_is_said_and_noted_nowhere(value, tmp_path, monkeypatch):
    timed_run(monkeypatch, itertools.repeat(0.5))
    perplexities = iter([3.0, value])
    monkeypatch.setattr(training_run, "perplexity", lambda model, ids: next(perplexities))
    run = run_in(tmp_path / "run")
    run.begin()
    with pytest.raises(InputError, match=r"^the validation perplexity of epoch 2 is not finite: try"):
        run.train()
    assert run.epoch == len(last_of(run)[1]["history"]) == 1


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
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "vocabulary.json", "last.npz"}
    assert json.loads((run.folder / "config.json").read_text()) == config_of(run)
    assert (run.folder / "config.json").read_text().startswith('{\n  "script": "ch_rnn.train",\n  "model": "simple",\n')
    assert Vocabulary.load(run.folder / "vocabulary.json") == run.corpus.vocabulary
    arrays, facts = last_of(run)
    assert_params(arrays, [np.to_cpu(param) for param in tiny_model().params])
    assert (facts["batch"], facts["position"], facts["nats"], facts["seconds"]) == (0, 0, 0.0, 0.0)
    assert facts["model"] == "simple" and facts["vocabulary"] == run.corpus.vocabulary.fingerprint
    assert facts["corpus"] == run.corpus.fingerprint and facts["history"] == facts["timing"] == []


def test_a_run_begins_in_an_empty_folder_and_in_no_other(tmp_path):
    (tmp_path / "empty").mkdir()
    run_in(tmp_path / "empty").begin()
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
    monkeypatch.setattr(training_run, "sys", types.SimpleNamespace(stdout=terminal))
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
    monkeypatch.setattr(training_run, "sys", types.SimpleNamespace(stdout=terminal))
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
