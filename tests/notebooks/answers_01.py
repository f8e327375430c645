"""A right and a wrong answer to each exercise of notebook 01, in order."""

SWITCH = """
def switch():
    return 8.0, 3.0, {b}
"""

NEURON = """
def neuron_backward(G, x, h_prev, w_x, w_h, b):
    h = np.tanh(x * w_x + h_prev * w_h + b)
    da = G * (1 - h{square})
    return da * w_x, da * w_h, da * x, da * h_prev, da
"""

SEQUENCE = """
def relu_sequence(xs, Wx, Wh, b):
    N, T, _ = xs.shape
    hs = np.empty((N, T, len(b)))
    h = np.zeros((N, len(b)))
    for t in range(T):
        h = np.maximum(0, xs[:, t] @ Wx + {h} @ Wh + b)
        hs[:, t] = h
    return hs
"""

LINEAR = """
def linear_recurrence_matrix(w, T):
    t = np.arange(T)
    return np.{lower}(w ** np.maximum(0, t[:, None] - t))
"""

ANSWERS = [
    (SWITCH.format(b=-0.5), SWITCH.format(b=0.5)),
    (NEURON.format(square="**2"), NEURON.format(square="")),
    (SEQUENCE.format(h="h"), SEQUENCE.format(h="np.zeros_like(h)")),
    (LINEAR.format(lower="tril"), LINEAR.format(lower="triu")),
]
