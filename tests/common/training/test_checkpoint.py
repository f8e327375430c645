"""Checkpoints: what is in the file, what comes back from it, and what is refused."""
import hashlib
import json
import math
import zipfile

import numpy
import pytest
from any_device import np
from checkpoint_files import parts_of, rewrite, write_raw

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.errors import InputError
from common.files.arrays import ArrayFile
from common.optimizer import SGD, Adam
from common.text.vocabulary import Vocabulary
from common.trainer import training_step
from common.training.checkpoint import expect_arrays, read_checkpoint, restore, restore_params, save_checkpoint
from common.training.finite import NotFinite

WORDS = Vocabulary(list("abcdefg"))
HEADER = {"model": "rnnlm", "vocabulary": WORDS.fingerprint, "corpus": "0" * 64, "history": [],
          "configuration": {"epochs": 3, "lr": 0.5, "corpus": "x", "plain": True, "dropout": None}}
IDS = numpy.random.default_rng(0).integers(7, size=(2, 41))


def train(model, optimizer, first, last):
    """Take the steps from `first` to `last` along IDS; the losses."""
    return [float(training_step(model, optimizer, np.to_device(IDS[:, 4 * i:4 * i + 4]),
                                np.to_device(IDS[:, 4 * i + 1:4 * i + 5]), max_grad=1.0)) for i in range(first, last)]


def copies(arrays):
    return [np.to_cpu(array).copy() for array in arrays]


def assert_equal(arrays, expected):
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def better(seed=0, size=5):
    return BetterRnnlm(7, size, size, 0.0, seed=seed)


@pytest.mark.parametrize("make", [lambda: Adam(0.05), lambda: SGD(1.0)], ids=["adam", "sgd"])
def test_a_model_restored_goes_on_as_the_one_that_was_saved(make, device, tmp_path):
    model, optimizer = better(), make()
    train(model, optimizer, 0, 5)
    optimizer.lr /= 4
    save_checkpoint(tmp_path / "run.npz", model, HEADER, optimizer)
    expected = train(model, optimizer, 5, 10)

    other, other_optimizer = better(seed=1), make()
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS)
    restore(tmp_path / "run.npz", arrays, facts, other, other_optimizer, batch_size=2)
    assert train(other, other_optimizer, 5, 10) == expected
    assert_equal(other.params, model.params)
    assert other_optimizer.lr == optimizer.lr and other_optimizer.steps == optimizer.steps == 10
    assert {name: facts[name] for name in HEADER} == HEADER


def test_the_file_holds_each_parameter_memory_and_state_once(tmp_path):
    model, optimizer = better(), Adam(0.05)
    train(model, optimizer, 0, 3)
    params = [model.layers[0].params[0], *model.layers[2].params, *model.layers[4].params, model.layers[6].params[1]]
    expected = {f"param_{i}": param for i, param in enumerate(params)}
    expected |= {f"memory_{i}_{j}": memory for i, pair in enumerate(optimizer.state) for j, memory in enumerate(pair)}
    expected |= {f"state_{i}_{j}": state for i, layer in enumerate((model.layers[2], model.layers[4]))
                 for j, state in enumerate((layer.h, layer.c))}
    assert len(expected) == 8 * 3 + 4
    save_checkpoint(tmp_path / "run.npz", model, HEADER, optimizer)
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS)
    assert arrays.keys() == expected.keys()
    assert_equal([arrays[name] for name in expected], expected.values())
    described = facts.pop("arrays")
    assert facts == HEADER | {"lr": 0.05, "steps": 3, "format": 2}
    assert described == {name: {"shape": list(array.shape), "dtype": "<f4",
                                "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
                         for name, array in ((name, np.to_cpu(array)) for name, array in expected.items())}

    save_checkpoint(tmp_path / "best.npz", model, HEADER)
    arrays, facts = read_checkpoint(tmp_path / "best.npz", "rnnlm", WORDS)
    assert sorted(arrays) == [f"param_{i}" for i in range(8)] == sorted(facts["arrays"])
    assert facts.keys() == HEADER.keys() | {"format", "arrays"}
    with zipfile.ZipFile(tmp_path / "best.npz") as archive:  # which numpy.load and people can read, too
        assert archive.namelist() == ["header.json", *(f"param_{i}.npy" for i in range(8))]


def test_the_parameters_alone_come_back(tmp_path):
    model, other = better(), better(seed=1)
    save_checkpoint(tmp_path / "best.npz", model, HEADER)
    arrays, _ = read_checkpoint(tmp_path / "best.npz", "rnnlm", WORDS)
    restore_params(tmp_path / "best.npz", arrays, other)
    assert_equal(other.params, model.params)
    with pytest.raises(InputError, match=r"best.npz is not of this Rnnlm"):
        restore_params(tmp_path / "best.npz", arrays, Rnnlm(7, 5, 5))


def test_a_learning_rate_that_is_a_whole_number_comes_back(tmp_path):
    optimizer = SGD(2.0)
    save_checkpoint(tmp_path / "run.npz", better(), HEADER, SGD(1))
    restore(tmp_path / "run.npz", *read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS), better(), optimizer, 2)
    assert optimizer.lr == 1


