"""Two generated tasks that can only be solved by remembering over many time steps.

The adding problem (Hochreiter and Schmidhuber 1997, section 5.4, in the form of Arjovsky et al. 2016)::

    value   0.61  0.09  0.84  0.35  0.27  0.70
    marker  0     1     0     0     1     0         target 0.09 + 0.27

The copy task (Arjovsky et al. 2016, after Hochreiter and Schmidhuber 1997; here with a recall signal for each
answer), 3 symbols remembered over 4 blanks::

    input   c a d . . . . ? ? ?
    target                c a d
"""
import numpy


class AddingProblem:
    """Sequences of numbers, two of them marked; the target is the sum of the two.

    The numbers lie evenly between 0 and 1. One marker is in the first half, one in the second.

    Parameters
    ----------
    length : int
        T, at least 2.
    seed : int or sequence of int
        Of the generator that all batches are drawn from.

    Attributes
    ----------
    error_ignoring_input : float
        Mean squared error of always predicting the mean, 1: the variance of a sum of two numbers, 1/6.
    """

    input_size = 2
    output_size = 1
    answer_steps = 1
    error_ignoring_input = 1 / 6

    def __init__(self, length: int, seed: int = 0) -> None:
        if length < 2:
            raise ValueError(f"AddingProblem: length is {length}, wanted at least 2")
        self.length = length
        self.rng = numpy.random.default_rng(seed)

    def batch(self, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Draw sequences.

        Parameters
        ----------
        size : int
            N.

        Returns
        -------
        xs : numpy.ndarray of float32 (N, T, 2)
            Value and marker of each step.
        ts : numpy.ndarray of float32 (N, 1, 1)
            The sum of the two marked values, for the last step.
        """
        middle = self.length // 2
        rows = numpy.arange(size)
        xs = numpy.zeros((size, self.length, 2), dtype=numpy.float32)  # (N, T, 2)
        xs[:, :, 0] = self.rng.random((size, self.length))
        xs[rows, self.rng.integers(0, middle, size), 1] = 1
        xs[rows, self.rng.integers(middle, self.length, size), 1] = 1
        ts = (xs[:, :, 0] * xs[:, :, 1]).sum(axis=1)  # (N,)
        return xs, ts[:, None, None]


class CopyTask:
    """A few symbols, a stretch of blanks, a recall signal: the symbols must then be repeated in order.

    Parameters
    ----------
    length : int
        Blanks between the last symbol and the first recall signal.
    seed : int or sequence of int
        Of the generator that all batches are drawn from.
    symbols : int
        S, kinds of symbols, all equally likely.
    answer_steps : int
        K, symbols to remember.

    Attributes
    ----------
    error_ignoring_input : float
        Cross entropy of a guess, ln S nats for each symbol.
    """

    def __init__(self, length: int, seed: int = 0, symbols: int = 8, answer_steps: int = 3) -> None:
        self.length = length
        self.symbols = self.output_size = symbols
        self.answer_steps = answer_steps
        self.input_size = symbols + 2
        self.error_ignoring_input = float(numpy.log(symbols))
        self.rng = numpy.random.default_rng(seed)

    def batch(self, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Draw sequences.

        Parameters
        ----------
        size : int
            N.

        Returns
        -------
        xs : numpy.ndarray of float32 (N, K + length + K, S + 2)
            One-hot: a symbol, the blank, or the recall signal.
        ts : numpy.ndarray of int (N, K)
            The symbols, for the last K steps.
        """
        K, blank, recall = self.answer_steps, self.symbols, self.symbols + 1
        ts = self.rng.integers(0, self.symbols, (size, K))  # (N, K)
        ids = numpy.full((size, K + self.length + K), blank)  # (N, T)
        ids[:, :K] = ts
        ids[:, -K:] = recall
        return numpy.eye(self.input_size, dtype=numpy.float32)[ids], ts
