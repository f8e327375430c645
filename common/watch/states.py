"""Measures of what the states of a recurrent network know, computed on the host from recorded states.

See Karpathy, Johnson and Fei-Fei 2016, who found cells of character LSTMs that follow the position in a line, and
cells that are on inside quotes. A cell is compared with a signal of the text: a number for each character, such as
1 inside quotes and 0 outside. Among many cells, one fits any signal a little, so choose a cell on one text,
measure it on another, and compare with `chance_correlation`.
"""
import numpy

from common.device.ids import known_ids
from common.language_model.model import LanguageModel
from common.np import ArrayLike, np

LINE_WIDTH = 80  # characters; from here on the position in a line no longer grows
_QUOTES = {'"': '"', "«": "»", "\u201c": "\u201d"}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def recorded_states(model: LanguageModel, ids: ArrayLike) -> list[dict[str, numpy.ndarray]]:
    """Let a language model read a text, from a state of zeros, and keep all states.

    Parameters
    ----------
    model : LanguageModel
    ids : array of int (T,)

    Returns
    -------
    list of dict of str to numpy.ndarray (T, H)
        For each recurrent layer "h" and, for an LSTM, "c". `common.watch.trace` records everything else too, which
        for a long text takes much longer.
    """
    xs, recorded = known_ids(numpy.asarray(ids)[None]), []  # (1, T)
    for layer in model.layers[:model.layers.index(model.recurrent_layers[-1]) + 1]:
        if hasattr(layer, "train_flg"):
            layer.train_flg = False
        if layer in model.recurrent_layers:
            states = _replay(layer, xs)
            recorded.append({name: np.to_cpu(array[0]) for name, array in states.items()})
            xs = states["h"]  # (1, T, H)
        else:
            xs = layer.forward(xs)  # (1, T, ...)
    model.forget()
    return recorded


def _replay(layer, xs):
    """Run a recurrent layer step by step and return its states by name, (1, T, H) each."""
    step = layer.step
    state = tuple(np.zeros((1, layer.hidden_size), dtype=xs.dtype) for _ in layer.state)  # (1, H) each
    states = []
    for t in range(xs.shape[1]):
        result = step.forward(xs[:, t], *state)
        state = result if isinstance(result, tuple) else (result,)
        states.append(state)
    return {name: np.stack(each, axis=1) for name, each in zip("hc", zip(*states))}


# Signals of a text


def position_in_line(text: str) -> numpy.ndarray:
    """Return the number of characters before each character in its line, divided by 80, at most 1; (T,)."""
    signal, position = numpy.zeros(len(text)), 0  # (T,)
    for t, character in enumerate(text):
        signal[t] = min(position / LINE_WIDTH, 1)
        position = 0 if character == "\n" else position + 1
    return signal


def inside_quotes(text: str) -> numpy.ndarray:
    """Return 1 from an opening double quote to the character before the closing one, else 0; (T,).

    A quote that does not end before the next empty line is ignored: one stray mark would otherwise exchange
    inside and outside in the rest of the text.
    """
    return _inside(text, _QUOTES)


def inside_brackets(text: str) -> numpy.ndarray:
    """Return 1 from an opening bracket to the character before its closing one, else 0; (T,).

    Brackets may be nested; one that is not closed before the next empty line is ignored.
    """
    return _inside(text, _BRACKETS)


def _inside(text, closing):
    signal = numpy.zeros(len(text))  # (T,)
    opened: list[tuple[int, str]] = []  # (where, what closes it)
    for t, character in enumerate(text):
        if text.startswith("\n\n", t):
            opened.clear()
        if opened and character == opened[-1][1]:
            signal[opened.pop()[0]:t] = 1
        elif character in closing:
            opened.append((t, closing[character]))
    return signal


def inside_capitals(text: str) -> numpy.ndarray:
    """Return 1 at the letters of words of two capitals or more, from the second letter on, else 0; (T,)."""
    signal = numpy.zeros(len(text))  # (T,)
    for t in range(1, len(text)):
        signal[t] = text[t].isupper() and (text[t - 1].isupper() or signal[t - 1] == 1)
    return signal


def line_indent(text: str) -> numpy.ndarray:
    """Return the number of spaces at the beginning of each character's line, counted up to that character; (T,)."""
    signal = numpy.zeros(len(text))  # (T,)
    spaces, leading = 0, True
    for t, character in enumerate(text):
        leading = leading and character == " "
        spaces += leading
        signal[t] = spaces
        if character == "\n":
            spaces, leading = 0, True
    return signal


