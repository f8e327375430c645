"""Wrong answers to the exercises of each notebook, as changes of the right ones in notebooks/solved.

By the number of the notebook, for each exercise in order: wrong answers, and each is some pairs of a part of the right
answer and what stands there instead. Where a check prints several verdicts, the wrong answers together must turn each
of them to "Not yet".
"""

WRONG = {
    "01": [
        [[("-0.5", "0.5")], [("-0.5", "-9.0")]],
        [[("h**2)", "h)")]],
        [[("da1 * x1 + da2", "da2")], [("w_h * (h1 > 0)", "w_h")]],
        [[("+ h @ Wh", "+ np.zeros_like(h) @ Wh")]],
        [[("tril", "triu")]],
        [[("M.T", "M")], [("np.append(0, h[:-1])", "h")]],
    ],
    "02": [
        [[("Wh.T", "Wh")]],
        [[("(h > 0)", "h")]],
        [[("dhs[:, t] + dh", "dhs[:, t]")]],
        [[(" + dh * (1 - alpha)", "")]],
    ],
    "03": [
        [[("Wh.T", "Wh")]],
        [[("math.ceil(math.log(1e-3) / math.log(0.9))", "65")]],
        [[("min(1, max_norm / norm)", "max_norm / norm")], [("max_norm / norm", "max_norm / np.linalg.norm(grad)")]],
        [[("np.linalg.qr(rng.standard_normal((H, H)))[0]", "rng.standard_normal((H, H)) / H**0.5")],
         [("np.linalg.qr(rng.standard_normal((H, H)))[0]", "np.eye(H)")]],
        [[("(dW - ds * V / norm)", "dW")]],
        [[("dh + da @", "da @")]],
    ],
    "04": [
        [[("af, ag, ai", "ai, af, ag")]],
        [[(" + dh * o * (1 - tanh_c**2)", "")]],
        [[(":len(b) // 4", ":")]],
        [[(" + da * p", "")]],
        [[(" + d_reset * r", "")], [("(h_hat - h_prev)", "h_hat")]],
    ],
    "05": [
        [[(" / len(targets)", "")]],  # the mean over the rows is forgotten
        [[("numpy.add.at(dW, ids, dscores @ W)", "dW[ids] += dscores @ W")]],  # of an id, only the last gradient stays
        [[("(dp - (p * dp).sum(axis=1, keepdims=True))", "(1 - p) * dp")],  # as if the scores of a row were independent
         [("-(dq * s).sum() / tau**2", "(dq * s).sum()")]],  # the gradient of 1 / tau is forgotten
        [[("math.exp((1000 * math.log(50) + 3000 * math.log(200)) / 4000)", "(1000 * 50 + 3000 * 200) / 4000")]],
    ],
    "06": [
        [[("numpy.arange(len(hs)), lengths - 1", ":, -1")]],  # the last column, padding or not
        [[("real[:, :, None]", "numpy.ones_like(hs)")]],  # padding gets a gradient too
        [[("numpy.where(real[:, :, None], hs, -numpy.inf).max(", "hs.max(")],  # the zeros of the padding win, forwards,
         [("numpy.where(real[:, :, None], hs, -numpy.inf).argmax(", "hs.argmax(")]],  # or backwards
        [[("2 * right / (2 * right + false_positives + false_negatives)", "right / matrix.sum(axis=1)")]],  # recall
    ],
    "07": [
        [[("2 * (h", "(h")]],  # the 2 of the square is forgotten
        [[("dh * o * (1 - numpy.tanh(c)**2)", "dh * o")]],  # the slope of tanh is left out
        [[("states - states.mean(axis=0), signal - signal.mean()", "states, signal")]],  # the means stay
        [[("w / numpy.linalg.norm(w)", "w")],  # as if w were of length 1
         [("dout - numpy.outer(dout @ w, w) / (w @ w)", "dout")]],  # the gradient comes back along w
    ],
    "08": [
        [[("Wx + b).reshape", "Wx).reshape")],  # no b; a product for each step; no product; N and T mixed up
         [("(xs.reshape(N * T, D) @ Wx + b).reshape(N, T, -1)",
          "numpy.stack([xs[:, t] @ Wx + b for t in range(T)], axis=1)")],
         [("(xs.reshape(N * T, D) @ Wx + b).reshape(N, T, -1)", "(xs[..., None] * Wx).sum(axis=2) + b")],
         [("rows, da = xs.reshape", "rows, da = xs.swapaxes(0, 1).reshape")]],
        [[("largest = scores.max(axis=1, keepdims=True)", "largest = np.full((len(scores), 1), scores.max())")],
         [("np.exp(scores - scores.max(axis=1, keepdims=True))", "np.exp(scores)")]],  # it overflows
        [[("(2 + 2)", "2"), ("launches_in_the_loop *", "2 * launches_in_the_loop *")],  # forwards only
         [(" * 1000", "")]],  # the seconds of one batch
        [[("a2 * b1 + b2", "a1 * b2 + b1")],  # in the other order
         [(" + db * b1", "")]],  # a2 acts on b as well
    ],
    "09": [
        [[(" - log_pi[candidates]", "")],  # without the correction; the sum; the rows of other words; another target
         [("dloss / len(targets)", "dloss")],
         [("dW[candidates] =", "dW[:len(candidates)] =")],
         [("numpy.searchsorted(candidates, targets)", "targets % len(candidates)")]],
        [[("(mask * xs)", "xs")],  # the mask in one of the two only
         [("mask * (dys @ W.T)", "dys @ W.T")]],
        [[("mask[ids] * W[ids]", "W[ids]")],
         [("mask[ids] * (dscores @ W)", "dscores @ W")],  # the lookup has its mask forwards only
         [("return dW", "return mask * dW")],  # as if both uses were masked
         [("numpy.add.at(dW, ids, mask[ids] * (dscores @ W))", "dW[ids] += mask[ids] * (dscores @ W)")]],
        [[("mask * dWh", "dWh")], [("used.T", "Wh.T")],
         [("dWh += hs[:, t].T", "dWh += hs[:, t + 1].T")]],  # the state after the step
        [[("mask**2", "mask")], [("/ hs.size", "/ hs.shape[1]")],  # the mask acts twice; the mean is over all elements
         [("dhs[:, :-1] -= pulls", "pass")], [("/ changes.size", "/ hs.size")]],  # one of two states; T - 1 changes
        [[("/ n", "/ (n + 1)")], [("average + (w - average) / n", "(average + w) / 2")]],
        [[("-dloss", "dloss")], [("lambda_ * dmixed, (", "dmixed, (")], [("(q - p)", "q")]],
    ],
}
