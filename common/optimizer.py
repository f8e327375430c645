"""Optimizers. Each `update(params, grads)` writes the parameters in place.

The lists must be the same, in the same order, at every call: what an optimizer remembers of a
parameter is kept by its place. `state` is the list of those memories, a list of arrays for
each parameter; `load_state` puts saved ones back.
"""
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.np import Array, np

BLOCK = 32_768  # elements of a parameter that are updated at once on a CPU, so that what it takes stays in the cache


class Setting:
    """A number that an optimizer is set to, at construction or later, checked and kept as a Python float.

    A number of NumPy's would not do: with a float64 of NumPy's, an update of float32 parameters is computed in float64.

    Parameters
    ----------
    below : float
        The number is finite, at least 0 and below this.
    """

    def __init__(self, below: float = math.inf) -> None:
        self.below = below

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:  # without it the optimizer's own attribute is found, at no cost
        def __get__(self, optimizer: Any, owner: type) -> float: ...

    def __set__(self, optimizer: Any, value: float) -> None:
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond all floats
            number = math.inf
        if not 0 <= number < self.below:  # False for NaN
            raise ValueError(f"{type(optimizer).__name__}: {self.name} is {number}, "
                             f"wanted a number from 0 to below {self.below}")
        vars(optimizer)[self.name] = number


class Optimizer:
    """The base of the optimizers: a learning rate and, for each parameter, a few arrays of its shape, its memories.

    A subclass has `update_one(param, grad, *memories)`, which updates a parameter, or some of its rows, in place.

    Parameters
    ----------
    lr : float
        Learning rate. It may be set to another one between two updates.

    Raises
    ------
    ValueError
        `lr`, or another setting of a subclass, is out of its range: negative, infinite or NaN.
    """

    lr = Setting()
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

        Raises
        ------
        ValueError
            A gradient has another shape than its parameter, or the lists are not those of the first update; nothing
            was written.
        """
        if not self.state:
            self.state = [[np.zeros_like(param) for _ in range(self.memories)] for param in params]
        self._expect_alike(params, grads)
        self.steps += 1
        for param, grad, memories in zip(params, grads, self.state, strict=True):
            for rows in _blocks(param.shape):
                self.update_one(param[rows], grad[rows], *(memory[rows] for memory in memories))

    def _expect_alike(self, params, grads):
        """Check that there are as many parameters, gradients and memories, and that each gradient fits."""
        shapes, of_grads = [param.shape for param in params], [grad.shape for grad in grads]
        if not len(shapes) == len(of_grads) == len(self.state):
            raise ValueError(
                f"{type(self).__name__}: there are {len(shapes)} parameters, {len(of_grads)} gradients and "
                f"memories of {len(self.state)} parameters, wanted as many of each")
        if shapes != of_grads:
            raise ValueError(
                f"{type(self).__name__}: gradients have shapes {of_grads}, wanted those of the parameters, {shapes}")

    def load_state(self, state: list[list[Array]], steps: int) -> None:
        """Go on from a saved `state` after `steps` updates."""
        self.state = state
        self.steps = int(steps)


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

    momentum = Setting(below=1)
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

    momentum = Setting(below=1)
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

    eps = Setting()
    memories = 1

    def __init__(self, lr: float = 0.01, eps: float = 1e-7) -> None:
        super().__init__(lr)
        self.eps = eps

    def update_one(self, param: Array, grad: Array, s: Array) -> None:
        s += grad * grad
        param -= self.lr * grad / (np.sqrt(s) + self.eps)


class RMSprop(Optimizer):
    """RMSprop: s <- decay_rate s + (1 - decay_rate) g^2, w <- w - lr g / (sqrt(s) + eps). Tieleman and Hinton 2012."""

    decay_rate, eps = Setting(below=1), Setting()
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

    beta1, beta2, eps = Setting(below=1), Setting(below=1), Setting()
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


class AdamW(Adam):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019 (arXiv:1711.05101, algorithm 2).

    w <- w - lr weight_decay w, then Adam's step. If the decay were part of the gradient, Adam would divide it by
    sqrt(v), and weights with large gradients would hardly decay.
    """

    weight_decay = Setting()

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8,
                 weight_decay: float = 0.01) -> None:
        super().__init__(lr, beta1, beta2, eps)
        self.weight_decay = weight_decay

    def update_one(self, param: Array, grad: Array, m: Array, v: Array) -> None:
        param -= self.lr * self.weight_decay * param
        super().update_one(param, grad, m, v)


OPTIMIZERS = {
    "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSprop, "adam": Adam,
    "adamw": AdamW,
}
