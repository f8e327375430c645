"""Optimizers. Each `update(params, grads)` writes the parameters in place.

The lists must be the same, in the same order, at every call: what an optimizer remembers of a
parameter is kept by its place. `state` is the list of those memories, a list of arrays for
each parameter; `load_state` puts saved ones back.
"""
import math
from collections.abc import Callable

from common.np import Array, np

BLOCK = 32_768  # elements of a parameter that are updated at once on a CPU, so that what it takes stays in the cache


class Optimizer:
    """The base of the optimizers: a learning rate and, for each parameter, a few arrays of its shape, its memories.

    A subclass has `update_one(param, grad, *memories)`, which updates a parameter, or some of its rows, in place.

    Parameters
    ----------
    lr : float
        Learning rate.
    """

    memories = 0
    update_one: Callable[..., None]

    def __init__(self, lr: float) -> None:
        self.lr = lr
        self.steps = 0
        self.state: list[list[Array]] = []

    def update(self, params: list[Array], grads: list[Array]) -> None:
        """Take one step.

        Parameters
        ----------
        params, grads : list of ndarray
            Parameters, written in place, and their gradients, only read.
        """
        if not self.state:
            self.state = [[np.zeros_like(param) for _ in range(self.memories)] for param in params]
        self.steps += 1
        for param, grad, memories in zip(params, grads, self.state, strict=True):
            for rows in _blocks(param.shape):
                self.update_one(param[rows], grad[rows], *(memory[rows] for memory in memories))

    def load_state(self, state: list[list[Array]], steps: int) -> None:
        """Go on from a saved `state` after `steps` updates."""
        self.state = state
        self.steps = steps


def _blocks(shape):
    """Return the indices of the blocks of rows in which an array of this shape is updated."""
    if np.backend != "numpy" or math.prod(shape) <= BLOCK:
        return [...]
    step = max(1, BLOCK // math.prod(shape[1:]))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


class SGD(Optimizer):
    """Stochastic gradient descent: w <- w - lr g."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr)

    def update_one(self, param: Array, grad: Array) -> None:
        param -= self.lr * grad


class Momentum(Optimizer):
    """SGD with momentum: v <- momentum v - lr g, w <- w + v. Polyak 1964.

    PyTorch keeps v / -lr instead: the two agree while lr is constant.
    """

    memories = 1

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = momentum

    def update_one(self, param: Array, grad: Array, v: Array) -> None:
        v *= self.momentum
        v -= self.lr * grad
        param += v


class Nesterov(Optimizer):
    """Nesterov's accelerated gradient, in the form of Bengio et al. 2013 (arXiv:1212.0901, eq. 7).

    v <- momentum v - lr g, w <- w + momentum v - lr g. The parameters held are the ones that
    look ahead, so that the gradient is taken where it is applied. PyTorch keeps v / -lr
    instead: the two agree while lr is constant.
    """

    memories = 1

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(lr)
        self.momentum = momentum

    def update_one(self, param: Array, grad: Array, v: Array) -> None:
        v *= self.momentum
        v -= self.lr * grad
        param += self.momentum * v - self.lr * grad


class AdaGrad(Optimizer):
    """AdaGrad: s <- s + g^2, w <- w - lr g / (sqrt(s) + eps). Duchi et al. 2011."""

    memories = 1

    def __init__(self, lr: float = 0.01, eps: float = 1e-7) -> None:
        super().__init__(lr)
        self.eps = eps

    def update_one(self, param: Array, grad: Array, s: Array) -> None:
        s += grad * grad
        param -= self.lr * grad / (np.sqrt(s) + self.eps)


class RMSprop(Optimizer):
    """RMSprop: s <- decay_rate s + (1 - decay_rate) g^2, w <- w - lr g / (sqrt(s) + eps). Tieleman and Hinton 2012."""

    memories = 1

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99, eps: float = 1e-7) -> None:
        super().__init__(lr)
        self.decay_rate = decay_rate
        self.eps = eps

    def update_one(self, param: Array, grad: Array, s: Array) -> None:
        s *= self.decay_rate
        s += (1 - self.decay_rate) * grad * grad
        param -= self.lr * grad / (np.sqrt(s) + self.eps)


class Adam(Optimizer):
    """Adam, Kingma and Ba 2015, algorithm 1.

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, and after k steps
    w <- w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps).
    """

    memories = 2

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        super().__init__(lr)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps

    def update_one(self, param: Array, grad: Array, m: Array, v: Array) -> None:
        m += (1 - self.beta1) * (grad - m)
        v += (1 - self.beta2) * (grad * grad - v)
        v_hat = v / (1 - self.beta2**self.steps)
        param -= self.lr / (1 - self.beta1**self.steps) * m / (np.sqrt(v_hat) + self.eps)


OPTIMIZERS = {
    "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSprop, "adam": Adam,
}
