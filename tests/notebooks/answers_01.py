"""A right answer and wrong ones to each exercise of notebook 01, in order."""

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

TWO_STEPS = """
def two_steps_backward(G, x1, x2, w_x, w_h, b):
    h1 = np.maximum(0, x1 * w_x + b)
    da2 = G * (x2 * w_x + h1 * w_h + b > 0)
    da1 = {da1}
    return da1 * w_x, da2 * w_x, {dw_x}, da2 * h1, da1 + da2
"""
BOTH_WAYS, SLOPE = "da1 * x1 + da2 * x2", "da2 * w_h * (h1 > 0)"

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

LINEAR_BACKWARD = """
def linear_recurrence_backward(G, x, w):
    M = linear_recurrence_matrix(w, len(x))
    dx = {M} @ G
    h = M @ x
    return dx, dx @ {h_prev}
"""
H_PREV = "np.append(0, h[:-1])"

ANSWERS = [
    (SWITCH.format(b=-0.5), SWITCH.format(b=0.5), SWITCH.format(b=-9.0)),
    (NEURON.format(square="**2"), NEURON.format(square="")),
    (TWO_STEPS.format(da1=SLOPE, dw_x=BOTH_WAYS), TWO_STEPS.format(da1=SLOPE, dw_x="da2 * x2"),
     TWO_STEPS.format(da1="da2 * w_h", dw_x=BOTH_WAYS)),
    (SEQUENCE.format(h="h"), SEQUENCE.format(h="np.zeros_like(h)")),
    (LINEAR.format(lower="tril"), LINEAR.format(lower="triu")),
    (LINEAR_BACKWARD.format(M="M.T", h_prev=H_PREV), LINEAR_BACKWARD.format(M="M", h_prev=H_PREV),
     LINEAR_BACKWARD.format(M="M.T", h_prev="h")),
]
