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
from common.elementwise import write
from common.functions import sigmoid
from common.layer import Layer
from common.np import np
from common.recurrent import RecurrentLayer, expect_recurrent_weights


def reset_forward(ar, h_prev):
    """Return r and r h_prev, all (N, H)."""
    r = sigmoid(ar)  # (2)
    return r, r * h_prev  # (3)


def update_forward(az, ah, h_prev):
    """Return h, z, h_hat, all (N, H), from the pre-activations of update gate and candidate."""
    z, h_hat = sigmoid(az), np.tanh(ah)  # (2) (4)
    h = (1 - z) * h_prev + z * h_hat  # (5)
    return h, z, h_hat


def update_backward(dh, z, h_hat, h_prev):
    """Return daz, dah and what dh_prev gains, all (N, H)."""
    daz = dh * (h_hat - h_prev) * z * (1 - z)  # (5) (2)
    dah = dh * z * (1 - h_hat * h_hat)  # (5) (4)
    return daz, dah, dh * (1 - z)


def reset_backward(drh, r, h_prev):
    """Return dar and what dh_prev gains, all (N, H), from the gradient of r h_prev."""
    return drh * h_prev * r * (1 - r), drh * r  # (2)


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


def reset_after_backward(dh, z, r, h_hat, m, h_prev):
    """Return daz, dar, dah, dm and what dh_prev gains, all (N, H)."""
    daz, dah, dh_prev = update_backward(dh, z, h_hat, h_prev)  # (5) (4) (2)
    return daz, dah * m * r * (1 - r), dah, dah * r, dh_prev  # (3') (2)


# The same for a step of a sequence, where what x gives to a pre-activation and what h_prev gives come apart,
# and the gradients that arrive at h from outside, directly and through a product.


def reset_step(xz, xr, hz, hr, h_prev):
    """Return az, r, r h_prev."""
    return xz + hz, *reset_forward(xr + hr, h_prev)


def update_step(az, xh, hh, h_prev):
    """Return h, z, h_hat."""
    return update_forward(az, xh + hh, h_prev)


def update_step_backward(dh_out, dh, product, z, h_hat, h_prev):
    """Return daz, dah and what dh_prev gains."""
    return update_backward(dh_out + dh + product, z, h_hat, h_prev)


def reset_step_backward(drh, dh_prev, r, h_prev):
    """Return dar and dh_prev with what it gains."""
    dar, gain = reset_backward(drh, r, h_prev)
    return dar, dh_prev + gain


def reset_after_step(xz, xr, xh, hz, hr, hm, b_m, h_prev):
    """Return h, z, r, h_hat, m."""
    m = hm + b_m
    return *reset_after_forward(xz + hz, xr + hr, xh, m, h_prev), m


def reset_after_step_backward(dh_out, dh, product, z, r, h_hat, m, h_prev):
    """Return daz, dar, dah, dm and what dh_prev gains."""
    return reset_after_backward(dh_out + dh + product, z, r, h_hat, m, h_prev)


