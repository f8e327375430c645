import numpy as np
import pytest

from common.files.torch_weights import (
    embedding_from_torch,
    linear_from_torch,
    load_torch_stack,
    recurrent_to_torch,
    torch_state_of_stack,
)
from common.layers.stack import TimeStack
from common.layers.time import TimeAffine, TimeEmbedding, TimeSoftmaxWithLoss
from common.optimizer import ASGD, SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from common.training.clip import clip_grads, remove_duplicate

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
nn = torch.nn

SHAPES = (3, 4), (4,), (1, 1)
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def draw(dtype, *shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def torch_params(params):
    return [nn.Parameter(torch.tensor(param)) for param in params]


def set_grads(params, grads):
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.tensor(grad)


@both_dtypes
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 100.0])
def test_clipping(parity, max_norm, dtype):
    grads = draw(dtype, *SHAPES)
    params = torch_params(grads)
    set_grads(params, grads)
    norm = nn.utils.clip_grad_norm_(params, max_norm)
    before = [grad.copy() for grad in grads]
    parity.compare("norm", clip_grads(grads, max_norm), norm)
    for grad, param in zip(grads, params):
        parity.compare("clipped gradient", grad, param.grad)
    assert all(np.array_equal(grad, old) for grad, old in zip(grads, before)) == (max_norm == 100)


# Ours, PyTorch's, and what ours remembers of a parameter in PyTorch's terms.
OPTIMIZERS = {
    "sgd": (SGD, torch.optim.SGD, {}, {}, lambda state, lr: []),
    "sgd-decay": (SGD, torch.optim.SGD, {"weight_decay": 0.4}, {"weight_decay": 0.4}, lambda state, lr: []),
    "momentum": (Momentum, torch.optim.SGD, {"momentum": 0.8}, {"momentum": 0.8},
                 lambda state, lr: [-lr * state["momentum_buffer"]]),
    "nesterov": (Nesterov, torch.optim.SGD, {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True},
                 lambda state, lr: [-lr * state["momentum_buffer"]]),
    # eps stands outside the square root on both sides, so an eps that matters must give the same.
    "adagrad": (AdaGrad, torch.optim.Adagrad, {"eps": 0.3}, {"eps": 0.3}, lambda state, lr: [state["sum"]]),
    "rmsprop": (RMSprop, torch.optim.RMSprop, {"decay_rate": 0.7, "eps": 0.3}, {"alpha": 0.7, "eps": 0.3},
                lambda state, lr: [state["square_avg"]]),
    "adam": (Adam, torch.optim.Adam, {"beta1": 0.8, "beta2": 0.95, "eps": 0.3}, {"betas": (0.8, 0.95), "eps": 0.3},
             lambda state, lr: [state["exp_avg"], state["exp_avg_sq"]]),
    "adamw": (AdamW, torch.optim.AdamW, {"beta1": 0.8, "beta2": 0.95, "eps": 0.3, "weight_decay": 0.4},
              {"betas": (0.8, 0.95), "eps": 0.3, "weight_decay": 0.4},
              lambda state, lr: [state["exp_avg"], state["exp_avg_sq"]]),
    # PyTorch's default eps, far below the gradients.
    "adagrad-1e-10": (AdaGrad, torch.optim.Adagrad, {"eps": 1e-10}, {}, lambda state, lr: [state["sum"]]),
    "rmsprop-1e-8": (RMSprop, torch.optim.RMSprop, {"eps": 1e-8}, {}, lambda state, lr: [state["square_avg"]]),
    "adam-1e-8": (Adam, torch.optim.Adam, {}, {}, lambda state, lr: [state["exp_avg"], state["exp_avg_sq"]]),
    "adamw-defaults": (AdamW, torch.optim.AdamW, {}, {}, lambda state, lr: [state["exp_avg"], state["exp_avg_sq"]]),
}


