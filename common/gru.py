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
from common.functions import sigmoid
from common.layer import Layer
from common.np import np
from common.packing import with_ended
from common.recurrent import RecurrentLayer, expect_recurrent_weights


def reset_forward(ar, h_prev):
    """Return r and r h_prev, all (N, H)."""
    r = sigmoid(ar)  # (2)
    return r, r * h_prev


def update_forward(az, ah, h_prev):
    """Return h, z, h_hat, all (N, H), from the pre-activations of update gate and candidate."""
    z, h_hat = sigmoid(az), np.tanh(ah)  # (2) (4)
    return (1 - z) * h_prev + z * h_hat, z, h_hat  # (5)


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
        dWhz, dWhr, dWhh = split_blocks(dWh)
        if self.reset_after:
            m = kept
            daz, dar, dah, dm, dh_prev = reset_after_backward(dh, z, r, h_hat, m, h_prev)
            dh_prev = dh_prev + np.concatenate((daz, dar, dm), axis=1) @ Wh.T
            dWhh[...] = h_prev.T @ dm
            np.sum(dm, axis=0, out=db[3 * H:])
        else:
            rh = kept
            daz, dah, dh_prev = update_backward(dh, z, h_hat, h_prev)  # (5) (4) (2)
            Whz, Whr, Whh = split_blocks(Wh)
            dar, dh_gain = reset_backward(dah @ Whh.T, r, h_prev)  # (3) (2)
            dh_prev = dh_prev + dh_gain + daz @ Whz.T + dar @ Whr.T  # (1)
            dWhh[...] = rh.T @ dah
        da = np.concatenate((daz, dar, dah), axis=1)  # (N, 3H)
        dWhz[...] = h_prev.T @ daz
        dWhr[...] = h_prev.T @ dar
        np.matmul(x.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:3 * H])
        return da @ Wx.T, dh_prev  # (N, D), (N, H)


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
        hs_prev, hs, kept = (np.empty((len(xs), H), dtype=xs.dtype) for _ in range(3))  # (P, H)
        Wh_zr, Whh = Wh[:, :2 * H], Wh[:, 2 * H:]  # (H, 2H), (H, H)
        h = self._initial("h", self.h, packing)  # (N, H)
        for rows, n in packing.steps:
            h_prev = hs_prev[rows] = h[:n]
            a = gates[rows]  # (n, 3H)
            az, ar, ah = split_blocks(a)
            if self.reset_after:
                mz, mr, m = split_blocks(h_prev @ Wh)
                kept[rows] = m + b[3 * H:]
                hs[rows], az[...], ar[...], ah[...] = reset_after_forward(
                    az + mz, ar + mr, ah, kept[rows], h_prev)  # (2) (3') (4) (5)
            else:
                a[:, :2 * H] += h_prev @ Wh_zr  # (1)
                ar[...], kept[rows] = reset_forward(ar, h_prev)  # (2)
                ah += kept[rows] @ Whh  # (3)
                hs[rows], az[...], ah[...] = update_forward(az, ah, h_prev)  # (2) (4) (5)
            h = with_ended(hs[rows], h)
        self.h = packing.unsort(h)
        self.cache = packing, xs, hs_prev, gates, kept
        return packing.unpack(hs)  # (N, T, H)

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
        Wx, Wh, b = self.params
        dWx, dWh, db = self.grads
        H = self.hidden_size
        packing, xs, hs_prev, gates, kept = self.recall()
        dhs = self._start_backward(dhs, packing)  # (P, H)
        dh = self._final("dh", dh, packing)  # (N, H)
        Wh_T = np.ascontiguousarray(Wh.T)  # a plain view makes each product in the loop twice as slow
        da = np.empty_like(gates)  # (P, 3H)
        dm = np.empty_like(kept) if self.reset_after else None  # (P, H)
        for rows, n in reversed(packing.steps):
            z, r, h_hat = split_blocks(gates[rows])
            daz, dar, dah = split_blocks(da[rows])
            h_prev = hs_prev[rows]
            if self.reset_after:
                daz[...], dar[...], dah[...], dm[rows], dh_prev = reset_after_backward(
                    dhs[rows] + dh[:n], z, r, h_hat, kept[rows], h_prev)  # (5) (4) (3') (2)
                dh_prev = dh_prev + da[rows][:, :2 * H] @ Wh_T[:2 * H] + dm[rows] @ Wh_T[2 * H:]  # (1) (3')
            else:
                daz[...], dah[...], dh_prev = update_backward(dhs[rows] + dh[:n], z, h_hat, h_prev)  # (5) (4) (2)
                dar[...], dh_gain = reset_backward(dah @ Wh_T[2 * H:], r, h_prev)  # (3) (2)
                dh_prev = dh_prev + dh_gain + da[rows][:, :2 * H] @ Wh_T[:2 * H]  # (1)
            dh = with_ended(dh_prev, dh)
        self.dh = packing.unsort(dh)

        np.matmul(xs.T, da, out=dWx)
        np.sum(da, axis=0, out=db[:3 * H])
        dWh[:, :2 * H] = hs_prev.T @ da[:, :2 * H]
        if self.reset_after:
            dWh[:, 2 * H:] = hs_prev.T @ dm
            np.sum(dm, axis=0, out=db[3 * H:])
        else:
            dWh[:, 2 * H:] = kept.T @ da[:, 2 * H:]
        return packing.unpack(da @ Wx.T)  # (N, T, D)
