"""An LSTM over a sequence for a CPU: the formulas of `common.layers.lstm`, arranged to leave little work in the loop.

Besides the products, a time step of a small batch costs NumPy calls and memory for their results. Here nothing is
allocated inside the loops, what is allocated outside is kept for the next call (`common.fast.buffers`), and

- forwards, sigmoid(a) = (1 + tanh(a / 2)) / 2, so one tanh takes all four gates, between a
  multiplication and an addition by row vectors that leave the candidate g alone;
- backwards, whatever depends only on the forward pass is computed for all steps before the loop, by the threads
  that share the sequences, a tile of rows at a time while it is in the cache. At a step, dc and dh are multiplied
  by these slopes:

      daf = dc [f (1 - f) c_prev],  dag = dc [(1 - g^2) i],  dai = dc [i (1 - i) g],  dao = dh [o (1 - o) tanh(c)]
      dc gains dh [o (1 - tanh(c)^2)],  dc_prev = dc [f]

  The slopes overwrite the gates, and then the gradients da overwrite the slopes, so a sequence
  of P rows needs one (P, 4H) array for both directions. That destroys what forward kept: a second backward raises.

The products with Wh are cut into blocks of columns, so small that OpenBLAS takes each without packing Wh anew at
every step, where it can (with AVX-512).

The cores divide the batch of a large layer: its sequences do not depend on each other, so each thread takes some of
them through all steps, and the threads join at the end.
"""
import contextlib

from common.device.threads import one_blas_thread, product, run_each, run_parallel, slices, worker_count
from common.fast.buffers import Buffers
from common.layers.lstm import TimeLSTM, split_gates
from common.np import Array, ArrayLike, np

TILE = 65_536  # gates that are turned into slopes at once: 256 kB
SHARED_PRODUCT = 4_000_000  # smallest number of multiplications in h Wh for which two threads save time
LEAST_SEQUENCES = 4  # of a thread: each reads all of Wh at every step, even for one sequence
BLOCK_STEPS = 8  # smallest number of steps for which copying Wh block by block saves time
UNPACKED = 1_000_000  # largest number of multiplications that OpenBLAS does without packing
LEAST_COLUMNS = 32  # of a block: with fewer, the product takes longer