@both_dtypes
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(parity, name, dtype):
    our_class, their_class, our_options, their_options, memories = OPTIMIZERS[name]
    lr = 0.1
    params = draw(dtype, *SHAPES)
    theirs = torch_params(params)
    ours, torch_optimizer = our_class(lr, **our_options), their_class(theirs, lr=lr, **their_options)
    for step in range(8):
        if step == 5:  # a change of the learning rate: see the next test for what it asks of our momentum
            lr = 0.03
            ours.lr = torch_optimizer.param_groups[0]["lr"] = lr
            if isinstance(ours, Momentum | Nesterov):
                for (v,) in ours.state:
                    v *= 0.03 / 0.1
        grads = draw(dtype, *SHAPES, seed=10 + step)
        set_grads(theirs, grads)
        torch_optimizer.step()
        ours.update(params, grads)
        for param, their, memory in zip(params, theirs, ours.state):
            parity.compare("parameter", param, their)
            expected = memories(torch_optimizer.state[their], lr)
            for found, wanted in zip(memory, expected, strict=True):
                parity.compare("memory", found, wanted)


@pytest.fixture
def scalars_of_float64():
    """Let PyTorch keep the 1 / n of its ASGD in float64, whatever the parameters are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@both_dtypes
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("weight_decay", [0, 0.4])
def test_averaged_sgd(parity, weight_decay, start, dtype, scalars_of_float64):
    params = draw(dtype, *SHAPES)
    theirs = torch_params(params)
    ours = ASGD(0.1, weight_decay, start)
    torch_optimizer = torch.optim.ASGD(theirs, lr=0.1, lambd=0, t0=start, weight_decay=weight_decay)
    for step in range(8):
        grads = draw(dtype, *SHAPES, seed=10 + step)
        set_grads(theirs, grads)
        torch_optimizer.step()
        ours.update(params, grads)
        for param, their, (average,) in zip(params, theirs, ours.state):
            parity.compare("parameter", param, their)
            parity.compare("average", average, torch_optimizer.state[their]["ax"])


def test_pytorch_averages_with_a_new_learning_rate_one_update_late(parity, scalars_of_float64):
    (param,) = draw(np.float64, (3, 4))
    (their,) = torch_params([param])
    ours, torch_optimizer = ASGD(0.1), torch.optim.ASGD([their], lr=0.1, lambd=0, t0=0)
    late = 0
    for step in range(4):
        if step == 2:
            ours.lr = torch_optimizer.param_groups[0]["lr"] = 0.03
        (grad,) = draw(np.float64, (3, 4), seed=10 + step)
        set_grads([their], [grad])
        torch_optimizer.step()
        ours.update([param], [grad])
        late += (0.1 - 0.03) * grad if step == 2 else 0
        parity.compare("parameter", param - late, their)


def test_weight_decay_comes_after_clipping(parity):
    (param,), (grad,) = draw(np.float64, (3, 4)), draw(np.float64, (3, 4), seed=2)
    (their,) = torch_params([param])
    set_grads([their], [grad])
    nn.utils.clip_grad_norm_([their], 0.25)
    torch.optim.SGD([their], lr=2.0, weight_decay=0.3).step()
    clip_grads([grad], 0.25)
    SGD(2.0, 0.3).update([param], [grad])
    parity.compare("parameter", param, their)


@pytest.mark.parametrize("optimizer, nesterov", [(Momentum, False), (Nesterov, True)])
def test_momentum_keeps_the_learning_rate_of_past_steps_where_pytorch_applies_the_new_one(parity, optimizer, nesterov):
    """Ours remembers v = -(sum of momentum^k lr_k g_k), PyTorch's the sum without lr, to which it applies today's.

    So after a change from lr to lr' the two go apart, by exactly momentum v (lr' / lr - 1) in the next
    step (Nesterov: momentum^2 v (lr' / lr - 1)), v being ours before it.
    """
    momentum, old, new = 0.8, 0.1, 0.03
    (param,) = draw(np.float64, (3, 4))
    (their,) = torch_params([param])
    ours = optimizer(old, momentum)
    torch_optimizer = torch.optim.SGD([their], lr=old, momentum=momentum, nesterov=nesterov)
    for step in range(3):
        if step == 2:
            v = ours.state[0][0].copy()
            ours.lr = torch_optimizer.param_groups[0]["lr"] = new
        grads = draw(np.float64, (3, 4), seed=10 + step)
        set_grads([their], grads)
        torch_optimizer.step()
        ours.update([param], grads)
    apart = momentum ** (2 if nesterov else 1) * v * (new / old - 1)
    assert np.abs(apart).max() > 0.01
    parity.compare("parameter", param + apart, their)


@both_dtypes
@pytest.mark.parametrize("tied", [False, True], ids=["own-output-weights", "tied-output-weights"])
def test_training_a_language_model(parity, tied, dtype):
    """Embedding, two LSTM layers, output layer, loss, clipping and SGD, over several steps.

    PyTorch's bias_hh is held fast: where both of its biases learn, their sum moves twice as far as our one.
    """
    N, T, V, D = 2, 3, 7, 4
    torch_dtype = torch.float64 if dtype == np.float64 else torch.float32
    embedding, lstm, linear = (
        module.to(torch_dtype) for module in (nn.Embedding(V, D), nn.LSTM(D, D, 2, batch_first=True), nn.Linear(D, V)))
    if tied:
        linear.weight = embedding.weight
    for name, param in lstm.named_parameters():
        param.requires_grad_("bias_hh" not in name)
    theirs = [*embedding.parameters(), *lstm.parameters(), linear.bias, *([] if tied else [linear.weight])]
    theirs = [param for param in theirs if param.requires_grad]
    torch_optimizer, torch_loss = torch.optim.SGD(theirs, lr=2.0), nn.CrossEntropyLoss(ignore_index=-1)

    embed = TimeEmbedding(*embedding_from_torch(embedding.state_dict()))
    stack = TimeStack("lstm", D, D, 2, dtype=dtype)
    load_torch_stack(stack, lstm.state_dict())
    W, b = linear_from_torch(linear.state_dict())
    affine, loss_layer = TimeAffine(embed.params[0].T if tied else W, b), TimeSoftmaxWithLoss()
    params = embed.params + stack.params + affine.params
    optimizer = SGD(2.0)

    rng = np.random.default_rng(1)
    for _ in range(6):
        ids, targets = rng.integers(V, size=(N, T)), rng.integers(-1, V, size=(N, T))
        torch_optimizer.zero_grad()
        scores = linear(lstm(embedding(torch.tensor(ids)))[0])  # (N, T, V)
        their_loss = torch_loss(scores.reshape(-1, V), torch.tensor(targets.ravel()))
        their_loss.backward()
        their_norm = nn.utils.clip_grad_norm_(theirs, 0.5)
        torch_optimizer.step()

        loss = loss_layer.forward(affine.forward(stack.forward(embed.forward(ids))[0]), targets)
        embed.backward(stack.backward(affine.backward(loss_layer.backward()))[0])
        kept, grads = remove_duplicate(params, embed.grads + stack.grads + affine.grads)
        norm = clip_grads(grads, 0.5)
        optimizer.update(kept, grads)

        parity.compare("loss", loss, their_loss)
        parity.compare("norm", norm, their_norm)
        parity.compare("embedding", embed.params[0], embedding.weight)
        parity.compare("output weights", affine.params[0].T, linear.weight)
        parity.compare("output bias", affine.params[1], linear.bias)
        clipped = recurrent_to_torch("lstm", stack.grads)
        for name, param in lstm.named_parameters():
            if param.requires_grad:
                parity.compare(f"d{name}", clipped[name], param.grad)
    state = torch_state_of_stack(stack)
    for layer in range(2):
        for name in (f"weight_ih_l{layer}", f"weight_hh_l{layer}"):
            parity.compare(name, state[name], getattr(lstm, name))
        parity.compare("bias", state[f"bias_ih_l{layer}"],
                       getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}"))
