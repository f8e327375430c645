"""Several recurrent layers on top of each other."""
from typing import Any

from common.layers.base import Layer
from common.layers.bidirectional import TimeBidirectional
from common.layers.dense import checked_dropout_ratio
from common.layers.gru import TimeGRU
from common.layers.initial import uniform
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.time import TimeDropout
from common.np import Array, ArrayLike, DTypeLike, np

CELLS = {"rnn": (TimeRNN, 1), "lstm": (TimeLSTM, 4), "gru": (TimeGRU, 3)}  # layer, gate blocks


class TimeStack(Layer):
    """A stack of recurrent layers, each reading the states of the one below; Graves et al. 2013.

    Inputs, outputs and states have the shapes that torch.nn.RNN, LSTM and GRU document. With L
    layers and S = 1 direction or 2, the states are (L S, N, H), layer by layer, forwards before
    backwards.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    input_size, hidden_size : int
        D and H.
    num_layers : int
        L.
    bidirectional : bool
    dropout : float
        Ratio for the `TimeDropout` between two layers, in [0, 1).
    batch_first : bool
        Whether input and output are (N, T, ...) rather than (T, N, ...). States are not concerned.
    dtype : dtype
    **options
        For the layers: `activation` of an RNN, `reset_after` of a GRU.

    Attributes
    ----------
    train_flg : bool
        While it is False, nothing is dropped.

    Notes
    -----
    Weights are drawn evenly from +-1 / sqrt(H), as PyTorch draws them.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False,
                 dropout: float = 0.0, batch_first: bool = True, dtype: DTypeLike = np.float32, **options: Any) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"TimeStack: cell is {cell!r}, wanted one of {', '.join(CELLS)}")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size < 1:
                raise ValueError(f"TimeStack: {name} is {size}, wanted at least 1")
        self.dropout = checked_dropout_ratio(dropout)
        self.hidden_size, self.bidirectional, self.batch_first = hidden_size, bidirectional, batch_first
        directions = 2 if bidirectional else 1
        self.layers, self.dropouts = [], []
        for layer in range(num_layers):
            size = input_size if layer == 0 else directions * hidden_size
            readers = [self._reader(cell, size, dtype, options) for _ in range(directions)]
            self.layers.append(TimeBidirectional(*readers) if bidirectional else readers[0])
            if layer > 0:
                self.dropouts.append(TimeDropout(dropout))
        self.params = [param for layer in self.layers for param in layer.params]
        self.grads = [grad for layer in self.layers for grad in layer.grads]
        self.train_flg = True

    def _reader(self, cell, size, dtype, options):
        """Return one recurrent layer with fresh weights."""
        time_layer, blocks = CELLS[cell]
        H, bound = self.hidden_size, self.hidden_size**-0.5
        biases = 4 * H if options.get("reset_after") else blocks * H
        shapes = (size, blocks * H), (H, blocks * H), (biases,)
        return time_layer(*(uniform(shape, bound, dtype) for shape in shapes), stateful=True, **options)

    def forward(self, xs: Array, h0: Array | None = None, c0: Array | None = None,
                lengths: ArrayLike | None = None) -> tuple[Array, ...]:
        """Run the stack.

        Parameters
        ----------
        xs : ndarray (N, T, D), or (T, N, D) without batch_first
        h0, c0 : ndarray (L S, N, H), optional
            Initial states; zeros by default. c0 is for an LSTM.
        lengths : sequence of int (N,), optional
            Real steps of each sequence.

        Returns
        -------
        output : ndarray (N, T, S H), or (T, N, S H)
            States of the last layer at all steps.
        h_n : ndarray (L S, N, H)
            Final states of each layer.
        c_n : ndarray (L S, N, H)
            For an LSTM only.
        """
        if c0 is not None and not hasattr(self.layers[0], "c"):
            raise ValueError("TimeStack: c0 is given, but only an LSTM has cells")
        states = (h0, c0)[:len(self.layers[0].state)]
        self.expect("xs", xs, (*(("N", "T") if self.batch_first else ("T", "N")), self.params[0].shape[0]))
        N = xs.shape[0 if self.batch_first else 1]
        self._expect_states(("h0", "c0"), states, N)
        xs = xs if self.batch_first else xs.swapaxes(0, 1)  # (N, T, D)
        for i, layer in enumerate(self.layers):
            if i > 0:
                self.dropouts[i - 1].train_flg = self.train_flg
                xs = self.dropouts[i - 1].forward(xs)
            layer.set_state(*(None if state is None else self._of_layer(state, i) for state in states))
            xs = layer.forward(xs, lengths)  # (N, T, S H)
        output = xs if self.batch_first else xs.swapaxes(0, 1)
        self.cache = output.shape, N, len(states)
        return output, *(self._joined([layer.state[k] for layer in self.layers]) for k in range(len(states)))

    def backward(self, doutput: Array, dh_n: Array | None = None, dc_n: Array | None = None) -> tuple[Array, ...]:
        """Run the stack backwards.

        Parameters
        ----------
        doutput : ndarray of the shape of output
        dh_n, dc_n : ndarray (L S, N, H), optional
            Gradients that arrive at the final states.

        Returns
        -------
        dxs : ndarray of the shape of xs
        dh0 : ndarray (L S, N, H)
        dc0 : ndarray (L S, N, H)
            For an LSTM only.
        """
        shape, N, count = self.recall()
        self.expect("doutput", doutput, shape)
        if dc_n is not None and count < 2:
            raise ValueError("TimeStack: dc_n is given, but only an LSTM has cells")
        dstates = (dh_n, dc_n)[:count]
        self._expect_states(("dh_n", "dc_n"), dstates, N)
        dxs = doutput if self.batch_first else doutput.swapaxes(0, 1)  # (N, T, S H)
        for i, layer in reversed(list(enumerate(self.layers))):
            dxs = layer.backward(dxs, *(None if state is None else self._of_layer(state, i) for state in dstates))
            if i > 0:
                dxs = self.dropouts[i - 1].backward(dxs)
        dxs = dxs if self.batch_first else dxs.swapaxes(0, 1)
        return dxs, *(self._joined([getattr(layer, name) for layer in self.layers])
                      for name in ("dh", "dc")[:count])

    def _expect_states(self, names, states, N):
        readers = len(self.layers) * (2 if self.bidirectional else 1)
        for name, state in zip(names, states):
            if state is not None:
                self.expect(name, state, (readers, N, self.hidden_size))

    def _of_layer(self, state, i):
        """Return the part of a state (L S, N, H) that belongs to layer i: (N, H), or (2, N, H) with two directions."""
        return state[2 * i:2 * i + 2] if self.bidirectional else state[i]

    def _joined(self, states):
        """Return the states of all layers as (L S, N, H)."""
        return np.concatenate(states) if self.bidirectional else np.stack(states)

    def _options(self):
        dropout = [f"dropout={self.dropout}"] if self.dropout else []
        return [*map(repr, self.layers), *dropout, *([] if self.batch_first else ["time first"])]
