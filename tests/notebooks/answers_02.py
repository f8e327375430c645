"""A right and a wrong answer to each exercise of notebook 02, in order."""

STEP = """
def {name}(dh, x, h_prev, Wx, Wh, b):
    h = {phi}(x @ Wx + h_prev @ Wh + b)
    da = dh * {slope}
    return da @ Wx.T, da @ {Wh}, x.T @ da, h_prev.T @ da, da.sum(axis=0)
"""
TANH = {"name": "step_gradients", "phi": "np.tanh", "slope": "(1 - h**2)"}
RELU = {"name": "relu_step_gradients", "phi": "(lambda a: np.maximum(0, a))"}

BPTT = """
def bptt(dhs, xs, Wx, Wh, b):
    N, T, H = dhs.shape
    hs = np.zeros((N, T + 1, H))
    for t in range(T):
        hs[:, t + 1] = np.tanh(xs[:, t] @ Wx + hs[:, t] @ Wh + b)
    dxs, dWx, dWh, db = np.zeros_like(xs), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    dh = np.zeros((N, H))
    for t in reversed(range(T)):
        da = (dhs[:, t] + {arriving}) * (1 - hs[:, t + 1] ** 2)
        dWx += xs[:, t].T @ da
        dWh += hs[:, t].T @ da
        db += da.sum(axis=0)
        dxs[:, t], dh = da @ Wx.T, da @ Wh.T
    return dxs, dWx, dWh, db
"""

LEAKY = """
def leaky_step_gradients(dh, x, h_prev, Wx, Wh, b, alpha):
    new = np.tanh(x @ Wx + h_prev @ Wh + b)
    da = dh * alpha * (1 - new**2)
    dh_prev = da @ Wh.T{second_way}
    return da @ Wx.T, dh_prev, x.T @ da, h_prev.T @ da, da.sum(axis=0), (dh * (new - h_prev)).sum()
"""

ANSWERS = [
    (STEP.format(**TANH, Wh="Wh.T"), STEP.format(**TANH, Wh="Wh")),
    (STEP.format(**RELU, slope="(h > 0)", Wh="Wh.T"), STEP.format(**RELU, slope="h", Wh="Wh.T")),
    (BPTT.format(arriving="dh"), BPTT.format(arriving="0")),
    (LEAKY.format(second_way=" + dh * (1 - alpha)"), LEAKY.format(second_way="")),
]
