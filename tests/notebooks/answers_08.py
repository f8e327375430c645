"""Right and wrong answers to the exercises of notebook 08."""

PROJECT = """
def project(xs, Wx, b):
    N, T, D = xs.shape
    return (xs.reshape(N * T, D) @ Wx{bias}).reshape(N, T, -1)
"""

PROJECT_BACKWARD = """
def project_backward(da, xs, Wx, b):
    N, T, D = xs.shape
    rows, da = xs{order}.reshape(N * T, D), da.reshape(N * T, -1)  # (N T, D), (N T, G)
    return (da @ Wx.T).reshape(N, T, D), rows.T @ da, da.sum(axis=0)
"""

LOG_SUM_EXP = """
def log_sum_exp(scores):
    largest = {largest}
    return largest[:, 0] + np.log(np.exp(scores - largest).sum(axis=1))
"""
OF_EACH_ROW = "scores.max(axis=1, keepdims=True)  # (n, 1)"

SOFTMAX = """
def log_sum_exp_backward(dl, scores):
    p = np.exp(scores{shift})  # (n, V)
    return dl[:, None] * p / p.sum(axis=1, keepdims=True)
"""
BY_THE_LARGEST = " - scores.max(axis=1, keepdims=True)"

COUNTED = """
launches_in_the_loop = {launches}
seconds_for_1000_batches = {seconds}
"""

COMBINED = """
def combined(a1, b1, a2, b2):
    return a1 * a2, {b}
"""

COMBINED_BACKWARD = """
def combined_backward(da, db, a1, b1, a2, b2):
    return da * a2, db * a2, da * a1{second_way}, db
"""

ANSWERS = [
    # 1. Out of the loop. Wrong: no b; one product for each time step; no product with @; batch and time mixed up.
    (PROJECT.format(bias=" + b") + PROJECT_BACKWARD.format(order=""),
     PROJECT.format(bias="") + PROJECT_BACKWARD.format(order=""),
     """
def project(xs, Wx, b):
    return numpy.stack([xs[:, t] @ Wx + b for t in range(xs.shape[1])], axis=1)
""" + PROJECT_BACKWARD.format(order=""),
     """
def project(xs, Wx, b):
    return (xs[..., None] * Wx).sum(axis=2) + b
""" + PROJECT_BACKWARD.format(order=""),
     PROJECT.format(bias=" + b") + PROJECT_BACKWARD.format(order=".swapaxes(0, 1)")),
    # 2. A sum that does not overflow. Wrong: one largest score for all rows; a gradient that overflows.
    (LOG_SUM_EXP.format(largest=OF_EACH_ROW) + SOFTMAX.format(shift=BY_THE_LARGEST),
     LOG_SUM_EXP.format(largest="np.full((len(scores), 1), scores.max())") + SOFTMAX.format(shift=BY_THE_LARGEST),
     LOG_SUM_EXP.format(largest=OF_EACH_ROW) + SOFTMAX.format(shift="")),
    # 3. Counting orders. Wrong: forwards only; the seconds of one batch.
    (COUNTED.format(launches="3 * 100 * (2 + 2)", seconds="launches_in_the_loop * 10e-6 * 1000"),
     COUNTED.format(launches="3 * 100 * 2", seconds="2 * launches_in_the_loop * 10e-6 * 1000"),
     COUNTED.format(launches="3 * 100 * (2 + 2)", seconds="launches_in_the_loop * 10e-6")),
    # 4. Two steps as one. Wrong: in the other order; a2 acts on b as well.
    (COMBINED.format(b="a2 * b1 + b2") + COMBINED_BACKWARD.format(second_way=" + db * b1"),
     COMBINED.format(b="a1 * b2 + b1") + COMBINED_BACKWARD.format(second_way=" + db * b1"),
     COMBINED.format(b="a2 * b1 + b2") + COMBINED_BACKWARD.format(second_way="")),
]
