"""How far a reader who steps through a layer has to go from its first line to the formulas."""
import contextlib
import gc
import sys

import numpy
import pytest

from common.layers.gru import GRU, TimeGRU
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.rnn import RNN, TimeRNN

N, T, D, H = 1, 3, 4, 5
FORMULAS = {  # of a step, forward and backward, in order
    "rnn": (["tanh_forward"], ["tanh_backward"]),
    "lstm": (["gates_forward"], ["gates_backward"]),
    "gru": (["reset_forward", "update_forward"], ["update_backward", "reset_backward"]),
    "gru, reset after": (["reset_after_forward"], ["reset_after_backward"]),
}
BLOCKS = {"rnn": (1, 1), "lstm": (4, 4), "gru": (3, 3), "gru, reset after": (3, 4)}
STEPS = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "gru, reset after": GRU}
SEQUENCES = {"rnn": TimeRNN, "lstm": TimeLSTM, "gru": TimeGRU, "gru, reset after": TimeGRU}


def build(kind, classes):
    blocks, biases = BLOCKS[kind]
    options = {"reset_after": True} if kind == "gru, reset after" else {}
    shapes = (D, blocks * H), (H, blocks * H), (biases * H,)
    return classes[kind](*(numpy.random.default_rng(0).standard_normal(shape) for shape in shapes), **options)


@contextlib.contextmanager
def tracing(trace):
    """Trace what the code inside does, and no more.

    Python's collector of garbage calls functions of its own, at any line: finalizers, and what others (Hypothesis)
    put into gc.callbacks. It waits meanwhile.
    """
    collecting, before = gc.isenabled(), sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        if collecting:
            gc.enable()


def walk(formulas, method, *arguments):
    """Return what a reader meets who steps into every line until a formula: the frames he enters, the lines he sees.

    A list of (function names, number of lines), one for each time that a formula is reached. The method itself, the
    formulas and what they call do not count as frames.
    """
    met, frames, lines, formula = [], [], 0, None

    def trace(frame, event, _):
        nonlocal frames, lines, formula
        if formula is None and frame.f_code.co_name in formulas:
            met.append((frames, lines))
            frames, lines, formula = [], 0, frame
        elif formula is not None:
            if frame is formula and event == "return":
                formula = None
        elif event == "call" and frame.f_code is not method.__code__:
            frames.append(frame.f_code.co_name)
        elif event == "line":
            lines += 1
        return trace

    with tracing(trace):
        method(*arguments)
    return met


def passes(kind, classes):
    """Return the walks of forward and backward."""
    layer, rng = build(kind, classes), numpy.random.default_rng(1)
    if classes is SEQUENCES:
        inputs, upstream = [rng.standard_normal((N, T, D))], [rng.standard_normal((N, T, H))]
    else:
        upstream = [rng.standard_normal((N, H)) for _ in range(2 if kind == "lstm" else 1)]
        inputs = [rng.standard_normal((N, D)), *upstream]
    forward, backward = FORMULAS[kind]
    return walk(forward, layer.forward, *inputs), walk(backward, layer.backward, *upstream)


@pytest.mark.parametrize("kind", FORMULAS)
def test_from_the_first_line_of_a_sequence_to_the_formulas(kind):
    for met, formulas in zip(passes(kind, SEQUENCES), FORMULAS[kind]):
        (frames, lines), *_ = met
        assert len(met) == T * len(formulas)
        assert len(frames) <= 10, frames
        assert lines <= 40


@pytest.mark.parametrize("kind", FORMULAS)
def test_from_one_formula_in_the_loop_to_the_next(kind):
    for met in passes(kind, SEQUENCES):
        for frames, _ in met[1:]:
            assert len(frames) <= 3, frames


@pytest.mark.parametrize("kind", FORMULAS)
def test_from_the_first_line_of_one_step_to_the_formulas(kind):
    for met in passes(kind, STEPS):
        (frames, lines), *_ = met
        assert len(frames) <= 10, frames
        assert lines <= 40


@pytest.mark.parametrize("kind", FORMULAS)
def test_what_runs_when_garbage_is_collected_is_not_on_the_path(kind):
    def notice(phase, info):
        return phase

    expected, threshold = passes(kind, SEQUENCES), gc.get_threshold()
    gc.callbacks.append(notice)
    gc.set_threshold(1)
    try:
        assert passes(kind, SEQUENCES) == expected
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(notice)


if __name__ == "__main__":  # the table of them all
    for classes in (STEPS, SEQUENCES):
        for kind in FORMULAS:
            for direction, met in zip(("forward", "backward"), passes(kind, classes)):
                in_loop = max((len(frames) for frames, _ in met[1:]), default="-")
                print(f"{build(kind, classes).__class__.__name__:8} {kind:16} {direction:8} "
                      f"{len(met[0][0]):3} frames {met[0][1]:3} lines, in the loop {in_loop}")
