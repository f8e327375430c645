"""Two recurrent layers that read the same sequence, one forwards and one backwards (Schuster and Paliwal 1997)."""
from common.layers.base import Layer
from common.layers.gru import TimeGRU
from common.layers.lstm import TimeLSTM
from common.layers.packing import checked_lengths, reverse
from common.layers.recurrent import RecurrentLayer
from common.layers.rnn import TimeRNN
from common.np import Array, ArrayLike, np


class TimeBidirectional(Layer):
    """Joins a layer that reads forwards and one that reads backwards; its output is both side by side.

    Parameters
    ----------
    forwards, backwards : RecurrentLayer
        Two layers of the same kind and sizes.

    Attributes
    ----------
    h, c : ndarray (2, N, H) or None
        Final states: those of the forward reader at the end of each sequence, those of the backward reader at its
        beginning. Only an LSTM has c.
    dh, dc : ndarray (2, N, H) or None
        Gradients, set by backward, with respect to the states that the readers began with.
    """

    def __init__(self, forwards: RecurrentLayer, backwards: RecurrentLayer) -> None:
        super().__init__()
        self.readers = [forwards, backwards]
        self.params = forwards.params + backwards.params
        self.grads = forwards.grads + backwards.grads
        for name, there, here in zip(("Wx", "Wh"), forwards.params, backwards.params):
            self.expect(f"{name} of the backward reader", here, there.shape)

    @property
    def hidden_size(self) -> int:
        """H, the size of one reader's state."""
        return self.readers[0].hidden_size

    @property
    def h(self) -> Array | None:
        return self._both("h")

    @property
    def c(self) -> Array | None:
        return self._both("c")

    @property
    def dh(self) -> Array | None:
        return self._both("dh")

    @property
    def dc(self) -> Array | None:
        return self._both("dc")

    def _both(self, name):
        states = [getattr(reader, name) for reader in self.readers]
        return None if any(state is None for state in states) else np.stack(states)  # (2, N, H)

    @property
    def state(self) -> tuple[Array | None, ...]:
        """The carried state, as `set_state` takes it: (h,) or (h, c), each (2, N, H)."""
        return tuple(self._both(name) for name in ("h", "c") if hasattr(self.readers[0], name))

    def set_state(self, *states: Array | None) -> None:
        """Let the next forward start from h (2, N, H), for an LSTM also c (2, N, H); None stands for zeros."""
        for name, state in zip(("h", "c"), states):
            self._expect_states(name, state)
        for direction, reader in enumerate(self.readers):
            reader.set_state(*(None if state is None else state[direction] for state in states))

    def _expect_states(self, name, states, N="N"):
        if states is not None:
            self.expect(name, states, (2, N, self.hidden_size))

    def reset_state(self) -> None:
        """Let the next forward start from zeros."""
        for reader in self.readers:
            reader.reset_state()

    def forward(self, xs: Array, lengths: ArrayLike | None = None) -> Array:
        """Map xs (N, T, D) to (N, T, 2H): the forward states, then the backward ones.

        Parameters
        ----------
        xs : ndarray (N, T, D)
        lengths : sequence of int (N,), optional
            Real steps of each sequence; the backward reader starts at its own last real step.
        """
        forwards, backwards = self.readers
        self.expect("xs", xs, ("N", "T", self.params[0].shape[0]))
        if lengths is not None:
            lengths = checked_lengths(lengths, *xs.shape[:2])
        self.cache = xs.shape, lengths
        hs = forwards.forward(xs, lengths)  # (N, T, H)
        hs_back = backwards.forward(reverse(xs, lengths), lengths)  # (N, T, H)
        return np.concatenate((hs, reverse(hs_back, lengths)), axis=2)  # (N, T, 2H)

    def backward(self, dhs: Array, dh: Array | None = None, dc: Array | None = None) -> Array:
        """Map the gradients of the states to those of the input.

        Parameters
        ----------
        dhs : ndarray (N, T, 2H)
        dh, dc : ndarray (2, N, H), optional
            Gradients that arrive at the final states from elsewhere; dc is for an LSTM.

        Returns
        -------
        ndarray (N, T, D)
        """
        (N, T, _), lengths = self.recall()
        H = self.hidden_size
        self.expect("dhs", dhs, (N, T, 2 * H))
        if dc is not None and not hasattr(self.readers[0], "c"):
            raise ValueError(f"{self._name}: dc is given, but only an LSTM has cells")
        self._expect_states("dh", dh, N)
        self._expect_states("dc", dc, N)
        forwards, backwards = self.readers
        dstates = (dh, dc)[:len(forwards.state)]
        front, back = ([None if state is None else state[direction] for state in dstates] for direction in range(2))
        dxs = forwards.backward(dhs[:, :, :H], *front)  # (N, T, D)
        dxs_back = backwards.backward(reverse(dhs[:, :, H:], lengths), *back)  # (N, T, D)
        return dxs + reverse(dxs_back, lengths)

    def _options(self):
        return list(map(repr, self.readers))


class TimeBiRNN(TimeBidirectional):
    """Bidirectional simple RNN; arguments as of two `TimeRNN`."""

    def __init__(self, Wx1: Array, Wh1: Array, b1: Array, Wx2: Array, Wh2: Array, b2: Array,
                 stateful: bool = False, activation: str = "tanh") -> None:
        super().__init__(TimeRNN(Wx1, Wh1, b1, stateful, activation), TimeRNN(Wx2, Wh2, b2, stateful, activation))


class TimeBiLSTM(TimeBidirectional):
    """Bidirectional LSTM; arguments as of two `TimeLSTM`."""

    def __init__(self, Wx1: Array, Wh1: Array, b1: Array, Wx2: Array, Wh2: Array, b2: Array,
                 stateful: bool = False) -> None:
        super().__init__(TimeLSTM(Wx1, Wh1, b1, stateful), TimeLSTM(Wx2, Wh2, b2, stateful))


class TimeBiGRU(TimeBidirectional):
    """Bidirectional GRU; arguments as of two `TimeGRU`."""

    def __init__(self, Wx1: Array, Wh1: Array, b1: Array, Wx2: Array, Wh2: Array, b2: Array,
                 stateful: bool = False, reset_after: bool = False) -> None:
        super().__init__(TimeGRU(Wx1, Wh1, b1, stateful, reset_after), TimeGRU(Wx2, Wh2, b2, stateful, reset_after))
