"""A recurrent layer whose last states are read out, and the gradient that arrives at each of its states."""
import numpy

from common.base_model import BaseModel
from common.layers.base import Layer
from common.layers.gru import split_blocks
from common.layers.initial import affine_weights, recurrent_weights
from common.layers.lstm import split_gates
from common.layers.stack import CELLS
from common.layers.time import TimeAffine
from common.np import Array, DTypeLike, np


class MemoryModel(BaseModel):
    """One recurrent layer, an affine map of its last K states, and a loss.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    input_size, hidden_size, output_size : int
        D, H and M.
    answer_steps : int
        K.
    loss_layer : Layer
        With `forward(ys, ts)` for ys (N, K, M), and `backward(dout)`.
    memory_bias : float
        How long the gates hold on to a state at first. The forget gates' biases of an LSTM are spread evenly from 0
        to memory_bias, those of its input gates are their opposites, and so are those of a GRU's update gates. A
        bias of b means a time constant of 1 + e^b steps: 2 for b = 0, 2982 for b = 8. After Tallec and Ollivier
        2018, who draw the time constants evenly, where here their logarithms are even. An RNN has no gates.
    seed : int, optional
        Restarts the random generators, from which the initial weights are drawn.
    dtype : dtype
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, output_size: int, answer_steps: int,
                 loss_layer: Layer, memory_bias: float = 0.0, seed: int | None = None,
                 dtype: DTypeLike = np.float32) -> None:
        super().__init__(seed)
        time_layer, gates = CELLS[cell]
        Wx, Wh, b = recurrent_weights(input_size, hidden_size, gates, dtype)
        hold = np.to_device(numpy.linspace(0, memory_bias, hidden_size, dtype=dtype))  # (H,)
        if cell == "lstm":
            forget, _, input_gate, _ = split_gates(b)  # (H,) each
            forget += hold
            input_gate -= hold
        elif cell == "gru":
            update, _, _ = split_blocks(b)  # (H,) each
            update -= hold
        self.recurrent = time_layer(Wx, Wh, b)
        self.affine = TimeAffine(*affine_weights(hidden_size, output_size, dtype))
        self.loss_layer = loss_layer
        self.answer_steps = answer_steps
        self.layers = [self.recurrent, self.affine]
        self.collect_params()

    def forward(self, xs: Array, ts: Array) -> Array:
        """Return the loss of the answers to xs (N, T, D) against targets ts."""
        self.hs = self.recurrent.forward(xs)  # (N, T, H)
        return self.loss_layer.forward(self.affine.forward(self.hs[:, -self.answer_steps:]), ts)

    def backward(self, dout: float | Array = 1) -> None:
        """Set all gradients of the last forward, times dout."""
        self.recurrent.backward(self._read_out_backward(dout))

    def _read_out_backward(self, dout=1):
        """Return the gradient that the answers send to the states, (N, T, H): zeros before the last K steps."""
        dhs = np.zeros_like(self.hs)  # (N, T, H)
        dhs[:, -self.answer_steps:] = self.affine.backward(self.loss_layer.backward(dout))
        return dhs

    def state_gradients(self, xs: Array, ts: Array) -> Array:
        """Return dL/dh_t, the gradient of the loss with respect to the hidden state after each step.

        The layer is unrolled into a copy for each step, all over the same weights. Backwards, each copy leaves in
        its `dh` what it sends to the state before it; to that comes what the answers send. For an LSTM, dL/dh_t is
        the derivative with c_t held fixed.

        Parameters
        ----------
        xs : ndarray (N, T, D)
        ts : ndarray

        Returns
        -------
        ndarray (N, T + 1, H)
            From t = 0, the zeros that the sequences begin with, to t = T.
        """
        self.forward(xs, ts)
        dhs = self._read_out_backward()  # (N, T, H)
        gradients = np.concatenate((np.zeros_like(dhs[:, :1]), dhs), axis=1)  # (N, T + 1, H)
        steps = []
        state = (None,)
        for t in range(xs.shape[1]):
            step = type(self.recurrent)(*self.recurrent.params, stateful=True)
            step.set_state(*state)
            step.forward(xs[:, t:t + 1])
            state = step.state
            steps.append(step)
        dstate: list[Array] = []
        for t, step in reversed(list(enumerate(steps))):
            step.backward(dhs[:, t:t + 1], *dstate)
            dstate = [getattr(step, name) for name in ("dh", "dc")[:len(state)]]
            gradients[:, t] += step.dh
        return gradients
