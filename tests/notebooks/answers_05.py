"""Right and wrong answers to the exercises of notebook 05."""

ANSWERS = [
    # 1. The gradient of the loss. Wrong: the mean over the rows is forgotten.
    ("""
def cross_entropy_backward(dloss, scores, targets):
    dscores = softmax(scores)  # (n, V)
    dscores[numpy.arange(len(targets)), targets] -= 1
    return dloss * dscores / len(targets)
""", """
def cross_entropy_backward(dloss, scores, targets):
    dscores = softmax(scores)
    dscores[numpy.arange(len(targets)), targets] -= 1
    return dloss * dscores
"""),
    # 2. One matrix in two places. Wrong: an id that occurs twice keeps only its last gradient.
    ("""
def tied_backward(dscores, W, ids):
    dW = dscores.T @ W[ids]  # (V, D), as output matrix
    numpy.add.at(dW, ids, dscores @ W)  # as embedding
    return dW
""", """
def tied_backward(dscores, W, ids):
    dW = dscores.T @ W[ids]
    dW[ids] += dscores @ W
    return dW
"""),
    # 3. The temperature. Wrong: the scores of a row taken as independent; the gradient of 1 / tau forgotten.
    ("""
def tempered_backward(dp, s, tau):
    p = softmax(s / tau)  # (n, V)
    dq = p * (dp - (p * dp).sum(axis=1, keepdims=True))  # (n, V), q = s / tau
    return dq / tau, -(dq * s).sum() / tau**2
""", """
def tempered_backward(dp, s, tau):
    p = softmax(s / tau)
    dq = p * (1 - p) * dp
    return dq / tau, -(dq * s).sum() / tau**2
""", """
def tempered_backward(dp, s, tau):
    p = softmax(s / tau)
    dq = p * (dp - (p * dp).sum(axis=1, keepdims=True))
    return dq / tau, (dq * s).sum()
"""),
    # 4. Perplexities do not average. Wrong: their mean.
    ("both = math.exp((1000 * math.log(50) + 3000 * math.log(200)) / 4000)",
     "both = (1000 * 50 + 3000 * 200) / 4000"),
]