def split_blocks(a):
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

    def __init__(self, Wx, Wh, b, reset_after=False):
        super().__init__(Wx, Wh, b)
        expect_recurrent_weights(self, gates=3, biases=4 if reset_after else 3)
        self.reset_after = reset_after

    def forward(self, x, h_prev):
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

    def backward(self, dh):
        """Map dh (N, H) to dx (N, D) and dh_prev (N, H)."""
        Wx, Wh, b = self.params
        dWx, dWh, db = self.grads
        H = Wh.shape[0]
        x, h_prev, z, r, h_hat, kept = self.recall()
        self.expect("dh", dh, h_prev.shape)
        if self.reset_after:
            m = kept
            daz, dar, dah, dm, dh_prev = reset_after_backward(dh, z, r, h_hat, m, h_prev)
            dproduct = np.concatenate((daz, dar, dm), axis=1)  # (N, 3H), of h_prev Wh
            dh_prev = dh_prev + dproduct @ Wh.T  # (1) (3')
            np.matmul(h_prev.T, dproduct, out=dWh)
            np.sum(dm, axis=0, out=db[3 * H:])
        else:
            rh = kept
            daz, dah, dh_prev = update_backward(dh, z, h_hat, h_prev)  # (5) (4) (2)
            Whz, Whr, Whh = split_blocks(Wh)
            dar, dh_gain = reset_backward(dah @ Whh.T, r, h_prev)  # (3) (2)
            dh_prev = dh_prev + dh_gain + daz @ Whz.T + dar @ Whr.T  # (1)
            dWhz, dWhr, dWhh = split_blocks(dWh)
            dWhz[...] = h_prev.T @ daz
            dWhr[...] = h_prev.T @ dar
            dWhh[...] = rh.T @ dah
        da = np.concatenate((daz, dar, dah), axis=1)  # (N, 3H)
        np.matmul(x.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:3 * H])
        dx = da @ Wx.T  # (N, D)
        return dx, dh_prev


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

    def __init__(self, Wx, Wh, b, stateful=False, reset_after=False):
        self.biases = 4 if reset_after else 3
        self.reset_after = reset_after
        super().__init__(Wx, Wh, b, stateful)

    @property
    def step(self):
        """One step of this layer, a `GRU` over the same weights."""
        return GRU(*self.params, reset_after=self.reset_after)

    def forward(self, xs, lengths=None):
        """Map xs (N, T, D) to the states hs (N, T, H).

        Parameters
        ----------
        xs : ndarray (N, T, D)
        lengths : sequence of int (N,), optional
            Real steps of each sequence. Outputs beyond them are zeros, and the final state of a
            sequence is that of its last real step.
        """
        Wx, Wh, b = self.params
        H = self.hidden_size
        packing, xs = self._start(xs, lengths)  # (P, D)
        gates = xs @ Wx  # (P, 3H), pre-activations first, then z, r, h_hat
        gates += b[:3 * H]
        hs = self._states("h", self.h, packing)  # (N + P, H)
        kept = np.empty((packing.P, H), dtype=xs.dtype)  # (P, H), m or r h_prev
        run = self._reset_after if self.reset_after else self._reset_before
        run(packing, hs, gates, kept)
        self.h = packing.last(hs)
        self.cache = packing, xs, hs, gates, kept
        return packing.unpack(hs[packing.N:])  # (N, T, H)

    def _reset_after(self, packing, hs, gates, kept):
        """Walk the steps: fill the states hs (N + P, H) and kept (P, H), turn gates (P, 3H) into z, r, h_hat."""
        _, Wh, b = self.params
        H, N = self.hidden_size, packing.N
        hs_after, b_m = hs[N:], b[3 * H:]  # (P, H), (H,)
        product = np.empty((N, 3 * H), dtype=hs.dtype)  # (N, 3H)
        for rows, before, n in packing.steps:
            np.matmul(hs[before], Wh, out=product[:n])  # (1) (3')
            a = split_blocks(gates[rows])
            write(reset_after_step, (hs_after[rows], *a, kept[rows]), *a, *split_blocks(product[:n]), b_m, hs[before])

    def _reset_before(self, packing, hs, gates, kept):
        """Walk the steps, as `_reset_after`."""
        H, N = self.hidden_size, packing.N
        hs_after = hs[N:]  # (P, H)
        Wh_zr, Whh = (np.ascontiguousarray(block) for block in self._blocks_of_Wh())  # (H, 2H), (H, H)
        product = np.empty((N, 2 * H), dtype=hs.dtype)  # (N, 2H)
        product_h = np.empty((N, H), dtype=hs.dtype)  # (N, H)
        for rows, before, n in packing.steps:
            np.matmul(hs[before], Wh_zr, out=product[:n])  # (1)
            az, ar, ah = split_blocks(gates[rows])
            write(reset_step, (az, ar, kept[rows]), az, ar, product[:n, :H], product[:n, H:], hs[before])  # (1) (2)
            np.matmul(kept[rows], Whh, out=product_h[:n])  # (3)
            write(update_step, (hs_after[rows], az, ah), az, ah, product_h[:n], hs[before])  # (2) (3) (4) (5)

    def _blocks_of_Wh(self):
        """Return the columns of Wh for the two gates, (H, 2H), and for the candidate, (H, H)."""
        Wh, H = self.params[1], self.hidden_size
        return Wh[:, :2 * H], Wh[:, 2 * H:]

    def backward(self, dhs, dh=None):
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
        Wx, _, _ = self.params
        dWx, dWh, db = self.grads
        H = self.hidden_size
        packing, xs, hs, gates, kept = self.recall()
        dhs = self._start_backward(dhs, packing)  # (P, H)
        dh = self._final("dh", dh, packing)  # (N, H)
        run = self._reset_after_backward if self.reset_after else self._reset_before_backward
        da_zr, dah = run(packing, hs, gates, kept, dhs, dh)  # (P, 2H), (P, H)
        self.dh = packing.unsort(dh)
        da = np.concatenate((da_zr, dah), axis=1)  # (P, 3H)
        np.matmul(xs.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:3 * H])
        return packing.unpack(da @ Wx.T)  # (N, T, D)

    def _reset_after_backward(self, packing, hs, gates, kept, dhs, dh):
        """Walk the steps back: turn dh (N, H) into the gradient of the initial state, set dWh and the db of bh'.

        Returns
        -------
        da_zr : ndarray (P, 2H)
        dah : ndarray (P, H)
        """
        _, dWh, db = self.grads
        H = self.hidden_size
        da_h = np.empty_like(gates)  # (P, 3H), the gradients of h_prev Wh: daz, dar, dm
        dah = np.empty_like(dhs)  # (P, H)
        product = np.zeros_like(dh)  # (N, H)
        Wh_T = self._transposed_Wh()  # (3H, H)
        for rows, before, n in reversed(packing.steps):
            daz, dar, dm = split_blocks(da_h[rows])
            write(reset_after_step_backward, (daz, dar, dah[rows], dm, dh[:n]),
                  dhs[rows], dh[:n], product[:n], *split_blocks(gates[rows]), kept[rows], hs[before])
            np.matmul(da_h[rows], Wh_T, out=product[:n])  # (1) (3')
        dh += product
        np.matmul(packing.before(hs).T, da_h, out=dWh)
        np.sum(da_h[:, 2 * H:], axis=0, out=db[3 * H:])
        return da_h[:, :2 * H], dah

    def _reset_before_backward(self, packing, hs, gates, kept, dhs, dh):
        """Walk the steps back, as `_reset_after_backward`."""
        dWh = self.grads[1]
        N, H = packing.N, self.hidden_size
        da_zr = np.empty((packing.P, 2 * H), dtype=dhs.dtype)  # (P, 2H)
        dah = np.empty_like(dhs)  # (P, H)
        drh = np.empty((N, H), dtype=dhs.dtype)  # (N, H)
        product = np.zeros_like(dh)  # (N, H)
        Wh_zr_T, Whh_T = (np.ascontiguousarray(block.T) for block in self._blocks_of_Wh())  # (2H, H), (H, H)
        for rows, before, n in reversed(packing.steps):
            z, r, h_hat = split_blocks(gates[rows])
            daz, dar = da_zr[rows, :H], da_zr[rows, H:]
            write(update_step_backward, (daz, dah[rows], dh[:n]),
                  dhs[rows], dh[:n], product[:n], z, h_hat, hs[before])  # (5) (4) (2)
            np.matmul(dah[rows], Whh_T, out=drh[:n])  # (3)
            write(reset_step_backward, (dar, dh[:n]), drh[:n], dh[:n], r, hs[before])  # (2)
            np.matmul(da_zr[rows], Wh_zr_T, out=product[:n])  # (1)
        dh += product
        dWh[:, :2 * H] = packing.before(hs).T @ da_zr
        dWh[:, 2 * H:] = kept.T @ dah
        return da_zr, dah
