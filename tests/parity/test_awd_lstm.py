"""The AWD-LSTM against the same computation in PyTorch, with the same masks: values, and gradients by autograd."""
import numpy as np
import pytest

from ch_lstm.awd_lstm import AwdLstm
from common.files.torch_weights import recurrent_to_torch
from common.layers.weight_drop import TimeWeightDropGRU, TimeWeightDropLSTM, TimeWeightDropRNN
from common.training.clip import remove_duplicate, unique_params

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
nn = torch.nn

N, T, V, D, H = 2, 5, 9, 3, 4
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def draw(rng, dtype, *shape):
    return (0.6 * rng.standard_normal(shape)).astype(dtype)


def torch_mask(mask):
    """Return a mask of ours of a matrix Wh (H, G H) as one of weight_hh_l0 (G H, H), in PyTorch's order of gates."""
    G = mask.shape[1] // len(mask)
    cell = {1: "rnn", 3: "gru", 4: "lstm"}[G]
    biases = {1: 1, 3: 4, 4: 4}[G] * len(mask)
    params = [np.ones_like(mask[:1]), mask, np.zeros(biases, dtype=mask.dtype)]
    return torch.tensor(abs(recurrent_to_torch(cell, params)["weight_hh_l0"]))  # the z of a GRU goes there as 1 - z


def masked_run(module, mask, xs):
    """Run a recurrent module of PyTorch with its weight_hh_l0 times a mask."""
    weights = dict(module.named_parameters())
    return torch.func.functional_call(module, weights | {"weight_hh_l0": weights["weight_hh_l0"] * mask}, (xs,))[0]


@both_dtypes
@pytest.mark.parametrize("kind, cell, G, B, options", [
    (TimeWeightDropRNN, "rnn", 1, 1, {}), (TimeWeightDropLSTM, "lstm", 4, 4, {}),
    (TimeWeightDropGRU, "gru", 3, 4, {"reset_after": True})])
def test_dropped_recurrent_weights(parity, kind, cell, G, B, options, dtype):
    rng = np.random.default_rng(1)
    ours = kind(*(draw(rng, dtype, *shape) for shape in ((D, G * H), (H, G * H), (B * H,))), weight_drop=0.4, **options)
    xs, dhs = draw(rng, dtype, N, T, D), draw(rng, dtype, N, T, H)
    hs = ours.forward(xs)
    theirs = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](D, H, batch_first=True, dtype=torch.tensor(xs).dtype)
    theirs.load_state_dict({name: torch.tensor(w) for name, w in recurrent_to_torch(cell, ours.params).items()})
    their_xs = torch.tensor(xs, requires_grad=True)
    their_hs = masked_run(theirs, torch_mask(ours.mask), their_xs)
    their_hs.backward(torch.tensor(dhs))
    parity.compare("hs", hs, their_hs)
    parity.compare("dxs", ours.backward(dhs), their_xs.grad)
    grads = recurrent_to_torch(cell, ours.grads)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
        parity.compare(f"d{name}", grads[name], getattr(theirs, name).grad)


class Theirs:
    """The model in PyTorch, over copies of the weights of ours."""

    def __init__(self, ours):
        self.embedding = nn.Parameter(torch.tensor(ours.params[0]))
        self.lstms = []
        for layer in ours.recurrent_layers:
            lstm = nn.LSTM(layer.sizes["D"], layer.sizes["H"], batch_first=True, dtype=self.embedding.dtype)
            weights = recurrent_to_torch("lstm", layer.params)
            lstm.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
            self.lstms.append(lstm)
        self.bias = nn.Parameter(torch.tensor(ours.params[-1]))
        shared = np.shares_memory(ours.params[0], ours.params[-2])
        self.output = self.embedding if shared else nn.Parameter(torch.tensor(ours.params[-2].T))  # (V, D)

    def run(self, xs, ts, masks, alpha, beta):
        """Return cross entropy and terms; masks in the order of our layers."""
        of_words, of_input, *rest = masks
        hs = nn.functional.embedding(xs, self.embedding * of_words) * of_input
        for lstm, of_weights, of_output in zip(self.lstms, rest[::2], rest[1::2], strict=True):
            raw = masked_run(lstm, of_weights, hs)
            hs = raw * of_output
        loss = nn.functional.cross_entropy(
            (hs @ self.output.T + self.bias).reshape(-1, V), ts.reshape(-1), ignore_index=-1)
        return loss, alpha * hs.pow(2).mean() + beta * (raw[:, 1:] - raw[:, :-1]).pow(2).mean()


def masks_of(model):
    """Return the masks that the last forward of ours drew, as PyTorch takes them."""
    for layer in model.layers[:-1]:
        if layer in model.recurrent_layers:
            yield torch_mask(layer.mask)
        else:
            yield torch.tensor(layer.mask if hasattr(layer, "mask") else layer.cache[0])


@both_dtypes
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_whole_model(parity, layers, tied, dtype):
    ours = AwdLstm(V, D, H, layers, tied, alpha=0.7, beta=0.3, seed=1, dtype=dtype)
    rng = np.random.default_rng(2)
    for param in unique_params(ours.params):
        param[...] = draw(rng, dtype, *param.shape)
    xs, ts = rng.integers(V, size=(N, T)), rng.integers(-1, V, size=(N, T))
    loss = ours.forward(xs, ts)
    theirs = Theirs(ours)
    their_loss, their_terms = theirs.run(torch.tensor(xs), torch.tensor(ts), list(masks_of(ours)), 0.7, 0.3)
    (their_loss + their_terms).backward()
    parity.compare("loss", np.asarray(loss), their_loss)
    parity.compare("terms", np.asarray(ours.penalty), their_terms)
    ours.backward()
    remove_duplicate(ours.params, ours.grads)  # which adds up the gradients of what is shared
    parity.compare("dW of the embedding", ours.grads[0], theirs.embedding.grad)
    parity.compare("db of the output", ours.grads[-1], theirs.bias.grad)
    if not tied:
        parity.compare("dW of the output", ours.grads[-2].T, theirs.output.grad)
    for layer, lstm in zip(ours.recurrent_layers, theirs.lstms, strict=True):
        grads = recurrent_to_torch("lstm", layer.grads)
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
            parity.compare(f"d{name}", grads[name], getattr(lstm, name).grad)
