"""Right and wrong answers to the exercises of notebook 07."""

WITHOUT = """
def without(states, w):
    w = {w}
    return states - numpy.outer(states @ w, w)
"""

WITHOUT_BACKWARD = """
def without_backward(dout, states, w):
    return dout - numpy.outer(dout @ w, w) / (w @ w)
"""

ANSWERS = [
    # 1. A probe by hand. Wrong: the 2 of the square is forgotten.
    ("""
def probe_backward(dloss, w, b, h, d):
    dy = dloss * 2 * (h @ w + b - d) / len(d)  # (n,)
    return h.T @ dy, dy.sum()
""", """
def probe_backward(dloss, w, b, h, d):
    dy = dloss * (h @ w + b - d) / len(d)
    return h.T @ dy, dy.sum()
"""),
    # 2. Which cells does a prediction listen to? Wrong: the slope of tanh is left out.
    ("""
def cell_gradient(dl, c, o, W, b, k):
    h = o * numpy.tanh(c)  # (H,)
    ds = -softmax(h @ W + b)  # (V,)
    ds[k] += 1
    dh = W @ (dl * ds)  # (H,)
    return dh * o * (1 - numpy.tanh(c)**2)
""", """
def cell_gradient(dl, c, o, W, b, k):
    h = o * numpy.tanh(c)
    ds = -softmax(h @ W + b)
    ds[k] += 1
    return W @ (dl * ds) * o
"""),
    # 3. Correlation. Wrong: the means are not taken off.
    ("""
def correlation_of_each(states, signal):
    states, signal = states - states.mean(axis=0), signal - signal.mean()  # (T, H), (T,)
    return signal @ states / (numpy.linalg.norm(states, axis=0) * numpy.linalg.norm(signal))
""", """
def correlation_of_each(states, signal):
    return signal @ states / (numpy.linalg.norm(states, axis=0) * numpy.linalg.norm(signal))
"""),
    # 4. Making it forget. Wrong: as if w were of length 1; the gradient comes back along w.
    (WITHOUT.format(w="w / numpy.linalg.norm(w)") + WITHOUT_BACKWARD, WITHOUT.format(w="w") + WITHOUT_BACKWARD,
     WITHOUT.format(w="w / numpy.linalg.norm(w)") + """
def without_backward(dout, states, w):
    return dout
"""),
]
