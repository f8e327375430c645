"""The obvious design, to measure against: one layer object for each time step.

The three language models in the way that chapters 5 and 6 of the book build them: each time
layer makes T step layers over the same weights, calls them one by one, and adds up their
gradients; the output layer keeps whole (N * T, V) arrays of scores and probabilities. All in
float32, with the same weights and the same results as the models of ch_rnn and ch_lstm.
"""
from common.layers.lstm import LSTM
from common.layers.rnn import RNN
from common.np import np
from common.training.clip import memory_bounds


class EmbeddingStep:
    """Rows of W for the ids of one step; the gradient is added row by row."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]

    def backward(self, dout):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.idx, dout)


class PerStepEmbedding:
    """An embedding for each step of (N, T) ids."""

    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, xs):
        N, T = xs.shape
        out = np.empty((N, T, self.params[0].shape[1]), dtype=self.params[0].dtype)
        self.steps = []
        for t in range(T):
            step = EmbeddingStep(*self.params)
            out[:, t] = step.forward(xs[:, t])
            self.steps.append(step)
        return out

    def backward(self, dout):
        total = np.zeros_like(self.params[0])
        for t, step in enumerate(self.steps):
            step.backward(dout[:, t])
            total += step.grads[0]
        self.grads[0][...] = total


class PerStepRecurrent:
    """A step layer (RNN or LSTM) for each step, the state carried between calls."""

    def __init__(self, cell, *params):
        self.cell, self.params = cell, list(params)
        self.grads = [np.zeros_like(param) for param in params]
        self.state = None

    def forward(self, xs):
        N, T, _ = xs.shape
        H = self.params[1].shape[0]
        dtype = self.params[0].dtype
        states = 2 if self.cell is LSTM else 1
        if self.state is None:
            self.state = tuple(np.zeros((N, H), dtype=dtype) for _ in range(states))
        hs = np.empty((N, T, H), dtype=dtype)
        self.steps = []
        for t in range(T):
            step = self.cell(*self.params)
            result = step.forward(xs[:, t], *self.state)
            self.state = result if states == 2 else (result,)
            hs[:, t] = self.state[0]
            self.steps.append(step)
        return hs

    def backward(self, dhs):
        N, T, H = dhs.shape
        dxs = np.empty((N, T, self.params[0].shape[0]), dtype=dhs.dtype)
        totals = [np.zeros_like(param) for param in self.params]
        dstate = [np.zeros((N, H), dtype=dhs.dtype) for _ in self.state]
        for t in reversed(range(T)):
            dxs[:, t], *dstate = self.steps[t].backward(dhs[:, t] + dstate[0], *dstate[1:])
            for total, grad in zip(totals, self.steps[t].grads):
                total += grad
        for grad, total in zip(self.grads, totals):
            grad[...] = total
        return dxs


class PerStepAffine:
    """One product over all N * T rows."""

    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]

    def forward(self, x):
        W, b = self.params
        self.x = x
        return (np.dot(x.reshape(-1, W.shape[0]), W) + b).reshape(*x.shape[:2], -1)

    def backward(self, dout):
        W, _ = self.params
        rows, drows = self.x.reshape(-1, W.shape[0]), dout.reshape(-1, W.shape[1])
        self.grads[0][...] = np.dot(rows.T, drows)
        self.grads[1][...] = np.sum(drows, axis=0)
        return np.dot(drows, W.T).reshape(self.x.shape)


class PerStepSoftmaxWithLoss:
    """Probabilities of all rows, then the logarithm of those of the targets."""

    def forward(self, xs, ts):
        N, T, V = xs.shape
        rows = xs.reshape(N * T, V)
        rows = rows - rows.max(axis=1, keepdims=True)
        rows = np.exp(rows)
        self.probabilities = rows / rows.sum(axis=1, keepdims=True)
        self.targets, self.shape = ts.reshape(N * T), xs.shape
        return -np.log(self.probabilities[np.arange(N * T), self.targets]).mean()

    def backward(self):
        dx = self.probabilities
        dx[np.arange(len(dx)), self.targets] -= 1
        dx /= np.float32(len(dx))
        return dx.reshape(self.shape)


class PerStepDropout:
    """A scaled mask over all steps."""

    params, grads = [], []

    def __init__(self, ratio):
        self.ratio = ratio

    def forward(self, xs):
        scale = np.float32(1 / (1 - self.ratio))
        self.mask = (np.rng.random(xs.shape) > self.ratio).astype(np.float32) * scale
        return xs * self.mask

    def backward(self, dout):
        return dout * self.mask


class PerStepModel:
    """The layers of a language model of this project, rebuilt in the per-step design.

    Parameters
    ----------
    model : LanguageModel
        Its weight arrays are copied, tied ones kept tied.
    """

    def __init__(self, model):
        copies = {}

        def copy(param):
            key, _ = memory_bounds(param)
            if key not in copies:
                copies[key] = (param, param.copy())
            original, duplicate = copies[key]
            return duplicate if original.shape == param.shape else duplicate.T

        makers = {
            "TimeEmbedding": PerStepEmbedding,
            "TimeRNN": lambda *params: PerStepRecurrent(RNN, *params),
            "TimeLSTM": lambda *params: PerStepRecurrent(LSTM, *params),
            "TimeAffine": PerStepAffine,
        }
        self.layers = []
        for layer in model.layers:
            if type(layer).__name__ == "TimeDropout":
                self.layers.append(PerStepDropout(layer.dropout_ratio))
            else:
                self.layers.append(makers[type(layer).__name__](*map(copy, layer.params)))
        self.loss_layer = PerStepSoftmaxWithLoss()
        self.params = [param for layer in self.layers for param in layer.params]
        self.grads = [grad for layer in self.layers for grad in layer.grads]

    def forward(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.loss_layer.forward(xs, ts)

    def backward(self):
        dout = self.loss_layer.backward()
        for layer in reversed(self.layers):
            dout = layer.backward(dout)


def per_step_update(model, lr, max_norm):
    """Merge tied gradients, clip by the global norm and take one step of SGD."""
    params, grads = [], []
    for param, grad in zip(model.params, model.grads):
        for kept, kept_grad in zip(params, grads):
            if kept is param:
                kept_grad += grad
                break
            if param.base is kept and kept.shape == param.shape[::-1]:
                kept_grad += grad.T
                break
        else:
            params.append(param)
            grads.append(grad)
    total = np.sqrt(sum(np.sum(grad**2) for grad in grads))
    rate = max_norm / (total + 1e-6)
    if rate < 1:
        for grad in grads:
            grad *= rate
    for param, grad in zip(params, grads):
        param -= lr * grad
