"""Right and wrong answers to the exercises of notebook 06."""

MAX_FORWARD = """
def max_forward(hs, lengths):
    real = numpy.arange(hs.shape[1]) < lengths[:, None]  # (N, T)
    return numpy.where(real[:, :, None], hs, -numpy.inf).max(axis=1)  # (N, H)
"""

MAX_BACKWARD = """
def max_backward(dm, hs, lengths):
    real = numpy.arange(hs.shape[1]) < lengths[:, None]  # (N, T)
    winners = numpy.where(real[:, :, None], hs, -numpy.inf).argmax(axis=1)  # (N, H)
    dhs = numpy.zeros_like(hs)  # (N, T, H)
    numpy.put_along_axis(dhs, winners[:, None], dm[:, None], axis=1)
    return dhs
"""

ANSWERS = [
    # 1. The gradient of the last real state. Wrong: it goes to the last column, padding or not.
    ("""
def last_backward(dh, hs, lengths):
    dhs = numpy.zeros_like(hs)  # (N, T, H)
    dhs[numpy.arange(len(hs)), lengths - 1] = dh
    return dhs
""", """
def last_backward(dh, hs, lengths):
    dhs = numpy.zeros_like(hs)
    dhs[:, -1] = dh
    return dhs
"""),
    # 2. The mean of the real states. Wrong: padding gets a gradient too.
    ("""
def mean_backward(dm, hs, lengths):
    real = numpy.arange(hs.shape[1]) < lengths[:, None]  # (N, T)
    return real[:, :, None] * (dm / lengths[:, None])[:, None]  # (N, T, H)
""", """
def mean_backward(dm, hs, lengths):
    return numpy.ones_like(hs) * (dm / lengths[:, None])[:, None]
"""),
    # 3. The largest of the real states. Wrong: the zeros of the padding win, in one direction or the other.
    (MAX_FORWARD + MAX_BACKWARD, """
def max_forward(hs, lengths):
    return hs.max(axis=1)
""" + MAX_BACKWARD, MAX_FORWARD + """
def max_backward(dm, hs, lengths):
    dhs = numpy.zeros_like(hs)
    numpy.put_along_axis(dhs, hs.argmax(axis=1)[:, None], dm[:, None], axis=1)
    return dhs
"""),
    # 4. F1 from the confusion matrix. Wrong: recall.
    ("""
def f1_of_each(matrix):
    right = matrix.diagonal()  # (K,)
    false_positives, false_negatives = matrix.sum(axis=0) - right, matrix.sum(axis=1) - right  # (K,), (K,)
    return 2 * right / (2 * right + false_positives + false_negatives)
""", """
def f1_of_each(matrix):
    return matrix.diagonal() / matrix.sum(axis=1)
"""),
]
