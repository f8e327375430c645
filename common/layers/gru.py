"""Gated recurrent unit: one step, and a whole sequence.

Cho et al. 2014. The three blocks of Wx (D, 3H), Wh (H, 3H), b stand in the order z, r, h: update
gate, reset gate, candidate.

    (1)  az = x Wxz + h_prev Whz + bz,  ar = x Wxr + h_prev Whr + br
    (2)  z = sigmoid(az),  r = sigmoid(ar)
    (3)  ah = x Wxh + (r h_prev) Whh + bh
    (4)  h_hat = tanh(ah)
    (5)  h = (1 - z) h_prev + z h_hat

Their derivatives, numbered alike and taken in reverse:

    (5)  dz = dh (h_hat - h_prev),  dh_hat = dh z,  dh_prev = dh (1 - z)
    (4)  dah = dh_hat (1 - h_hat^2)
    (3)  d(r h_prev) = dah Whh^T
    (2)  dr = d(r h_prev) h_prev,  dh_prev gains d(r h_prev) r,  daz = dz z (1 - z),  dar = dr r (1 - r)
    (1)  dh_prev gains [daz dar] [Whz Whr]^T,  dx = [daz dar dah] Wx^T

With `reset_after` the reset gate is applied after the product, as cuDNN and PyTorch do, and the
product has a bias br' of its own, so that b is (4H,): bz, br, bh, bh'.

    (3')  m = h_prev Whh + bh',  ah = x Wxh + bh + r m

    (3')  dr = dah m,  dm = dah r,  dh_prev gains dm Whh^T

PyTorch writes h = (1 - z) h_hat + z h_prev: its z is 1 - z here.
"""
from common.device.elementwise import elementwise
from common.functions import add_product, sigmoid
from common.layers.base import Layer
from common.layers.recurrent import RecurrentLayer, expect_recurrent_weights
from common.np import Array, ArrayLike, np


@elementwise
def reset_forward(ar, h_prev):
    """Return r and r h_prev, all (N, H)."""
    r = sigmoid(ar)  # (2)
    return r, r * h_prev  # (3)


@elementwise
def update_forward(az, ah, h_prev):
    """Return h, z, h_hat, all (N, H), from the pre-activations of update gate and candidate."""
    z, h_hat = sigmoid(az), np.tanh(ah)  # (2) (4)
    h = (1 - z) * h_prev + z * h_hat  # (5)
    return h, z, h_hat


@elementwise
def update_backward(dh, dh_prev, z, h_hat, h_prev):
    """Return daz, dah, and dh_prev with what it gains, all (N, H)."""
    daz = dh * (h_hat - h_prev) * z * (1 - z)  # (5) (2)
    dah = dh * z * (1 - h_hat * h_hat)  # (5) (4)
    return daz, dah, dh_prev + dh * (1 - z)  # (5)


@elementwise
def reset_backward(drh, dh_prev, r, h_prev):
    """Return dar, and dh_prev with what it gains, all (N, H), from the gradient of r h_prev."""
    return drh * h_prev * r * (1 - r), dh_prev + drh * r  # (2)


@elementwise
def reset_after_forward(az, ar, ah_x, m, h_prev):
    """Compute a step whose reset gate comes after the product; all arrays are (N, H).

    Parameters
    ----------
    az, ar : ndarray
        Pre-activations of the gates.
    ah_x : ndarray
        x Wxh + bh.
    m : ndarray
        h_prev Whh + bh'.
    h_prev : ndarray

    Returns
    -------
    h, z, r, h_hat : ndarray
    """
    r = sigmoid(ar)  # (2)
    h, z, h_hat = update_forward(az, ah_x + r * m, h_prev)  # (2) (3') (4) (5)
    return h, z, r, h_hat


@elementwise
def reset_after_backward(dh, dh_prev, z, r, h_hat, m, h_prev):
    """Return daz, dar, dah, dm, and dh_prev with what it gains, all (N, H)."""
    daz, dah, dh_prev = update_backward(dh, dh_prev, z, h_hat, h_prev)  # (5) (4) (2)
    return daz, dah * m * r * (1 - r), dah, dah * r, dh_prev  # (3') (2)


