"""The layers, each with a forward and a backward of its own.

Read first: base, which is the contract, dense, losses, recurrent, rnn, lstm, gru, time.
When you need them: packing, bidirectional, stack, attention, initial, regularization, weight_drop, sampled_softmax.
"""
from common.layers.dense import Affine, Dropout, Embedding, MatMul, Sigmoid, Softmax
from common.layers.losses import SigmoidWithLoss, SoftmaxWithLoss

__all__ = [
    "MatMul", "Affine", "Embedding", "Dropout", "Sigmoid", "Softmax", "SoftmaxWithLoss", "SigmoidWithLoss",
]
