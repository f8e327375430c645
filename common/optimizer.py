"""Optimizers. Each `update(params, grads)` writes the parameters in place.

The lists must be the same, in the same order, at every call: what an optimizer remembers of a
parameter is kept by its place. `state` is the list of those memories, a list of arrays for
each parameter; `load_state` puts saved ones back.
"""
import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from common.device.threads import run_each, worker_count
from common.layers.sparse import SparseGradient, dense
from common.np import Array, np

BLOCK = 32_768  # elements of a parameter that are updated at once on a CPU, so that what it takes stays in the cache
BLOCKS_OF_THREAD = 4  # at least: with fewer, starting it takes longer than it saves


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

    def update(self, params: Sequence[Array], grads: Sequence[Array | SparseGradient]) -> None:
        """Take one step.

        Parameters
        ----------
        params : list of ndarray
            Written in place.
        grads : list of ndarray or SparseGradient
            Their gradients, only read.

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
            if isinstance(grad, SparseGradient) and self.rests_without_gradient:
                self._update_sparse(grad, param, *memories)
            else:
                self._update_dense(dense(grad), param, *memories)

    @property
    def rests_without_gradient(self) -> bool:
        """Whether a parameter whose gradient is 0 stays as it is, and its memories too."""
        return False

    def _update_dense(self, grad, param, *memories):
        """Update a parameter and its memories, a block of rows after the other; all cores have some of the blocks."""
        def update(rows):
            self.update_one(param[rows], grad[rows], *(memory[rows] for memory in memories))

        blocks = _blocks(param.shape)
        run_each(update, blocks, max(1, min(worker_count(), len(blocks) // BLOCKS_OF_THREAD)))

    def _update_sparse(self, grad, *arrays):
        """Update the rows, or columns, of a parameter and its memories that the gradient uses."""
        param, *memories = parts = [array[grad.at] for array in arrays]
        self.update_one(param, grad.values, *memories)
        for array, part in zip(arrays, parts):
            array[grad.at] = part

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
    """Stochastic gradient descent: w <- w - lr (g + weight_decay w).

    Gradients that are clipped are clipped before: the decay is not part of their norm.
    """

    weight_decay = Setting()

    def __init__(self, lr: float = 0.01, weight_decay: float = 0.0) -> None:
        super().__init__(lr)
        self.weight_decay = weight_decay

    @property
    def rests_without_gradient(self) -> bool:
        return not self.memories and not self.weight_decay

    def update_one(self, param: Array, grad: Array) -> None:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        param -= self.lr * grad


class ASGD(SGD):
    """Averaged SGD: the steps of `SGD`, and beside each parameter the mean of the values that it had; Polyak and
    Juditsky 1992.

    After k updates, with n = k - 1 - start the number of values so far,

        a <- a + (w - a) / max(1, n)

    so a is w itself until averaging starts. Training goes on with w; evaluate within `averaged`. This is PyTorch's
    ASGD(lambd=0, t0=start), which however takes a new learning rate one update late.

    Parameters
    ----------
    lr, weight_decay : float
    start : int or None
        Number of updates after which averaging starts; None, not yet. It may be set at any time: Merity, Keskar and
        Socher 2018 (arXiv:1708.02182) call `start_averaging` when `non_monotone_trigger` says so.

    Raises
    ------
    ValueError
        `start` is negative, or another setting is out of its range.
    """

    memories = 1

    def __init__(self, lr: float = 0.01, weight_decay: float = 0.0, start: int | None = 0) -> None:
        super().__init__(lr, weight_decay)
        if start is not None and start < 0:
            raise ValueError(f"ASGD: start is {start}, wanted a number of updates, or None")
        self.start = start

    def start_averaging(self) -> None:
        """Average from here on."""
        self.start = self.steps

    def update_one(self, param: Array, grad: Array, *memories: Array) -> None:
        super().update_one(param, grad)
        (average,) = memories
        values = 0 if self.start is None else self.steps - 1 - self.start
        if values <= 1:
            average[...] = param
        else:
            average += (param - average) / values

    @contextlib.contextmanager
    def averaged(self, params: list[Array]) -> Iterator[None]:
        """Within the block the parameters hold their averages; after it they are as they were before.

        Parameters
        ----------
        params : list of ndarray
            Those given to `update`, in the same order. `training_step` gives those of a model as
            `common.training.clip.unique_params(model.params)` lists them.

        Raises
        ------
        ValueError
            They are not those of the updates.
        """
        averages = [average for average, in self.state]
        shapes, of_averages = [param.shape for param in params], [average.shape for average in averages]
        if averages and shapes != of_averages:
            raise ValueError(f"ASGD: parameters have shapes {shapes}, wanted those of the averages, {of_averages}")
        before = [param.copy() for param in params]
        try:
            for param, average in zip(params, averages):  # none before the first update
                param[...] = average
            yield
        finally:
            for param, old in zip(params, before):
                param[...] = old


def non_monotone_trigger(losses: Sequence[float], loss: float, n: int = 5) -> bool:
    """Say whether averaging should start, since a loss has not fallen for a while.

    It has not if it is larger than the smallest of all losses but the last n; Merity, Keskar and Socher 2018
    (arXiv:1708.02182, algorithm 1).

    Parameters
    ----------
    losses : sequence of float
        Of the validation text at all evaluations before.
    loss : float
        That of the present one.
    n : int
        Evaluations that the loss is given to fall again.

    Raises
    ------
    ValueError
        n is negative.
    """
    if n < 0:
        raise ValueError(f"non_monotone_trigger: n is {n}, wanted at least 0")
    return len(losses) > n and loss > min(losses[:len(losses) - n])


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

    @property
    def rests_without_gradient(self) -> bool:
        return True

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
