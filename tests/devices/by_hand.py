"""Independent computations of a few lines, for several tests to compare with."""
import itertools

import numpy


def sigmoid(a):
    return 1 / (1 + numpy.exp(-a))


def lstm_by_hand(xs, Wx, Wh, b):
    h = c = numpy.zeros((len(xs), len(Wh)))
    hs = []
    for x in xs.swapaxes(0, 1):
        f, g, i, o = numpy.split(x @ Wx + h @ Wh + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
        h = sigmoid(o) * numpy.tanh(c)
        hs.append(h)
    return numpy.stack(hs, axis=1)


def every_text(vocab_size, length, end_ids=(), banned=()):
    """Return the set of all texts of `length` ids, or shorter ones with an end id behind, without what is banned."""
    texts = set()
    for text in itertools.product(range(vocab_size), repeat=length):
        end = min((text.index(i) + 1 for i in end_ids if i in text), default=length)
        if not set(text[:end]) & set(banned):
            texts.add(text[:end])
    return texts
