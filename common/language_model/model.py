"""What every language model shares: a stack of layers from ids to scores, and a loss on top."""
import contextlib

from common.base_model import BaseModel
from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.time import TimeDropout, TimeSoftmaxWithLoss
from common.np import np


class LanguageModel(BaseModel):
    """Predicts each next token from all before it: ids (N, T) to scores (N, T, V).

    A subclass gives its layers, from an embedding to a `TimeAffine` of V outputs, to `stack`.
    Its recurrent layers carry their state from call to call.

    Parameters
    ----------
    vocab_size : int
    seed : int or None
        Restarts the random generators, from which weights and dropout masks are drawn; None leaves them alone.
    """

    def __init__(self, vocab_size, seed=None):
        super().__init__()
        if seed is not None:
            np.seed(seed)
        self.vocab_size = vocab_size

    def stack(self, layers, fast):
        """Take the layers, and a loss for their scores.

        Parameters
        ----------
        layers : list of Layer
        fast : bool
            Whether to take, over the same weights, `FastTimeLSTM` in the place of each `TimeLSTM` and `FastTimeRNN`
            in that of each `TimeRNN` with tanh (on a CPU; on a GPU the plain ones are fast), and for training and
            evaluation `TimeAffineSoftmaxWithLoss` in the place of the last layer and `TimeSoftmaxWithLoss`. The
            plain layers can be read step by step.
        """
        self.fast = fast
        self.layers = [_fast_form(layer) for layer in layers] if fast else layers
        if fast:
            self.loss_layer = TimeAffineSoftmaxWithLoss(*layers[-1].params)
            self.loss_layer.grads = layers[-1].grads
        else:
            self.loss_layer = TimeSoftmaxWithLoss()
        self.collect_params()

    def predict(self, xs, train_flg=False):
        """Map ids xs (N, T) to the scores (N, T, V) of each next token; `backward` needs a new `forward` after it.

        Parameters
        ----------
        xs : ndarray of int (N, T)
        train_flg : bool
            Whether dropout is on.
        """
        self.forget()
        return self._through(self.layers, xs, train_flg)

    def forward(self, xs, ts, train_flg=True):
        """Return the mean cross entropy, in nats, of targets ts (N, T) after ids xs (N, T).

        Targets of -1 do not count.
        """
        if self.fast:
            return self.loss_layer.forward(self._through(self.layers[:-1], xs, train_flg), ts, train_flg)
        return self.loss_layer.forward(self.predict(xs, train_flg), ts)

    def backward(self, dout=1):
        """Set all gradients of the last forward, times dout."""
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers[:-1] if self.fast else self.layers):
            dout = layer.backward(dout)

    def _through(self, layers, xs, train_flg):
        for layer in layers:
            if isinstance(layer, TimeDropout):
                layer.train_flg = train_flg
            xs = layer.forward(xs)
        return xs

    @property
    def recurrent_layers(self):
        """The layers that carry a state."""
        return [layer for layer in self.layers if hasattr(layer, "reset_state")]

    def reset_state(self):
        """Let the next forward start from zeros."""
        for layer in self.recurrent_layers:
            layer.reset_state()

    def get_state(self):
        """Return the carried states: for each recurrent layer a tuple, (h,) or (h, c)."""
        return [layer.state for layer in self.recurrent_layers]

    def set_state(self, states):
        """Put states that `get_state` returned back."""
        for layer, state in zip(self.recurrent_layers, states, strict=True):
            layer.set_state(*state)

    @contextlib.contextmanager
    def fresh_state(self):
        """Within the block the state starts from zeros; after it the old one is back.

        A `backward` then needs a new `forward`.
        """
        states = self.get_state()
        self.reset_state()
        try:
            yield
        finally:
            self.set_state(states)
            self.forget()


def _fast_form(layer):
    """Return the fast form of a layer on a CPU, over the same weights, or the layer itself where there is none."""
    if np.backend == "numpy" and type(layer) is TimeLSTM:
        return FastTimeLSTM(*layer.params, layer.stateful)
    if np.backend == "numpy" and type(layer) is TimeRNN and layer.activation_name == "tanh":
        return FastTimeRNN(*layer.params, layer.stateful)
    return layer