@pytest.mark.parametrize("batch_size", [2, None])
def test_a_checkpoint_from_before_the_first_step_comes_back_without_memories_and_states(batch_size, tmp_path):
    model, other, optimizer = better(), better(seed=1), Adam(0.5)
    save_checkpoint(tmp_path / "run.npz", model, HEADER, Adam(0.05))
    restore(tmp_path / "run.npz", *read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS), other, optimizer, batch_size)
    assert_equal(other.params, model.params)
    assert (optimizer.lr, optimizer.steps, optimizer.state) == (0.05, 0, [])
    assert other.get_state() == [(None, None)] * 2


def test_states_that_are_not_carried_are_neither_saved_nor_wanted(tmp_path):
    model, optimizer = better(), SGD(1.0)
    train(model, optimizer, 0, 3)
    model.reset_state()
    save_checkpoint(tmp_path / "run.npz", model, HEADER, optimizer)
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS)
    assert sorted(arrays) == [f"param_{i}" for i in range(8)]
    other, other_optimizer = better(seed=1), SGD(2.0)
    restore(tmp_path / "run.npz", arrays, facts, other, other_optimizer, batch_size=None)
    assert other.get_state() == [(None, None)] * 2 and other_optimizer.steps == 3
    with pytest.raises(InputError, match="it has nothing for state_0_0, wanted float32 of shape"):
        restore(tmp_path / "run.npz", arrays, facts, other, other_optimizer, batch_size=2)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a model in training."""
    model, optimizer = better(), Adam(0.05)
    train(model, optimizer, 0, 3)
    save_checkpoint(tmp_path / "run.npz", model, HEADER, optimizer)
    return tmp_path / "run.npz"


def drop(name):
    return lambda header: header.pop(name)


def put(**changes):
    return lambda header: header.update(changes)


@pytest.mark.parametrize("changes, message", [
    ({"format": 3}, "run.npz has checkpoint format 3, wanted 2: it is of a newer version$"),
    ({"format": -1}, "run.npz is damaged: its header.format is -1, wanted a whole number from 0 to"),
    ({"model": "better"}, "run.npz is of the model 'better', wanted 'rnnlm'$"),
    ({"vocabulary": "0" * 64}, "run.npz was trained with another vocabulary than this one of 7 words$"),
    ({"history": [{"epoch": 1}]}, r"run.npz is damaged: its header.history\[0\] lacks 'lr'$"),
    ({"more": 1}, "run.npz is damaged: its header has 'more', which does not belong there$"),
    ({"steps": 2.5}, "run.npz is damaged: its header.steps is 2.5, wanted a whole number"),
    ({"lr": "0.1"}, "run.npz is damaged: its header.lr is '0.1', wanted a finite number of at least 0$"),
    ({"configuration": {"lr": math.nan}}, "run.npz is damaged: its header.configuration.lr is nan, wanted a finite"),
    ({"configuration": {"lr": {}}}, "run.npz is damaged: its header.configuration.lr is {}, wanted a text"),
])
def test_a_file_of_another_format_model_or_vocabulary_or_with_other_facts_is_refused(changes, message, saved):
    rewrite(saved, put(**changes))
    with pytest.raises(InputError, match=message):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("missing", ["model", "vocabulary", "corpus", "history", "configuration"])
def test_a_file_without_what_every_checkpoint_says_is_damaged(missing, saved):
    rewrite(saved, drop(missing))
    with pytest.raises(InputError, match=f"run.npz is damaged: its header lacks '{missing}'$"):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("header, message", [
    ("{", r"^the header of .*run.npz is damaged: its text is no JSON \(Expecting"),
    ("3", "is no checkpoint of a training run"), ("[]", "is no checkpoint"), ("null", "is no checkpoint"),
    ('"format"', "is no checkpoint"), ("{}", "is no checkpoint"), ('{"format": "2"}', "is no checkpoint"),
    ("[" * 100_000, "nested too deep"), ('{"format": 2, "format": 2}', "a key is there twice"),
    ("1" * 5000, "no JSON")], ids=lambda text: text[:20])
def test_a_header_that_is_none_is_refused(header, message, saved):
    write_raw(saved, header)
    with pytest.raises(InputError, match=message) as refused:
        read_checkpoint(saved, "rnnlm", WORDS)
    assert len(str(refused.value)) < 400


def test_an_array_that_is_missing_added_or_changed_is_noticed(saved):
    arrays, header = parts_of(saved)
    text = json.dumps(header)
    write_raw(saved, text, **arrays)
    read_checkpoint(saved, "rnnlm", WORDS)
    others = {
        "missing": {name: array for name, array in arrays.items() if name != "param_1"},
        "added": arrays | {"param_99": arrays["param_1"]},
        "of another shape": arrays | {"param_1": arrays["param_1"][:, :-1]},
        "of another dtype": arrays | {"param_1": arrays["param_1"].astype(float)},
        "changed": arrays | {"param_1": numpy.nextafter(arrays["param_1"], 9)}}
    for name, changed in others.items():
        write_raw(saved, text, **changed)
        with pytest.raises(InputError, match=r"run.npz (is damaged|cannot be read, it is damaged)"):
            read_checkpoint(saved, "rnnlm", WORDS)
            pytest.fail(name)


@pytest.mark.parametrize("name, words", [
    ("param_3", r"a parameter \(param_3\)"), ("memory_2_1", r"a memory of the optimizer \(memory_2_1\)"),
    ("state_1_0", r"a carried state \(state_1_0\)")])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_neither_read_nor_written(name, words, value, saved):
    arrays, _ = parts_of(saved)
    arrays[name].flat[-1] = value
    rewrite(saved, **{name: arrays[name]})
    with pytest.raises(InputError, match=f"run.npz is damaged: {words} is not finite$"):
        read_checkpoint(saved, "rnnlm", WORDS)


def test_an_array_of_another_shape_than_the_header_says_is_refused_before_it_is_read(saved, monkeypatch):
    arrays, header = parts_of(saved)
    write_raw(saved, json.dumps(header), **arrays | {"param_1": numpy.zeros((5, 999), numpy.float32)})
    monkeypatch.setattr(ArrayFile, "read", lambda self, name: pytest.fail("it was read"))
    with pytest.raises(InputError, match="its arrays are not those that were saved"):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("change", [{"corpus": 3}, {"history": [{"epoch": 1}]}, {"more": 1}])
def test_a_header_that_would_be_refused_is_not_written(change, saved):
    before = saved.read_bytes()
    with pytest.raises(InputError, match=r"run.npz is not written: its header"):
        save_checkpoint(saved, better(), HEADER | change)
    assert saved.read_bytes() == before


def test_a_model_that_is_not_finite_leaves_the_file_as_it_was(saved):
    before, model = saved.read_bytes(), better()
    model.params[3].flat[1] = math.nan
    with pytest.raises(NotFinite, match=r"^a parameter \(param_3\) is not finite: "):
        save_checkpoint(saved, model, HEADER)
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("options, message", [
    ({"model": better(size=4)}, "it has float32 of shape .* for memory_0_0, wanted"),
    ({"optimizer": SGD(0.5)}, "it has float32 of shape .* for memory_0_0, wanted nothing"),
    ({"batch_size": 3}, r"it has float32 of shape \(2, 5\) for state_0_0, wanted float32 of shape \(3, 5\)"),
    ({"batch_size": None}, r"it has float32 of shape \(2, 5\) for state_0_0, wanted nothing"),
    ({"lr": None}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"steps": None}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"steps": 0}, "for memory_0_0, wanted nothing"),
])
def test_what_does_not_fit_is_refused_and_nothing_is_changed(options, message, saved):
    model, optimizer = options.get("model", better(seed=1)), options.get("optimizer", Adam(0.5))
    before, lr = copies(model.params), optimizer.lr
    arrays, facts = read_checkpoint(saved, "rnnlm", WORDS)
    facts |= {name: options[name] for name in ("lr", "steps") if name in options}
    facts = {name: fact for name, fact in facts.items() if fact is not None}
    with pytest.raises(InputError, match=message):
        restore(saved, arrays, facts, model, optimizer, options.get("batch_size", 2))
    assert_equal(model.params, before)
    assert (optimizer.lr, optimizer.steps, optimizer.state) == (lr, 0, [])
    assert model.get_state() == [(None, None)] * 2


def test_arrays_are_expected_by_name_shape_and_dtype():
    ones = numpy.ones((2, 3))
    expect_arrays("x.npz", {"a": ones, "b": ones[0]}, {"b": ones[1], "a": 0 * ones})
    for have, want, words in (
            ({"a": ones}, {}, r"it has float64 of shape \(2, 3\) for a, wanted nothing"),
            ({}, {"a": ones}, r"it has nothing for a, wanted float64 of shape \(2, 3\)"),
            ({"b": ones.T, "a": ones}, {"b": ones, "a": ones},
             r"it has float64 of shape \(3, 2\) for b, wanted float64 of shape \(2, 3\)"),
            ({"a": ones}, {"a": ones.astype(numpy.float32)}, r"float64 of shape \(2, 3\) for a, wanted float32 of")):
        with pytest.raises(InputError, match=f"^x.npz does not fit this run: .*{words}"):
            expect_arrays("x.npz", have, want)
