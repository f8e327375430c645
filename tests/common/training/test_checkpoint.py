"""Checkpoints: what is in the file, what comes back from it, and what is refused."""
import json

import numpy
import pytest
from any_device import np

from ch_lstm.better_rnnlm import BetterRnnlm
from ch_lstm.rnnlm import Rnnlm
from common.errors import InputError
from common.optimizer import SGD, Adam
from common.text.vocabulary import Vocabulary
from common.trainer import training_step
from common.training.checkpoint import expect_arrays, read_checkpoint, restore, restore_params, save_checkpoint

WORDS = Vocabulary(list("abcdefg"))
FACTS = {"model": "rnnlm", "vocabulary": WORDS.fingerprint, "anything": [1, None, "x"]}
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
    save_checkpoint(tmp_path / "run.npz", model, FACTS, optimizer)
    expected = train(model, optimizer, 5, 10)

    other, other_optimizer = better(seed=1), make()
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS)
    restore(tmp_path / "run.npz", arrays, facts, other, other_optimizer, batch_size=2)
    assert train(other, other_optimizer, 5, 10) == expected
    assert_equal(other.params, model.params)
    assert other_optimizer.lr == optimizer.lr and other_optimizer.steps == optimizer.steps == 10
    assert {name: facts[name] for name in FACTS} == FACTS


def test_the_file_holds_each_parameter_memory_and_state_once(tmp_path):
    model, optimizer = better(), Adam(0.05)
    train(model, optimizer, 0, 3)
    params = [model.layers[0].params[0], *model.layers[2].params, *model.layers[4].params, model.layers[6].params[1]]
    expected = {f"param_{i}": param for i, param in enumerate(params)}
    expected |= {f"memory_{i}_{j}": memory for i, pair in enumerate(optimizer.state) for j, memory in enumerate(pair)}
    expected |= {f"state_{i}_{j}": state for i, layer in enumerate((model.layers[2], model.layers[4]))
                 for j, state in enumerate((layer.h, layer.c))}
    assert len(expected) == 8 * 3 + 4
    save_checkpoint(tmp_path / "run.npz", model, FACTS, optimizer)
    arrays, facts = read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS)
    assert arrays.keys() == expected.keys()
    assert_equal([arrays[name] for name in expected], expected.values())
    assert facts == FACTS | {"lr": 0.05, "steps": 3, "format": 1, "arrays": sorted(expected)}

    save_checkpoint(tmp_path / "best.npz", model, FACTS)
    arrays, facts = read_checkpoint(tmp_path / "best.npz", "rnnlm", WORDS)
    assert sorted(arrays) == [f"param_{i}" for i in range(8)] == facts["arrays"]
    assert facts.keys() == FACTS.keys() | {"format", "arrays"}


def test_the_parameters_alone_come_back(tmp_path):
    model, other = better(), better(seed=1)
    save_checkpoint(tmp_path / "best.npz", model, FACTS)
    arrays, _ = read_checkpoint(tmp_path / "best.npz", "rnnlm", WORDS)
    restore_params(tmp_path / "best.npz", arrays, other)
    assert_equal(other.params, model.params)
    with pytest.raises(InputError, match=r"best.npz is not of this Rnnlm"):
        restore_params(tmp_path / "best.npz", arrays, Rnnlm(7, 5, 5))


def test_a_learning_rate_that_is_a_whole_number_comes_back(tmp_path):
    optimizer = SGD(2.0)
    save_checkpoint(tmp_path / "run.npz", better(), FACTS, SGD(1))
    restore(tmp_path / "run.npz", *read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS), better(), optimizer, 2)
    assert optimizer.lr == 1


@pytest.mark.parametrize("batch_size", [2, None])
def test_a_checkpoint_from_before_the_first_step_comes_back_without_memories_and_states(batch_size, tmp_path):
    model, other, optimizer = better(), better(seed=1), Adam(0.5)
    save_checkpoint(tmp_path / "run.npz", model, FACTS, Adam(0.05))
    restore(tmp_path / "run.npz", *read_checkpoint(tmp_path / "run.npz", "rnnlm", WORDS), other, optimizer, batch_size)
    assert_equal(other.params, model.params)
    assert (optimizer.lr, optimizer.steps, optimizer.state) == (0.05, 0, [])
    assert other.get_state() == [(None, None)] * 2


def test_states_that_are_not_carried_are_neither_saved_nor_wanted(tmp_path):
    model, optimizer = better(), SGD(1.0)
    train(model, optimizer, 0, 3)
    model.reset_state()
    save_checkpoint(tmp_path / "run.npz", model, FACTS, optimizer)
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
    save_checkpoint(tmp_path / "run.npz", model, FACTS, optimizer)
    return tmp_path / "run.npz"


def rewrite(path, facts):
    """Put other facts, as JSON, into a checkpoint."""
    with numpy.load(path) as file:
        held = {name: file[name] for name in file.files}
    numpy.savez(path, **held | {"facts": numpy.array(facts)})


def facts_of(path):
    with numpy.load(path) as file:
        return json.loads(str(file["facts"]))


@pytest.mark.parametrize("changes, message", [
    ({"format": 2}, "run.npz has checkpoint format 2, wanted 1$"),
    ({"format": 0}, "run.npz has checkpoint format 0, wanted 1$"),
    ({"model": "better"}, "run.npz is of the model 'better', wanted 'rnnlm'$"),
    ({"vocabulary": "0" * 64}, "run.npz was trained with another vocabulary than this one of 7 words$"),
    ({"arrays": ["param_0"]}, "run.npz is damaged: its arrays are not those that were saved$"),
])
def test_a_file_of_another_format_model_or_vocabulary_is_refused(changes, message, saved):
    rewrite(saved, json.dumps(facts_of(saved) | changes))
    with pytest.raises(InputError, match=message):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("missing", ["format", "model", "vocabulary", "arrays"])
def test_a_file_without_what_every_checkpoint_says_is_none(missing, saved):
    rewrite(saved, json.dumps({name: fact for name, fact in facts_of(saved).items() if name != missing}))
    with pytest.raises(InputError, match=r"run.npz is no checkpoint of a training run$"):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("facts", ["{", "3", "[]", "null", '"format"'])
def test_facts_that_are_no_facts_are_refused(facts, saved):
    rewrite(saved, facts)
    with pytest.raises(InputError, match=r"run.npz is no checkpoint of a training run$"):
        read_checkpoint(saved, "rnnlm", WORDS)


@pytest.mark.parametrize("options, message", [
    ({"model": better(size=4)}, "it has float32 of shape .* for memory_0_0, wanted"),
    ({"optimizer": SGD(0.5)}, "it has float32 of shape .* for memory_0_0, wanted nothing"),
    ({"batch_size": 3}, r"it has float32 of shape \(2, 5\) for state_0_0, wanted float32 of shape \(3, 5\)"),
    ({"batch_size": None}, r"it has float32 of shape \(2, 5\) for state_0_0, wanted nothing"),
    ({"lr": None}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"lr": "0.1"}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"steps": None}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"steps": 3.0}, "run.npz is damaged: it lacks the learning rate or the number of steps"),
    ({"steps": 0}, "for memory_0_0, wanted nothing"),
])
def test_what_does_not_fit_is_refused_and_nothing_is_changed(options, message, saved):
    model, optimizer = options.get("model", better(seed=1)), options.get("optimizer", Adam(0.5))
    before, lr = copies(model.params), optimizer.lr
    arrays, facts = read_checkpoint(saved, "rnnlm", WORDS)
    facts |= {name: options[name] for name in ("lr", "steps") if name in options}
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