SIGNALS = {
    "position": position_in_line,
    "quotes": inside_quotes,
    "brackets": inside_brackets,
    "capitals": inside_capitals,
    "indent": line_indent,
}


# Cells that follow a signal


def correlations(states: numpy.ndarray, signal: numpy.ndarray) -> numpy.ndarray:
    """Return Pearson's correlation of each cell with a signal.

    Parameters
    ----------
    states : numpy.ndarray (T, H)
    signal : numpy.ndarray (T,)

    Returns
    -------
    numpy.ndarray (H,)
        From -1 to 1; 0 for a cell that never changes.

    Raises
    ------
    ValueError
        The lengths differ, or the signal never changes: then nothing can follow it.
    """
    states, signal = numpy.asarray(states, dtype=numpy.float64), numpy.asarray(signal, dtype=numpy.float64)
    if states.ndim != 2 or signal.shape != states.shape[:1]:
        raise ValueError(f"correlations: wanted states (T, H) and a signal (T,), got {states.shape} and {signal.shape}")
    if len(signal) < 2 or (signal == signal[0]).all():
        raise ValueError("correlations: the signal is the same at all time steps, no cell can follow it")
    states = states - states.mean(axis=0)  # (T, H)
    signal = signal - signal.mean()  # (T,)
    lengths = numpy.linalg.norm(states, axis=0) * numpy.linalg.norm(signal)  # (H,)
    constant = numpy.ptp(states, axis=0) == 0  # (H,)
    return (signal @ states) / numpy.where(lengths == 0, 1, lengths) * ~constant


def following_cells(states: numpy.ndarray, signal: numpy.ndarray, top: int | None = None) -> list[tuple[int, float]]:
    """Rank the cells by how closely they follow a signal.

    Parameters
    ----------
    states : numpy.ndarray (T, H)
    signal : numpy.ndarray (T,)
    top : int, optional
        Number of cells; by default all.

    Returns
    -------
    list of (int, float)
        Cells and their correlations, the largest absolute value first.
    """
    found = correlations(states, signal)  # (H,)
    order = numpy.argsort(-numpy.abs(found), kind="stable")[:top]
    return [(int(cell), float(found[cell])) for cell in order]


def chance_correlation(states: numpy.ndarray, signal: numpy.ndarray, trials: int = 100, share: float = 0.95,
                       seed: int = 0) -> float:
    """Return how large the best of the cells' correlations with a signal is by chance.

    The signal is rotated in time by a random part of its length, so that it keeps its own pattern and loses
    its place in the text, and the best of all cells is taken, as in the search.

    Parameters
    ----------
    states : numpy.ndarray (T, H)
    signal : numpy.ndarray (T,)
    trials : int
        Number of rotations.
    share : float
        Share of the trials that are at or below the result.
    seed : int

    Returns
    -------
    float
        An absolute value.
    """
    rng, T = numpy.random.default_rng(seed), len(signal)
    shifts = rng.integers(T // 10, T - T // 10, trials) if T >= 10 else rng.integers(0, T, trials)  # (trials,)
    best = [numpy.abs(correlations(states, numpy.roll(signal, shift))).max() for shift in shifts]
    return float(numpy.quantile(best, share))


# The shape of the states


def principal_components(states: numpy.ndarray, count: int = 2) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Project states onto the directions in which they vary most.

    Parameters
    ----------
    states : numpy.ndarray (T, H)
    count : int
        K.

    Returns
    -------
    projected : numpy.ndarray (T, K)
        With mean 0. In each component the entry that is largest in absolute value is positive: the sign
        of a component is arbitrary, and this rule fixes it. Components beyond H or T are zeros.
    shares : numpy.ndarray (K,)
        Of the variance, from 0 to 1.
    """
    states = numpy.asarray(states, dtype=numpy.float64)
    U, s, _ = numpy.linalg.svd(states - states.mean(axis=0), full_matrices=False)
    projected, shares = numpy.zeros((len(states), count)), numpy.zeros(count)  # (T, K), (K,)
    found = min(count, len(s))
    projected[:, :found] = U[:, :found] * s[:found]
    largest = projected[numpy.abs(projected).argmax(axis=0), range(count)]  # (K,)
    if s.any():
        shares[:found] = s[:found]**2 / (s**2).sum()
    return projected * numpy.where(largest < 0, -1, 1), shares
