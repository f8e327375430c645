"""The base of every layer that reads a sequence: its state, and its products with the input."""
from common.layers.base import Layer
from common.layers.packing import Packing
from common.np import Array, np


class RecurrentLayer(Layer):
    """A layer with a hidden state h (N, H).

    Parameters
    ----------
    Wx : ndarray (D, gates * H)
    Wh : ndarray (H, gates * H)
    b : ndarray (biases * H,)
    stateful : bool
        Whether a forward starts from the state in which the last one ended. Otherwise each
        starts from zeros.

    Attributes
    ----------
    h : ndarray (N, H) or None
        The state after the last forward, or the one given to `set_state`.
    dh : ndarray (N, H) or None
        After backward: the gradient with respect to the state that the sequence began with.
    weight_names : tuple of str
        Names of `params`, in order. The first three are those of every recurrent layer.
    """

    gates = 1
    biases: int | None = None
    state_names: tuple[str, ...] = ("h",)
    weight_names: tuple[str, ...] = ("Wx", "Wh", "b")

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        super().__init__(Wx, Wh, b)
        expect_recurrent_weights(self, self.gates, self.biases or self.gates)
        self.stateful = stateful
        self._Wh = Wh  # by which a forward and its backward multiply: `_start` sets it
        self.h: Array | None = None
        self.dh: Array | None = None

    @property
    def hidden_size(self) -> int:
        """H, the size of the state."""
        return self.params[1].shape[0]

    @property
    def step(self) -> Layer:
        """One step of this layer over the same weights, which `common.watch` walks and traces."""
        raise NotImplementedError(f"{self._name} has no step cell for `common.watch.trace`: give it a property `step`")

    @property
    def state(self) -> tuple[Array | None, ...]:
        """The carried state, as `set_state` takes it: (h,), of an LSTM (h, c)."""
        return tuple(getattr(self, name) for name in self.state_names)

    def set_state(self, h: Array | None) -> None:
        """Let the next forward start from a copy of h (N, H); None stands for zeros.

        Raises
        ------
        ValueError
            The layer is not stateful, or h has another shape or dtype.
        """
        self.h = self._checked_state("h", h)

    def reset_state(self) -> None:
        """Let the next forward start from zeros."""
        for name in self.state_names:
            setattr(self, name, None)

    def gate_activations(self) -> list[Array]:
        """Return the gates of the last forward, for `common.training.health`: none, where a layer does not say them.

        Returns
        -------
        list of ndarray (P, ...)
            Numbers from 0 to 1, a row for each real step of each sequence; only to be read, and before the backward.

        Raises
        ------
        ValueError
            There was no forward, or the backward of a fast layer has used up what it kept.
        """
        return []

    def _checked_state(self, name, state):
        if state is None:
            return None
        if not self.stateful:
            raise ValueError(f"{self._name}: set_state needs a layer made with stateful=True")
        self.expect(name, state, ("N", self.hidden_size))
        return state.copy()

    def _start(self, xs, lengths):
        """Check the input and pack it.

        Returns
        -------
        packing : Packing
        rows : ndarray (P, D)
        """
        self.expect("xs", xs, ("N", "T", len(self.params[0])))
        self._Wh = self.params[1]
        packing = Packing(xs.shape[0], xs.shape[1], lengths)
        return packing, packing.pack(xs)

    def _states(self, packing, memory=None):
        """Make room for the states before and after each step.

        Parameters
        ----------
        packing : Packing
        memory : ndarray (S, N + P, H), optional
            Taken in the place of a new array.

        Returns
        -------
        ndarray (S, N + P, H)
            For each of the S states. The first N rows hold the one to begin with, sorted: carried over, or zeros.
        """
        S, rows, H = len(self.state_names), packing.N + packing.P, len(self.params[1])
        states = np.empty((S, rows, H), dtype=self.params[0].dtype) if memory is None else memory
        if self.stateful:
            self._carry_over(packing, states)
        else:
            states[:, :packing.N] = 0
        return states

    def _carry_over(self, packing, states):
        """Begin states (S, N + P, H) with those in which the last forward ended."""
        N = packing.N
        for name, carried, array in zip(self.state_names, self.state, states):
            if carried is not None and len(carried) != N:
                raise ValueError(
                    f"{self._name}: the carried state {name} is for a batch of {len(carried)}, the input has {N}; "
                    "call reset_state() first")
            array[:N] = 0 if carried is None else packing.sort(carried)

    def _end(self, packing, *states):
        """Keep the states after each sequence's last step, and return hs (N, T, H).

        Parameters
        ----------
        packing : Packing
        *states : ndarray (N + P, H)
            What `_states` returned, filled.
        """
        for name, array in zip(self.state_names, states):
            setattr(self, name, packing.last(array))
        return packing.unpack(states[0][packing.N:])

    def _gradients(self, packing, dhs, *finals):
        """Check the gradients that arrive from outside, and put them where the loop adds what each step sends back.

        Parameters
        ----------
        packing : Packing
        dhs : ndarray (N, T, H)
        *finals : ndarray (N, H) or None
            For each state, the gradient that arrives at its final value.

        Returns
        -------
        ndarray (S, N + P, H)
            For each state, the gradients so far of its values before and after each step.
        """
        N, T, H = packing.N, packing.T, len(self.params[1])
        self.expect("dhs", dhs, (N, T, H))
        gradients = np.zeros((len(self.state_names), N + packing.P, H), dtype=dhs.dtype)  # (S, N + P, H)
        packing.pack_into(gradients[0, N:], dhs)
        for name, final, gradient in zip(self.state_names, finals, gradients):
            if final is not None:
                self.expect(f"d{name}", final, (N, H))
                packing.add_to_last(gradient, final)
        return gradients

    def _end_backward(self, packing, xs, hs, da, *gradients):
        """Keep the gradients of the states to begin with, set those of the weights, and return dxs (N, T, D).

        Parameters
        ----------
        packing : Packing
        xs : ndarray (P, D)
        hs : ndarray (N + P, H)
        da : ndarray (P, G)
            Gradients of the pre-activations.
        *gradients : ndarray (N + P, H)
            What `_gradients` returned, complete.
        """
        for name, gradient in zip(self.state_names, gradients):
            setattr(self, f"d{name}", packing.unsort(gradient[:packing.N]))
        return packing.unpack(self._project_backward(xs, packing.before(hs), da))

    def _start_backward(self, dhs, packing):
        """Check the gradient of the output and pack it, (P, H)."""
        self.expect("dhs", dhs, (packing.N, packing.T, self.hidden_size))
        return packing.pack(dhs)

    def _final(self, name, gradient, packing):
        """Return the gradient that arrives at a final state, sorted, in a new array (N, H): the given one, or zeros."""
        if gradient is None:
            return np.zeros((packing.N, self.hidden_size), dtype=self.params[0].dtype)  # (N, H)
        self.expect(name, gradient, (packing.N, self.hidden_size))
        return packing.sort(gradient).copy()

    def _project(self, xs):
        """Return x Wx + b for the rows of all steps, (P, G), from xs (P, D), in one product."""
        a = xs @ self.params[0]  # (P, G)
        a += self.params[2][:a.shape[1]]
        return a

    def _transposed_Wh(self):
        """Return Wh^T, copied: with a view of Wh each product in the loop would take twice as long."""
        return np.ascontiguousarray(self._Wh.T)

    def _project_backward(self, xs, hs_prev, da):
        """Set dWx, dWh and db, and return dxs (P, D), each in one product over the rows of all steps.

        Parameters
        ----------
        xs : ndarray (P, D)
        hs_prev : ndarray (P, H)
            The states before each step.
        da : ndarray (P, G)
            Gradients of the pre-activations.
        """
        dWx, dWh, db = self.grads[:3]
        self._product(xs.T, da, out=dWx)
        self._product(hs_prev.T, da, out=dWh)
        np.sum(da, axis=0, out=db)
        return self._product(da, self.params[0].T)  # (P, D)

    def _options(self):
        return ["stateful"] if self.stateful else []


def expect_recurrent_weights(layer: Layer, gates: int, biases: int) -> None:
    """Check that Wx, Wh and b of a layer fit each other, and note D and H for its `repr`.

    Parameters
    ----------
    layer : Layer
        With params Wx (D, gates H), Wh (H, gates H), b (biases H,).
    gates, biases : int
        Blocks of H columns in the matrices, and in b.

    Raises
    ------
    ValueError
        A shape does not fit that of Wh.
    """
    Wx, Wh, b = layer.params
    layer.expect("Wh", Wh, ("H", f"{gates} H" if gates > 1 else "H"))
    H = Wh.shape[0]
    layer.expect("Wh", Wh, (H, gates * H))
    layer.expect("Wx", Wx, ("D", gates * H))
    layer.expect("b", b, (biases * H,))
    layer.sizes = {"D": len(Wx), "H": H}
