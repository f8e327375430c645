"""A right answer and wrong ones to each exercise of notebook 03, in order."""

JACOBIAN = """
def step_jacobian(x, h_prev, Wx, Wh, b):
    h = np.tanh(x @ Wx + h_prev @ Wh + b)
    return (1 - h**2)[:, None] * {Wh}
"""

CLIPPED = """
def clipped(grads, max_norm):
    norm = np.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad * {rate} for grad in grads]
"""

ORTHOGONAL = """
def orthogonal(rng, H):
    return {matrix}
"""

RESCALED = """
def rescaled_gradients(dW, V, s):
    norm = np.linalg.norm(V)
    ds = (dW * V).sum() / norm
    return s / norm * {along}, ds
"""

ADDING = """
def adding_step_gradients(dh, x, h_prev, Wx, Wh, b):
    new = np.tanh(x @ Wx + h_prev @ Wh + b)
    da = dh * (1 - new**2)
    return da @ Wx.T, {dh_prev}, x.T @ da, h_prev.T @ da, da.sum(axis=0)
"""

ANSWERS = [
    (JACOBIAN.format(Wh="Wh.T"), JACOBIAN.format(Wh="Wh")),
    ("import math\n\nsteps = math.ceil(math.log(1e-3) / math.log(0.9))", "steps = 65"),
    (CLIPPED.format(rate="min(1, max_norm / norm)"), CLIPPED.format(rate="max_norm / norm"),
     CLIPPED.format(rate="min(1, max_norm / np.linalg.norm(grad))")),
    (ORTHOGONAL.format(matrix="np.linalg.qr(rng.standard_normal((H, H)))[0]"),
     ORTHOGONAL.format(matrix="rng.standard_normal((H, H)) / H**0.5"), ORTHOGONAL.format(matrix="np.eye(H)")),
    (RESCALED.format(along="(dW - ds * V / norm)"), RESCALED.format(along="dW")),
    (ADDING.format(dh_prev="dh + da @ Wh.T"), ADDING.format(dh_prev="da @ Wh.T")),
]
