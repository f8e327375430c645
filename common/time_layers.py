"""The book's names of the layers over sequences; a star import brings those of the other layers too, and `np`."""
from common.functions import cross_entropy_error, relu, sigmoid, softmax
from common.layers import (
    Affine,
    Dropout,
    Embedding,
    MatMul,
    Sigmoid,
    SigmoidWithLoss,
    Softmax,
    SoftmaxWithLoss,
)
from common.layers.bidirectional import TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import GRU, TimeGRU
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.rnn import RNN, TimeRNN
from common.layers.time import (
    TimeAffine,
    TimeDropout,
    TimeEmbedding,
    TimeLast,
    TimeMask,
    TimeSigmoidWithLoss,
    TimeSoftmaxWithLoss,
)
from common.np import np

__all__ = [
    "np", "sigmoid", "relu", "softmax", "cross_entropy_error",
    "MatMul", "Affine", "Softmax", "SoftmaxWithLoss", "Sigmoid", "SigmoidWithLoss", "Dropout", "Embedding",
    "RNN", "TimeRNN", "LSTM", "TimeLSTM", "GRU", "TimeGRU", "TimeBiRNN", "TimeBiLSTM", "TimeBiGRU",
    "TimeEmbedding", "TimeAffine", "TimeDropout", "TimeLast", "TimeMask", "TimeSoftmaxWithLoss", "TimeSigmoidWithLoss",
]
