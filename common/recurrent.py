"""What every layer that reads a sequence shares: its state, and the axes of time."""
from common.layer import Layer
from common.np import np


class RecurrentLayer(Layer):
    """A layer with a hidden state h (N, H).

    Parameters
    ----------
    *params : ndarray
        The first is Wx (D, gates * H), the second Wh (H, gates * H), the third b (gates * H,).
    stateful : bool
        Whether a forward starts from the state in which the last one ended. Otherwise each
        starts from zeros.

    Attributes
    ----------
    h : ndarray (N, H) or None
        The state after the last forward, or the one given to `set_state`.
    dh : ndarray (N, H) or None
        After backward: the gradient with respect to the state that the sequence began with.
    """

    def __init__(self, *params, stateful=False):
        super().__init__(*params)
        self.stateful = stateful
        self.h = None
        self.dh = None

    @property
    def hidden_size(self):
        """H, the size of the state."""
        return self.params[1].shape[0]

    @property
    def state(self):
        """What `set_state` takes: (h,)."""
        return (self.h,)

    def set_state(self, h):
        """Let the next forward start from h (N, H); None stands for zeros.

        Raises
        ------
        ValueError
            The layer is not stateful, or h has another shape or dtype.
        """
        self.h = self._checked_state("h", h)

    def reset_state(self):
        """Let the next forward start from zeros."""
        self.h = None

    def _checked_state(self, name, state):
        if state is None:
            return None
        if not self.stateful:
            raise ValueError(f"{self._name}: set_state needs a layer made with stateful=True")
        self.expect(name, state, ("N", self.hidden_size))
        return state

    def _initial(self, name, state, N):
        """Return the state (N, H) to begin with: the one carried over, or zeros."""
        if state is None or not self.stateful:
            return np.zeros((N, self.hidden_size), dtype=self.params[0].dtype)  # (N, H)
        if len(state) != N:
            raise ValueError(
                f"{self._name}: the carried state {name} is for a batch of {len(state)}, the input has {N}; "
                "call reset_state() first")
        return state

    def _final_gradient(self, name, gradient, N):
        """Return the gradient (N, H) that arrives at a final state: the given one, or zeros."""
        if gradient is None:
            return np.zeros((N, self.hidden_size), dtype=self.params[0].dtype)  # (N, H)
        self.expect(name, gradient, (N, self.hidden_size))
        return gradient

    def _project(self, xs):
        """Return x Wx + b for every step, (T, N, G), from xs (T, N, D), in one product."""
        Wx, _, b = self.params
        T, N, D = xs.shape
        a = (xs.reshape(T * N, D) @ Wx).reshape(T, N, -1)  # (T, N, G)
        a += b
        return a

    def _project_backward(self, xs, hs_prev, da):
        """Set dWx, dWh and db, and return dx, each in one product over all steps.

        Parameters
        ----------
        xs : ndarray (T, N, D)
        hs_prev : ndarray (T, N, H)
            The states before each step.
        da : ndarray (T, N, G)
            Gradients of the pre-activations.

        Returns
        -------
        ndarray (T, N, D)
        """
        Wx = self.params[0]
        dWx, dWh, db = self.grads
        D, G = Wx.shape
        da = da.reshape(-1, G)  # (T * N, G)
        np.matmul(xs.reshape(-1, D).T, da, out=dWx)
        np.matmul(hs_prev.reshape(-1, self.hidden_size).T, da, out=dWh)
        np.sum(da, axis=0, out=db)
        return (da @ Wx.T).reshape(xs.shape)  # (T, N, D)


def swap_batch_and_time(xs):
    """Turn (N, T, D) into (T, N, D) or back, contiguous: in the loop a step is one block of memory."""
    return np.ascontiguousarray(xs.swapaxes(0, 1))
