"""The output layer and the loss of a language model as one layer, a block of rows at a time."""
from common.device.ids import Ids
from common.device.threads import one_blas_thread, product, run_parallel, slices, worker_count
from common.fast.buffers import Buffers
from common.layers.base import Layer
from common.layers.losses import scaled, targets_and_weights, where_counted
from common.np import Array, np

BLOCK = 8_000_000  # scores of one block: 800 rows of a vocabulary of 10,000, 32 MB
LEAST_ROWS = 128  # in a block: with fewer, adding up the blocks' dW takes longer than their products
TILE = 250_000  # scores that stay in a core's cache: 25 such rows, 1 MB


class TimeAffineSoftmaxWithLoss(Layer):
    """`TimeAffine` followed by `TimeSoftmaxWithLoss`, equal to the two but for rounding.

    Most of the time of a language model with a large vocabulary goes into its (N T, V) scores.
    The plain pair makes three arrays of that size and walks them a dozen times. Here

    - the rows are cut into blocks; scores, probabilities and gradient of a block follow one
      another in the same buffer, which is used again for the next block and the next call, so
      memory does not grow with N T V;
    - `forward` already computes the gradients for dout = 1, while the block is at hand, and
      `backward` only multiplies them by dout. A second `backward` raises;
    - what is elementwise goes through a block in tiles that stay in a core's cache, on all cores.

    Parameters
    ----------
    W : ndarray (H, V)
    b : ndarray (V,)
    """

    ignore_label = -1

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(W, b)
        self.expect("W", W, ("H", "V"))
        self.expect("b", b, W.shape[1:])
        self.sizes = dict(zip("HV", W.shape))
        self.buffers = Buffers()

    @one_blas_thread
    def forward(self, xs: Array, ts: Array | Ids, gradients: bool = True) -> Array:
        """Compute the mean cross entropy of the scores xs W + b against targets.

        Parameters
        ----------
        xs : ndarray (N, T, H)
        ts : ndarray of int (N, T)
            Targets equal to `ignore_label` do not count, whatever xs is there.
        gradients : bool
            False leaves them out; `backward` then raises.

        Returns
        -------
        NumPy scalar
            Nats; 0 when no target counts.
        """
        W, _ = self.params
        dW, db = self.grads
        H, V = W.shape
        self.expect("xs", xs, ("N", "T", H))
        targets, weights = targets_and_weights(self, ts, xs, V)  # (n,), (n,)
        rows = where_counted(self, xs, ts).reshape(-1, H)  # (n, H)
        dxs = np.empty(rows.shape, dtype=rows.dtype)  # (n, H)
        losses = np.empty(len(rows), dtype=rows.dtype)  # (n,)
        block_dW = self._like_dW("block dW")  # (H, V)

        step = max(LEAST_ROWS, BLOCK // V)
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            x = rows[block]  # (m, H)
            scores = self.buffers.take("scores", (len(x), V), W.dtype)  # (m, V)
            product(x, W, out=scores)
            self._block_loss(scores, targets[block], weights[block], losses[block], gradients)
            if not gradients:
                continue
            product(scores, W.T, out=dxs[block])
            ones = np.ones(len(x), dtype=x.dtype)  # (m,)
            if start == 0:
                product(x.T, scores, out=dW)
                np.matmul(ones, scores, out=db)
            else:
                product(x.T, scores, out=block_dW)
                dW += block_dW
                db += ones @ scores
        self.cache = dxs.reshape(xs.shape) if gradients else None
        return losses.sum()

    def _like_dW(self, name):
        """Return kept memory (H, V) that lies as dW does: if that is a transposed view, columns first."""
        dW = self.grads[0]
        if dW.flags.c_contiguous:
            return self.buffers.take(name, dW.shape, dW.dtype)
        return self.buffers.take(name, dW.T.shape, dW.dtype).T

    def _block_loss(self, scores, targets, weights, losses, gradients):
        """Share the rows of a block out to all cores; parameters as in `_tile_loss`."""
        if np.backend != "numpy":  # a GPU takes the block as a whole
            return self._tile_loss(scores, targets, weights, losses, gradients)
        n = len(scores)
        return run_parallel(self._rows_loss, *(
            (scores[rows], targets[rows], weights[rows], losses[rows], gradients)
            for rows in slices(n, min(worker_count(), n))))

    def _rows_loss(self, scores, targets, weights, losses, gradients):
        """Walk rows tile by tile; parameters as in `_tile_loss`."""
        step = max(1, TILE // scores.shape[1])
        for i in range(0, len(scores), step):
            j = i + step
            self._tile_loss(scores[i:j], targets[i:j], weights[i:j], losses[i:j], gradients)

    def _tile_loss(self, scores, targets, weights, losses, gradients):
        """Set the losses of a few rows, and turn their scores into the scores' gradients, in place.

        Parameters
        ----------
        scores : ndarray (m, V)
            x W, without the bias.
        targets : ndarray of int (m,)
        weights : ndarray (m,)
            What each row's loss counts.
        losses : ndarray (m,)
        gradients : bool
            False leaves them out.
        """
        scores += self.params[1]
        scores -= scores.max(axis=1, keepdims=True)
        at_target = np.arange(len(targets)), targets
        target_scores = scores[at_target]  # (m,)
        np.exp(scores, out=scores)
        totals = np.einsum("mv->m", scores)  # (m,), three times as fast as scores.sum(axis=1)
        losses[...] = (np.log(totals) - target_scores) * weights
        if gradients:
            scores *= (weights / totals)[:, None]
            scores[at_target] -= weights

    def backward(self, dout: float | Array = 1) -> Array:
        """Return dxs (N, T, H) and leave dW and db multiplied by dout.

        Raises
        ------
        ValueError
            A second time after one forward, or after a forward with gradients=False.
        """
        dxs = self.recall()
        self.cache = None
        if isinstance(dout, int) and dout == 1:
            return dxs
        for grad in self.grads:
            grad[...] = scaled(grad, dout)
        return scaled(dxs, dout)