def split_blocks(a: Array) -> tuple[Array, Array, Array]:
    """Return the three blocks z, r, h of (..., 3H) as views (..., H)."""
    H = a.shape[-1] // 3
    return a[..., :H], a[..., H:2 * H], a[..., 2 * H:]


class GRU(Layer):
    """One step of a GRU; blocks in the order z, r, h.

    Parameters
    ----------
    Wx : ndarray (D, 3H)
    Wh : ndarray (H, 3H)
    b : ndarray (3H,), with reset_after (4H,)
    reset_after : bool
        Whether the reset gate is applied after the matrix product.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array, reset_after: bool = False) -> None:
        super().__init__(Wx, Wh, b)
        expect_recurrent_weights(self, gates=3, biases=4 if reset_after else 3)
        self.reset_after = reset_after

    def forward(self, x: Array, h_prev: Array) -> Array:
        """Map x (N, D) and h_prev (N, H) to h (N, H)."""
        Wx, Wh, b = self.params
        D, H = Wx.shape[0], Wh.shape[0]
        self.expect("x", x, ("N", D))
        self.expect("h_prev", h_prev, (len(x), H))
        az, ar, ah = split_blocks(x @ Wx + b[:3 * H])  # (N, H) each
        if self.reset_after:
            mz, mr, m = split_blocks(h_prev @ Wh)  # (N, H) each
            m = m + b[3 * H:]
            h, z, r, h_hat = reset_after_forward(az + mz, ar + mr, ah, m, h_prev)
            self.cache = x, h_prev, z, r, h_hat, m
            return h
        Whz, Whr, Whh = split_blocks(Wh)
        r, rh = reset_forward(ar + h_prev @ Whr, h_prev)  # (1) (2)
        h, z, h_hat = update_forward(az + h_prev @ Whz, ah + rh @ Whh, h_prev)  # (1) to (5)
        self.cache = x, h_prev, z, r, h_hat, rh
        return h

    def backward(self, dh: Array) -> tuple[Array, Array]:
        """Map dh (N, H) to dx (N, D) and dh_prev (N, H)."""
        Wx, Wh, b = self.params
        dWx, dWh, db = self.grads
        H = Wh.shape[0]
        x, h_prev, z, r, h_hat, kept = self.recall()
        self.expect("dh", dh, h_prev.shape)
        if self.reset_after:
            m = kept
            daz, dar, dah, dm, dh_prev = reset_after_backward(dh, np.zeros_like(dh), z, r, h_hat, m, h_prev)
            dproduct = np.concatenate((daz, dar, dm), axis=1)  # (N, 3H), of h_prev Wh
            dh_prev = dh_prev + dproduct @ Wh.T  # (1) (3')
            np.matmul(h_prev.T, dproduct, out=dWh)
            np.sum(dm, axis=0, out=db[3 * H:])
        else:
            rh = kept
            daz, dah, dh_prev = update_backward(dh, np.zeros_like(dh), z, h_hat, h_prev)  # (5) (4) (2)
            Whz, Whr, Whh = split_blocks(Wh)
            dar, dh_prev = reset_backward(dah @ Whh.T, dh_prev, r, h_prev)  # (3) (2)
            dh_prev = dh_prev + daz @ Whz.T + dar @ Whr.T  # (1)
            dWhz, dWhr, dWhh = split_blocks(dWh)
            dWhz[...] = h_prev.T @ daz
            dWhr[...] = h_prev.T @ dar
            dWhh[...] = rh.T @ dah
        da = np.concatenate((daz, dar, dah), axis=1)  # (N, 3H)
        np.matmul(x.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:3 * H])
        dx = da @ Wx.T  # (N, D)
        return dx, dh_prev

    def _options(self):
        return ["reset_after"] if self.reset_after else []


class TimeGRU(RecurrentLayer):
    """A GRU over a sequence, by the formulas of `GRU`.

    The products with the input, for all T steps, are one product before the loop; the
    gradients of the weights are a few products after it.

    Parameters
    ----------
    Wx : ndarray (D, 3H)
    Wh : ndarray (H, 3H)
    b : ndarray (3H,), with reset_after (4H,)
    stateful : bool
        Whether the state is carried from one forward to the next.
    reset_after : bool
        Whether the reset gate is applied after the matrix product.
    """

    gates = 3

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False, reset_after: bool = False) -> None:
        self.biases = 4 if reset_after else 3
        self.reset_after = reset_after
        super().__init__(Wx, Wh, b, stateful)

    @property
    def step(self) -> GRU:
        """One step of this layer, a `GRU` over the same weights."""
        Wx, Wh, b = self.params
        return GRU(Wx, Wh, b, self.reset_after)

    def forward(self, xs: Array, lengths: ArrayLike | None = None) -> Array:
        """Map xs (N, T, D) to the states hs (N, T, H).

        Parameters
        ----------
        xs : ndarray (N, T, D)
        lengths : sequence of int (N,), optional
            Real steps of each sequence. Outputs beyond them are zeros, and the final state of a
            sequence is that of its last real step.
        """
        packing, xs = self._start(xs, lengths)  # (P, D)
        a, (h,) = self._project(xs), self._states(packing)  # (P, 3H), x Wx + b; (N + P, H)
        kept = self._reset_after(packing, h, a) if self.reset_after else self._reset_before(packing, h, a)
        self.cache = packing, xs, h, *kept
        return self._end(packing, h)  # (N, T, H)

    def _reset_before(self, packing, h, a):
        """Walk the steps: fill the states h (N + P, H); return z and r (P, 2H), h_hat (P, H), r h_prev (P, H)."""
        Wh, H = self._Wh, h.shape[1]
        Wh_zr, Whh = np.ascontiguousarray(Wh[:, :2 * H]), np.ascontiguousarray(Wh[:, 2 * H:])  # (H, 2H), (H, H)
        zr, h_hat = np.ascontiguousarray(a[:, :2 * H]), np.ascontiguousarray(a[:, 2 * H:])  # (P, 2H), (P, H)
        z, r, rh = zr[:, :H], zr[:, H:], np.empty(h_hat.shape, dtype=h.dtype)  # (P, H) each
        for t, prev, now in packing.steps:
            add_product(h[prev], Wh_zr, out=zr[t])  # (1)
            reset_forward(r[t], h[prev], out=(r[t], rh[t]))  # (2)
            add_product(rh[t], Whh, out=h_hat[t])  # (3)
            update_forward(z[t], h_hat[t], h[prev], out=(h[now], z[t], h_hat[t]))  # (2) (4) (5)
        return zr, h_hat, rh

    def _reset_after(self, packing, h, a):
        """Walk the steps: fill the states h (N + P, H); return z, r and m (P, 3H), h_hat (P, H)."""
        Wh, b, H = self._Wh, self.params[2], h.shape[1]
        zrm, h_hat = np.empty(a.shape, dtype=a.dtype), a[:, 2 * H:]  # (P, 3H), (P, H)
        z, r, m = zrm[:, :H], zrm[:, H:2 * H], zrm[:, 2 * H:]  # (P, H) each
        zrm[:, :2 * H], m[...] = a[:, :2 * H], b[3 * H:]
        for t, prev, now in packing.steps:
            add_product(h[prev], Wh, out=zrm[t])  # (1) (3')
            reset_after_forward(z[t], r[t], h_hat[t], m[t], h[prev], out=(h[now], z[t], r[t], h_hat[t]))  # (2) to (5)
        return zrm, h_hat

    def backward(self, dhs: Array, dh: Array | None = None) -> Array:
        """Map the gradients of the states to those of the input.

        Parameters
        ----------
        dhs : ndarray (N, T, H)
        dh : ndarray (N, H), optional
            Gradient that arrives at the final state from elsewhere.

        Returns
        -------
        ndarray (N, T, D)
            Zeros at the padding.
        """
        packing, xs, h, *kept = self.recall()
        (dh,) = self._gradients(packing, dhs, dh)  # (N + P, H)
        walk_back = self._reset_after_backward if self.reset_after else self._reset_before_backward
        return self._end_backward(packing, xs, h, walk_back(packing, h, dh, *kept), dh)  # (N, T, D)

    def _reset_before_backward(self, packing, h, dh, zr, h_hat, rh):
        """Walk the steps back: complete dh (N + P, H), set dWh, and return daz, dar, dah, (P, 3H)."""
        Wh, dWh, H = self._Wh, self.grads[1], h.shape[1]
        Wh_zr_T = np.ascontiguousarray(Wh[:, :2 * H].T)  # (2H, H)
        Whh_T = np.ascontiguousarray(Wh[:, 2 * H:].T)  # (H, H)
        da_zr = np.empty(zr.shape, dtype=h.dtype)  # (P, 2H)
        dah, drh = np.empty(rh.shape, dtype=h.dtype), np.empty(rh.shape, dtype=h.dtype)  # (P, H) each
        z, r, daz, dar = zr[:, :H], zr[:, H:], da_zr[:, :H], da_zr[:, H:]  # (P, H) each
        for t, prev, now in reversed(packing.steps):
            update_backward(dh[now], dh[prev], z[t], h_hat[t], h[prev],
                            out=(daz[t], dah[t], dh[prev]))  # (5) (4) (2)
            np.matmul(dah[t], Whh_T, out=drh[t])  # (3)
            reset_backward(drh[t], dh[prev], r[t], h[prev], out=(dar[t], dh[prev]))  # (2)
            add_product(da_zr[t], Wh_zr_T, out=dh[prev])  # (1)
        dWh[:, :2 * H] = packing.before(h).T @ da_zr
        dWh[:, 2 * H:] = rh.T @ dah
        return np.concatenate((da_zr, dah), axis=1)

    def _reset_after_backward(self, packing, h, dh, zrm, h_hat):
        """Walk the steps back, as `_reset_before_backward`; set the gradient of bh' too."""
        H = h.shape[1]
        da_h = np.empty(zrm.shape, dtype=h.dtype)  # (P, 3H), the gradients of h_prev Wh + bh': daz, dar, dm
        dah = np.empty(h_hat.shape, dtype=h.dtype)  # (P, H)
        z, r, m = zrm[:, :H], zrm[:, H:2 * H], zrm[:, 2 * H:]  # (P, H) each
        daz, dar, dm = da_h[:, :H], da_h[:, H:2 * H], da_h[:, 2 * H:]  # (P, H) each
        Wh_T = self._transposed_Wh()  # (3H, H)
        for t, prev, now in reversed(packing.steps):
            reset_after_backward(dh[now], dh[prev], z[t], r[t], h_hat[t], m[t], h[prev],
                                 out=(daz[t], dar[t], dah[t], dm[t], dh[prev]))  # (5) (4) (3') (2)
            add_product(da_h[t], Wh_T, out=dh[prev])  # (1) (3')
        _, dWh, db = self.grads
        np.matmul(packing.before(h).T, da_h, out=dWh)
        np.sum(dm, axis=0, out=db[3 * H:])
        return np.concatenate((da_h[:, :2 * H], dah), axis=1)

    def _project_backward(self, xs, hs_prev, da):
        """Set dWx and db of the pre-activations, and return dxs (P, D); dWh is set by the walk back."""
        dWx, _, db = self.grads
        np.matmul(xs.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:da.shape[1]])
        return da @ self.params[0].T  # (P, D)

    def gate_activations(self) -> list[Array]:
        """Return the gates z and r of the last forward, (P, 2H)."""
        return [self.recall("gate_activations")[3][:, :2 * self.hidden_size]]

    def _options(self):
        return [*super()._options(), *(["reset_after"] if self.reset_after else [])]
