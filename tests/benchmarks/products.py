"""The matrix products of a training step, without anything else: what no framework can leave out."""
from common.layers.recurrent import RecurrentLayer
from common.layers.time import TimeAffine
from common.np import np


def products_of(model, N, T):
    """List the matrix products of a training step on batches (N, T).

    Parameters
    ----------
    model : LanguageModel

    Returns
    -------
    list of (tuple, tuple, int)
        The shapes of the operands, and how many times there is such a product. A shape with a
        negative first number is that of an operand that lies transposed in memory.
    """
    rows, products = N * T, []
    for layer in model.layers:
        if isinstance(layer, RecurrentLayer):
            (D, G), H = layer.params[0].shape, layer.hidden_size
            products += [((rows, D), (D, G), 1), ((N, H), (H, G), T),  # x Wx, h Wh
                         ((N, G), (G, H), T), ((rows, G), (-G, D), 1),  # dh, dx
                         ((-D, rows), (rows, G), 1), ((-H, rows), (rows, G), 1)]  # dWx, dWh
        elif isinstance(layer, TimeAffine):
            H, V = layer.params[0].shape
            products += [((rows, H), (H, V), 1), ((rows, V), (-V, H), 1), ((-H, rows), (rows, V), 1)]
    return products


def operations(products):
    """Return the floating-point operations of products, a multiplication and an addition counted as two."""
    return sum(2 * abs(m) * k * n * count for (m, k), (_, n), count in products)


def prepare(products, dtype=np.float32):
    """Return a function that computes all products into memory of its own."""
    prepared = []
    for left, right, count in products:
        a, b = (_operand(shape, dtype) for shape in (left, right))
        prepared.append((a, b, np.empty((a.shape[0], b.shape[1]), dtype=dtype), count))

    def compute():
        for a, b, out, count in prepared:
            for _ in range(count):
                np.matmul(a, b, out=out)

    return compute


def _operand(shape, dtype):
    m, n = shape
    return np.full((n, -m), 0.1, dtype=dtype).T if m < 0 else np.full((m, n), 0.1, dtype=dtype)
