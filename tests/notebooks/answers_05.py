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
    # 3. Clipping. Wrong: each gradient by its own norm.
    ("""
def clipped(dW, db, max_norm):
    norm = math.sqrt((dW**2).sum() + (db**2).sum())
    rate = min(max_norm / norm, 1)
    return dW * rate, db * rate
""", """
def clipped(dW, db, max_norm):
    return tuple(grad * min(max_norm / numpy.linalg.norm(grad), 1) for grad in (dW, db))
"""),
    # 4. Perplexities do not average. Wrong: their mean.
    ("both = math.exp((1000 * math.log(50) + 3000 * math.log(200)) / 4000)",
     "both = (1000 * 50 + 3000 * 200) / 4000"),
]