class FastTimeLSTM(TimeLSTM):
    """`TimeLSTM`, equal to it but for rounding, in less time and memory on a CPU.

    Parameters and attributes are those of `TimeLSTM`. One backward can follow a forward.
    """

    _product = staticmethod(product)

    def __init__(self, Wx: Array, Wh: Array, b: Array, stateful: bool = False) -> None:
        super().__init__(Wx, Wh, b, stateful)
        self.buffers = Buffers()
        # Turn tanh into the four gates. As rows, since for N = 1 equal shapes take half the time of a broadcast.
        self.scale = np.full((1, len(b)), 0.5, dtype=b.dtype)  # (1, 4H)
        self.shift = self.scale.copy()  # (1, 4H)
        split_gates(self.scale)[1][...], split_gates(self.shift)[1][...] = 1, 0

    def _take(self, name, *shape):
        return self.buffers.take(name, shape, self.params[0].dtype)

    def forward(self, xs: Array, lengths: ArrayLike | None = None) -> Array:
        """Map xs (N, T, D) to the states hs (N, T, H), as `TimeLSTM.forward`."""
        packing, xs = self._start(xs, lengths)  # (P, D)
        Wx, Wh = self.params[0], self._Wh
        N, P, H = packing.N, packing.P, self.hidden_size
        self.cache = None  # what follows writes over the memory of the last forward
        hs, cs = self._states(packing, self._take("states", 2, N + P, H))  # (N + P, H)
        gates = self._take("gates", P, 4 * H)  # (P, 4H)
        tanh_cs = self._take("tanh c", P, H)  # (P, H)
        shares, width = self._share(packing, Wh)
        with _threads_for(shares):
            product(xs, Wx, out=gates)
            Wh = self._in_blocks("Wh", Wh, width)  # (4H / width, H, width)
            h_Wh = self._take("h Wh", N, 4 * H)  # (N, 4H)
            run_parallel(self._walk_forward, *(
                (packing, share, Wh, h_Wh[share], gates, hs, cs, tanh_cs) for share in shares))
        self.cache = packing, xs, hs, cs, gates, tanh_cs
        return self._end(packing, hs, cs)  # (N, T, H)

    def _walk_forward(self, packing, share, Wh, h_Wh, gates, hs, cs, tanh_cs):
        """Go through all steps with some of the sequences.

        Parameters
        ----------
        packing : Packing
        share : slice
            The sequences, in the order of the packed rows.
        Wh : ndarray (B, H, 4H / B)
            In B blocks of columns.
        h_Wh : ndarray (n, 4H)
            Memory for this product of these sequences.
        gates : ndarray (P, 4H)
            x Wx, which the gates overwrite.
        hs, cs, tanh_cs : ndarray (N + P, H), (N + P, H), (P, H)
            States, whose first N rows are the initial ones, and tanh of the cells after each step.
        """
        N, b, scale, shift = packing.N, self.params[2][None], self.scale, self.shift  # rows (1, 4H)
        all_h_Wh, all_blocks, n = h_Wh, _blocks(h_Wh, len(Wh)), None  # (n, 4H), (B, n, 4H / B)
        for a, f, g, i, o, h_prev, h, c_prev, c, tanh_c in _steps(
                share, packing.by_step(gates), *map(packing.by_step, split_gates(gates)),
                packing.by_step_before(hs), packing.by_step(hs[N:]),
                packing.by_step_before(cs), packing.by_step(cs[N:]), packing.by_step(tanh_cs)):
            if len(a) != n:
                n = len(a)
                h_Wh, h_Wh_blocks = all_h_Wh[:n], all_blocks[:, :n]  # (n, 4H), (B, n, 4H / B)
            np.matmul(h_prev, Wh, out=h_Wh_blocks)  # (1)
            np.add(a, h_Wh, out=a)
            np.add(a, b, out=a)
            np.multiply(a, scale, out=a)  # (2)
            np.tanh(a, out=a)
            np.multiply(a, scale, out=a)
            np.add(a, shift, out=a)
            np.multiply(f, c_prev, out=c)  # (3)
            np.multiply(g, i, out=tanh_c)
            np.add(c, tanh_c, out=c)
            np.tanh(c, out=tanh_c)  # (4)
            np.multiply(o, tanh_c, out=h)

    def _share(self, packing, W):
        """Return a slice of the sequences for each thread, and the number of columns in a block of a matrix W."""
        N, threads, width = packing.N, 1, W.shape[1]
        if np.backend == "numpy" and packing.T >= BLOCK_STEPS and N > 1:  # one row is multiplied without packing anyway
            if N * W.size >= SHARED_PRODUCT:
                threads = max(1, min(worker_count(), N // LEAST_SEQUENCES))
            width = _block_width(-(-N // threads), W)
        return slices(N, threads), width

    def _in_blocks(self, name, W, width):
        """Return W (rows, columns) as blocks (columns / width, rows, width), copied if there are several."""
        if width == W.shape[1]:
            return W[None]
        blocks = self._take(name, W.shape[1] // width, len(W), width)  # (B, rows, width)
        blocks[...] = _blocks(W, len(blocks))
        return blocks

    def backward(self, dhs: Array, dh: Array | None = None, dc: Array | None = None) -> Array:
        """Map the gradients of the states to those of the input, as `TimeLSTM.backward`; once after a forward."""
        packing, xs, hs, cs, gates, tanh_cs = self.recall()
        dhs = self._start_backward(dhs, packing)  # (P, H)
        dh = self._final("dh", dh, packing)  # (N, H)
        dc = self._final("dc", dc, packing)  # (N, H)
        self.cache = None
        shares, width = self._share(packing, self.params[1].T)
        with _threads_for(shares):
            forget = self._take("forget", *tanh_cs.shape)  # (P, H)
            _each_tile(_turn_into_slopes, len(shares), gates, packing.before(cs), tanh_cs, forget)
            H, da, dc_of_dh = self.hidden_size, gates, tanh_cs  # slopes so far, (P, 4H), (P, H)
            of_dc, of_dh = da.reshape(-1, 4, H)[:, :3], da[:, 3 * H:]  # (P, 3, H), (P, H)
            Wh_T = self._in_blocks("Wh_T", self._transposed_Wh(), width)  # (H / width, 4H, width)
            run_parallel(self._walk_backward, *(
                (packing, share, Wh_T, da, of_dc, of_dh, dhs, dc_of_dh, forget, dh[share], dc[share])
                for share in shares))
            self.dh, self.dc = packing.unsort(dh), packing.unsort(dc)
            return packing.unpack(self._project_backward(xs, packing.before(hs), da))  # (N, T, D)

    def _walk_backward(self, packing, share, Wh_T, da, of_dc, of_dh, dhs, dc_of_dh, forget, dh, dc):
        """Go back through all steps with some of the sequences.

        Parameters
        ----------
        packing : Packing
        share : slice
            The sequences, in the order of the packed rows.
        Wh_T : ndarray (B, 4H, H / B)
            In B blocks of columns.
        da : ndarray (P, 4H)
            Slopes, which the gradients of the pre-activations overwrite.
        of_dc, of_dh : ndarray (P, 3, H), (P, H)
            The parts of da that are multiplied by dc and by dh.
        dhs, dc_of_dh, forget : ndarray (P, H)
        dh, dc : ndarray (n, H)
            Gradients at the final states of these sequences; afterwards those at the states to begin with.
        """
        gain, dh_blocks, n = np.empty_like(dh), _blocks(dh, len(Wh_T)), None  # (n, H), (B, n, H / B)
        for da_t, of_dc_t, of_dh_t, dh_out, dc_of_dh_t, f in reversed(list(_steps(
                share, *map(packing.by_step, (da, of_dc, of_dh, dhs, dc_of_dh, forget))))):
            if len(da_t) != n:
                n = len(da_t)
                dh_t, dc_t, gain_t, dh_t_blocks = dh[:n], dc[:n], gain[:n], dh_blocks[:, :n]
                dc_t_row = dc_t[:, None]  # (n, 1, H)
            np.add(dh_t, dh_out, out=dh_t)
            np.multiply(dh_t, dc_of_dh_t, out=gain_t)  # (4)
            np.add(dc_t, gain_t, out=dc_t)
            np.multiply(of_dc_t, dc_t_row, out=of_dc_t)  # (3) (2)
            np.multiply(of_dh_t, dh_t, out=of_dh_t)  # (4) (2)
            np.multiply(dc_t, f, out=dc_t)  # (3)
            np.matmul(da_t, Wh_T, out=dh_t_blocks)  # (1)


def _threads_for(shares):
    """Return the context of a layer's work: BLAS has its threads, unless ours have a share each of the sequences."""
    return one_blas_thread if len(shares) > 1 else contextlib.nullcontext()


def _block_width(n, W):
    """Return the most columns of a block of W that n rows are multiplied by without packing; all, if too few."""
    rows, columns = W.shape
    widths = [width for width in range(LEAST_COLUMNS, columns)
              if columns % width == 0 and n * rows * width <= UNPACKED]
    return widths[-1] if widths and n * W.size > UNPACKED else columns


def _blocks(array, count):
    """Return an array (rows, columns) as a view of `count` blocks of columns, (count, rows, columns / count)."""
    return array.reshape(len(array), count, -1).swapaxes(0, 1)


def _steps(share, *lists):
    """Yield step by step the arrays (n, ...) of several lists, each cut to the rows of some of the sequences."""
    if share == slice(0, len(lists[0][0])):  # all of them
        yield from zip(*lists)
        return
    for arrays in zip(*lists):
        arrays = tuple(array[share] for array in arrays)
        if not len(arrays[0]):  # the sequences that still run are the first ones
            return
        yield arrays


def _turn_into_slopes(gates, c_prev, tanh_c, forget):
    """Overwrite gates (P, 4H) and tanh_c (P, H) with the slopes that multiply the gradients; put f into `forget`."""
    f, g, i, o = split_gates(gates)  # (P, H) each
    forget[...] = f
    dc_of_dh = o * (1 - tanh_c * tanh_c)
    o *= (1 - o) * tanh_c
    tanh_c[...] = dc_of_dh
    slope_g = (1 - g * g) * i
    i *= (1 - i) * g
    g[...] = slope_g
    f *= (1 - f) * c_prev


def _each_tile(function, threads, *arrays):
    """Call a function on the same tiles of rows of several arrays, in some threads."""
    P, width = arrays[0].shape
    rows = max(1, TILE // width)
    tiles = [slice(start, start + rows) for start in range(0, P, rows)]
    run_each(lambda tile: function(*(array[tile] for array in arrays)), tiles, threads)
