"""Right and wrong answers to the exercises of notebook 08."""

ANSWERS = [
    # 1. Out of the loop. Wrong: one product for each time step, and batch and time mixed up in dWx.
    ("""
def project(xs, Wx, b):
    N, T, D = xs.shape
    return (xs.reshape(N * T, D) @ Wx + b).reshape(N, T, -1)


def project_backward(da, xs, Wx, b):
    N, T, D = xs.shape
    rows, da = xs.reshape(N * T, D), da.reshape(N * T, -1)  # (N T, D), (N T, G)
    return (da @ Wx.T).reshape(N, T, D), rows.T @ da, da.sum(axis=0)
""", """
def project(xs, Wx, b):
    return numpy.stack([xs[:, t] @ Wx + b for t in range(xs.shape[1])], axis=1)


def project_backward(da, xs, Wx, b):
    N, T, D = xs.shape
    rows, da = xs.swapaxes(0, 1).reshape(N * T, D), da.reshape(N * T, -1)
    return (da @ Wx.T).reshape(N, T, D), rows.T @ da, da.sum(axis=0)
"""),
    # 2. A step that can be fused. Wrong: the slope of the sigmoid is left out.
    ("""
def leaky_backward(dh, az, ah, h_prev):
    z, candidate = sigmoid(az), np.tanh(ah)
    daz = dh * (candidate - h_prev) * z * (1 - z)
    dah = dh * z * (1 - candidate * candidate)
    return daz, dah, dh * (1 - z)
""", """
def leaky_backward(dh, az, ah, h_prev):
    z, candidate = sigmoid(az), np.tanh(ah)
    return dh * (candidate - h_prev), dh * z * (1 - candidate * candidate), dh * (1 - z)
"""),
    # 3. Counting orders. Wrong: forwards only.
    ("""
launches_in_the_loop = 3 * 100 * (2 + 2)
seconds_for_1000_batches = launches_in_the_loop * 10e-6 * 1000
""", """
launches_in_the_loop = 3 * 100 * 2
seconds_for_1000_batches = launches_in_the_loop * 10e-6 * 1000
"""),
    # 4. Two steps as one. Wrong: in the other order.
    ("""
def combined(a1, b1, a2, b2):
    return a2 * a1, a2 * b1 + b2
""", """
def combined(a1, b1, a2, b2):
    return a1 * a2, a1 * b2 + b1
"""),
]
