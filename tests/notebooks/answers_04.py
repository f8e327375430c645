"""A right answer and wrong ones to each exercise of notebook 04, in order."""

STEP = """
def lstm_step(x, h_prev, c_prev, Wx, Wh, b):
    {order} = np.split(x @ Wx + h_prev @ Wh + b, 4, axis=1)
    c = sigmoid(af) * c_prev + np.tanh(ag) * sigmoid(ai)
    return sigmoid(ao) * np.tanh(c), c
"""

GATES = """
def gate_gradients(dh, dc, af, ag, ai, ao, c_prev):
    f, g, i, o = sigmoid(af), np.tanh(ag), sigmoid(ai), sigmoid(ao)
    tanh_c = np.tanh(f * c_prev + g * i)
    dc = dc{through_h}
    return (dc * c_prev * f * (1 - f), dc * i * (1 - g**2), dc * g * i * (1 - i), dh * tanh_c * o * (1 - o), dc * f)
"""

FORGET_BIAS = """
def with_forget_bias(b, value):
    b = b.copy()
    b[{forget}] = value
    return b
"""

PEEPHOLE = """
def peephole_gradients(dc, a, p, c_prev, u):
    f = sigmoid(a + p * c_prev)
    da = dc * c_prev * f * (1 - f)
    return da, (da * c_prev).sum(axis=0), dc * f{second_way}, dc
"""

GRU = """
def gru_gradients(dh, a, z, r, h_prev, Whh):
    h_hat = np.tanh(a + (r * h_prev) @ Whh)
    da = dh * z * (1 - h_hat**2)
    d_reset = da @ Whh.T
    return da, dh * {of_z}, d_reset * h_prev, dh * (1 - z){second_way}, (r * h_prev).T @ da
"""
OF_Z, SECOND_WAY = "(h_hat - h_prev)", " + d_reset * r"

ANSWERS = [
    (STEP.format(order="af, ag, ai, ao"), STEP.format(order="ai, af, ag, ao")),
    (GATES.format(through_h=" + dh * o * (1 - tanh_c**2)"), GATES.format(through_h="")),
    (FORGET_BIAS.format(forget=":len(b) // 4"), FORGET_BIAS.format(forget=":")),
    (PEEPHOLE.format(second_way=" + da * p"), PEEPHOLE.format(second_way="")),
    (GRU.format(of_z=OF_Z, second_way=SECOND_WAY), GRU.format(of_z=OF_Z, second_way=""),
     GRU.format(of_z="h_hat", second_way=SECOND_WAY)),
]
