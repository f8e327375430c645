import numpy as np
import pytest

from common.files.torch_weights import embedding_from_torch, embedding_to_torch, linear_from_torch, linear_to_torch
from common.layers.dense import Affine, Embedding, MatMul, Sigmoid, Softmax
from common.layers.losses import SigmoidWithLoss, SoftmaxWithLoss
from common.layers.time import TimeAffine, TimeEmbedding, TimeSigmoidWithLoss, TimeSoftmaxWithLoss

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
nn = torch.nn

N, T, D, M, V = 2, 3, 4, 5, 7
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def draw(dtype, *shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def torch_dtype(dtype):
    return torch.float64 if dtype == np.float64 else torch.float32


@both_dtypes
@pytest.mark.parametrize("layer, shape", [(Embedding, (9,)), (TimeEmbedding, (N, T)), (TimeEmbedding, (1, 1))])
def test_embedding(parity, layer, shape, dtype):
    theirs = nn.Embedding(V, D, dtype=torch_dtype(dtype))
    ours = layer(*embedding_from_torch(theirs.state_dict()))
    ids = np.random.default_rng(2).integers(V, size=shape)
    (dout,) = draw(dtype, (*shape, D))
    vectors = theirs(torch.tensor(ids))
    vectors.backward(torch.tensor(dout))
    parity.compare("vectors", ours.forward(ids), vectors)
    assert ours.backward(dout) is None
    parity.compare("dweight", embedding_to_torch(ours.grads)["weight"], theirs.weight.grad)


@both_dtypes
@pytest.mark.parametrize("layer, axes", [(Affine, (N,)), (Affine, (1,)), (TimeAffine, (N, T)), (MatMul, (N,))])
def test_linear(parity, layer, axes, dtype):
    theirs = nn.Linear(D, M, bias=layer is not MatMul, dtype=torch_dtype(dtype))
    ours = layer(*linear_from_torch(theirs.state_dict()))
    x, dout = draw(dtype, (*axes, D), (*axes, M))
    torch_x = torch.tensor(x, requires_grad=True)
    y = theirs(torch_x)
    y.backward(torch.tensor(dout))
    parity.compare("y", ours.forward(x), y)
    parity.compare("dx", ours.backward(dout), torch_x.grad)
    grads = linear_to_torch(ours.grads)
    for name, param in theirs.named_parameters():
        parity.compare(f"d{name}", grads[name], param.grad)


@both_dtypes
@pytest.mark.parametrize("layer, function", [(Sigmoid, torch.sigmoid), (Softmax, lambda x: torch.softmax(x, -1))])
def test_activations(parity, layer, function, dtype):
    x, dout = draw(dtype, (N, V), (N, V))
    torch_x = torch.tensor(10 * x, requires_grad=True)
    y = function(torch_x)
    y.backward(torch.tensor(dout))
    ours = layer()
    parity.compare("y", ours.forward(10 * x), y)
    parity.compare("dx", ours.backward(dout), torch_x.grad)


def compare_loss(parity, ours, theirs, x, t, torch_t):
    """Compare a loss and its gradient, with an upstream gradient that is not 1."""
    torch_x = torch.tensor(x, requires_grad=True)
    loss = theirs(torch_x.reshape(-1, V) if isinstance(theirs, nn.CrossEntropyLoss) else torch_x, torch_t)
    dout = x.dtype.type(-1.7)
    loss.backward(torch.tensor(dout))
    parity.compare("loss", ours.forward(x, t), loss)
    parity.compare("dx", ours.backward(dout), torch_x.grad)


@both_dtypes
@pytest.mark.parametrize("scale", [1, 300])
def test_cross_entropy(parity, scale, dtype):
    x, xs = draw(dtype, (N, V), (N, T, V))
    x, xs = scale * x, scale * xs
    t, ts = np.array([6, 0]), np.array([[0, -1, 3], [-1, 6, 3]])
    compare_loss(parity, SoftmaxWithLoss(), nn.CrossEntropyLoss(), x, t, torch.tensor(t))
    compare_loss(parity, TimeSoftmaxWithLoss(), nn.CrossEntropyLoss(ignore_index=-1), xs, ts, torch.tensor(ts.ravel()))
    compare_loss(parity, TimeSoftmaxWithLoss(), nn.CrossEntropyLoss(ignore_index=-1), xs[:1, :1], ts[:1, :1],
                 torch.tensor(ts[:1, :1].ravel()))
    one_hot = np.eye(V, dtype=dtype)[[[0, 2, 3], [1, 6, 3]]]  # PyTorch takes them as probabilities
    compare_loss(parity, TimeSoftmaxWithLoss(), nn.CrossEntropyLoss(), xs, one_hot,
                 torch.tensor(one_hot.reshape(-1, V)))


def test_cross_entropy_of_nothing_is_zero_here_and_no_number_in_pytorch():
    (xs,) = draw(np.float64, (N, T, V))
    ts = np.full((N, T), -1)
    loss = nn.CrossEntropyLoss(ignore_index=-1)(torch.tensor(xs.reshape(-1, V)), torch.tensor(ts.ravel()))
    assert torch.isnan(loss)
    ours = TimeSoftmaxWithLoss()
    assert ours.forward(xs, ts) == 0
    assert (ours.backward() == 0).all()


@both_dtypes
@pytest.mark.parametrize("scale", [1, 300])
def test_binary_cross_entropy(parity, scale, dtype):
    x, xs = draw(dtype, (N,), (N, T))
    compare_loss(parity, SigmoidWithLoss(), nn.BCEWithLogitsLoss(), scale * x, np.array([1, 0]),
                 torch.tensor([1, 0], dtype=torch_dtype(dtype)))
    ts = np.random.default_rng(3).random((N, T)).astype(dtype)
    compare_loss(parity, TimeSigmoidWithLoss(), nn.BCEWithLogitsLoss(), scale * xs, ts, torch.tensor(ts))
