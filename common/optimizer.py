"""Optimizers. Each `update(params, grads)` writes the parameters in place.

The lists must be the same, in the same order, at every call: what an optimizer remembers of a
parameter is kept by its place. `state` is the list of those memories, a list of arrays for
each parameter; `load_state` puts saved ones back.
"""
import math

from common.np import np

BLOCK = 32_768  # elements of a parameter that are updated at once on a CPU, so that what it takes stays in the cache


class Optimizer:
    """What the optimizers share: a learning rate and, for each parameter, a few arrays of its shape.

    Parameters
    ----------
    lr : float
        Learning rate.
    """

    memories = 0

    def __init__(self, lr):
        self.lr = lr
        self.steps = 0
        self.state = []

    def update(self, params, grads):
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

    def update_one(self, param, grad):
        """Update one parameter, or some rows of it, and its memories, in place."""
        raise NotImplementedError

    def load_state(self, state, steps):
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

    def __init__(self, lr=0.01):
        super().__init__(lr)

    def update_one(self, param, grad):
        param -= self.lr * grad


class Momentum(Optimizer):
    """SGD with momentum: v <- momentum v - lr g, w <- w + v. Polyak 1964.

    PyTorch keeps v / -lr instead: the two agree while lr is constant.
    """

    memories = 1

    def __init__(self, lr=0.01, momentum=0.9):
        super().__init__(lr)
        self.momentum = momentum

    def update_one(self, param, grad, v):
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

    def __init__(self, lr=0.01, momentum=0.9):
        super().__init__(lr)
        self.momentum = momentum

    def update_one(self, param, grad, v):
        v *= self.momentum
        v -= self.lr * grad
        param += self.momentum * v - self.lr * grad


class AdaGrad(Optimizer):
    """AdaGrad: s <- s + g^2, w <- w - lr g / (sqrt(s) + eps). Duchi et al. 2011."""

    memories = 1

    def __init__(self, lr=0.01, eps=1e-7):
        super().__init__(lr)
        self.eps = eps

    def update_one(self, param, grad, s):
        s += grad * grad
        param -= self.lr * grad / (np.sqrt(s) + self.eps)


class RMSprop(Optimizer):
    """RMSprop: s <- decay_rate s + (1 - decay_rate) g^2, w <- w - lr g / (sqrt(s) + eps). Tieleman and Hinton 2012."""

    memories = 1

    def __init__(self, lr=0.01, decay_rate=0.99, eps=1e-7):
        super().__init__(lr)
        self.decay_rate = decay_rate
        self.eps = eps

    def update_one(self, param, grad, s):
        s *= self.decay_rate
        s += (1 - self.decay_rate) * grad * grad
        param -= self.lr * grad / (np.sqrt(s) + self.eps)


class Adam(Optimizer):
    """Adam, Kingma and Ba 2015, algorithm 1.

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, and after k steps
    w <- w - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps).
    """

    memories = 2

    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(lr)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps

    def update_one(self, param, grad, m, v):
        m += (1 - self.beta1) * (grad - m)
        v += (1 - self.beta2) * (grad * grad - v)
        v_hat = v / (1 - self.beta2**self.steps)
        param -= self.lr / (1 - self.beta1**self.steps) * m / (np.sqrt(v_hat) + self.eps)


OPTIMIZERS = {
    "sgd": SGD, "momentum": Momentum, "nesterov": Nesterov, "adagrad": AdaGrad, "rmsprop": RMSprop, "adam": Adam,
}
