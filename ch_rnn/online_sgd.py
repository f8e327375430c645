"""Training a `MikolovRnnlm` by one SGD update after every character, many times as fast as through its layers.

The products of such a step are cheap; most of the time goes into writing its two matrices anew. But each
update has rank one. With e = [h, 1], a state and a 1 for the bias, with W the weights above their bias, and
with u = -lr d, where d is the gradient of the scores or pre-activations, step t works with

    W_t = W + sum over k < t of e_k^T u_k

and this needs no W_t: the u_k are put below W, the products of the states behind e_t, and

    e_t W_t = [e_t, e_1 . e_t, e_2 . e_t, ...] [W; u_1; u_2; ...]

Every `BLOCK` steps the updates that are due go into W, in one matrix product. The formulas of a step, with
u for the output layer and v for the hidden one:

    (1)  a = [e, g]_prev [Wh; b; v_1; v_2; ...] + Wx[x],  h = sigmoid(a)
    (2)  g = E e, where E has the block's states as its rows, each with its 1
    (3)  scores = [e, g] [W; c; u_1; u_2; ...]
    (4)  loss = log(sum of exp(scores)) - scores[target]
    (5)  u = -lr (softmax(scores) - onehot(target))
    (6)  -lr dh = W u + sum over k of h_k (u_k . u)
    (7)  v = -lr dh h (1 - h), and Wx[x] += v
"""
import math

import numpy as np  # not common.np: on a GPU, starting such small products would take longer than they do

BLOCK = 16


@np.errstate(over="ignore", invalid="ignore")  # exp(-a) may overflow, h is 0 then; a NaN shows in the losses
def train_online(model, xs, ts, lr):
    """Take a step of SGD for each character in turn; the gradient goes back through one step only.

    Equal, but for rounding, to `training_step(model, SGD(lr), x, t)` for one character after the
    other. For models on the CPU.

    Parameters
    ----------
    model : MikolovRnnlm
        Its parameters are written in place. It starts from its carried state (1, H), or zeros, and
        is left with the last one.
    xs, ts : numpy.ndarray of int (n,)
        Ids, and the id that follows each.
    lr : float
        Learning rate.

    Returns
    -------
    numpy.ndarray (n,)
        Cross entropy of each target, in nats, before the update that it leads to.

    Raises
    ------
    ValueError
        `xs` and `ts` differ in shape, or an id is outside the vocabulary.
    """
    one_hot, rnn, affine = model.layers
    (Wx, Wh, b), (W, c) = rnn.params, affine.params
    V, H = Wx.shape
    one_hot.expect_ids("xs", xs, (len(xs),), V)
    one_hot.expect_ids("ts", ts, xs.shape, V)

    hidden = _with_room(Wh, b)  # (H + 1 + K + 1, H), K = BLOCK
    output = _with_room(W, c)  # (H + 1 + K + 1, V)
    joined = np.zeros((BLOCK + 1, len(hidden)), dtype=W.dtype)  # (K + 1, H + 1 + K + 1), rows [e, g]
    joined[:, H] = 1
    hs, es, gs = joined[:, :H], joined[:, :H + 1], joined[:, H + 1:]  # (K + 1, H), (K + 1, H + 1), (K + 1, K + 1)
    hs[0] = 0 if rnn.h is None else rnn.h[0]
    Wx_rows = list(Wx)
    steps = list(zip(joined, joined[1:], hs[1:], es[1:], gs[1:], output[H + 2:], hidden[H + 1:]))

    a, dh, slope = np.empty((3, H), dtype=W.dtype)
    scores, u = np.empty((2, V), dtype=W.dtype)
    products = np.empty(len(output), dtype=W.dtype)  # W u, c . u, and u_k . u of all k
    one, ones = np.ones((), dtype=W.dtype), np.ones(V, dtype=W.dtype)
    losses = []
    xs, ts = xs.tolist(), ts.tolist()
    for start in range(0, len(xs), BLOCK):
        block = slice(start, start + BLOCK)
        for x, target, (eg_prev, eg, h, e, g, u_row, v) in zip(xs[block], ts[block], steps):
            Wx_row = Wx_rows[x]
            np.dot(eg_prev, hidden, out=a)  # (1)
            np.add(a, Wx_row, out=a)
            np.negative(a, out=a)
            np.exp(a, out=a)
            np.add(a, one, out=a)
            np.reciprocal(a, out=h)
            np.dot(es, e, out=g)  # (2)
            np.dot(eg, output, out=scores)  # (3)
            np.subtract(scores, scores.max(), out=scores)  # (4)
            np.exp(scores, out=u)
            total = float(np.dot(u, ones))
            losses.append(math.log(total) - scores.item(target))
            np.multiply(u, -lr / total, out=u)  # (5)
            u[target] += lr
            np.dot(output, u, out=products)  # (6)
            np.dot(products[H + 1:], hs, out=dh)
            np.add(dh, products[:H], out=dh)
            u_row[...] = u
            np.multiply(h, h, out=slope)  # (7)
            np.subtract(h, slope, out=slope)
            np.multiply(dh, slope, out=v)
            np.add(Wx_row, v, out=Wx_row)
        for weights in hidden, output:
            weights[:H + 1] += es.T @ weights[H + 1:]
            weights[H + 1:] = 0
        hs[0] = h
    W[...], c[...], Wh[...], b[...] = output[:H], output[H], hidden[:H], hidden[H]
    model.set_state([(hs[:1].copy(),)])
    return np.array(losses)


def _with_room(W, b):
    """Return [W; b; zeros], with a row of zeros for each state of a block and for the one before it."""
    return np.concatenate((W, b[None], np.zeros((BLOCK + 1, len(b)), dtype=W.dtype)))
