import numpy as np
import pytest

from common.files.torch_weights import load_torch_stack, recurrent_from_torch, recurrent_to_torch, torch_state_of_stack
from common.layers.bidirectional import TimeBiGRU, TimeBiLSTM, TimeBiRNN
from common.layers.gru import GRU, TimeGRU
from common.layers.lstm import LSTM, TimeLSTM
from common.layers.rnn import RNN, TimeRNN
from common.layers.stack import TimeStack

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[parity]'")
nn = torch.nn

D, H = 4, 5
DTYPES = [np.float64, np.float32]
KINDS = {  # cell, PyTorch's class and its options, options of ours
    "rnn-tanh": ("rnn", "RNN", {"nonlinearity": "tanh"}, {"activation": "tanh"}),
    "rnn-relu": ("rnn", "RNN", {"nonlinearity": "relu"}, {"activation": "relu"}),
    "lstm": ("lstm", "LSTM", {}, {}),
    "gru": ("gru", "GRU", {}, {"reset_after": True}),
}
# Unsorted, and sorting them is not its own inverse, so that a mix-up of the two shows; [3] is short of T.
LENGTHS = {(4, 4): [2, 1, 4, 2], (1, 4): [3], (4, 1): [1, 1, 1, 1], (1, 1): [1]}


def draw(dtype, *shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def tensors(arrays):
    return [torch.tensor(array, requires_grad=True) for array in arrays]


def torch_dtype(dtype):
    return torch.float64 if dtype == np.float64 else torch.float32


def compare_all(parity, names, ours, theirs):
    for name, our, their in zip(names.split(), ours, theirs, strict=True):
        parity.compare(name, our, their)


def compare_weight_gradients(parity, cell, grads, module, bidirectional=False, one_step=False):
    """Compare the gradient of every parameter of a module, of both biases too."""
    found = recurrent_to_torch(cell, grads, bidirectional, one_step)
    for name, param in module.named_parameters():
        ours = found[name]
        if name.startswith("bias_hh"):  # the same as of bias_ih, but for the candidate of a GRU, the last block
            both = found[name.replace("hh", "ih")]
            ours = np.concatenate((both[:2 * H], ours[2 * H:])) if cell == "gru" else both
        parity.compare(f"d{name}", ours, param.grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("with_states", [False, True], ids=["from-zero", "from-states"])
@pytest.mark.parametrize("N, T, batch_first", [
    (4, 4, True), (4, 4, False), (1, 4, True), (4, 1, False), (1, 1, True),
], ids=["batch-first", "time-first", "one-sequence", "one-step", "one-sequence-of-one-step"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_stacks(parity, kind, num_layers, bidirectional, N, T, with_states, with_lengths, batch_first, dtype):
    cell, name, their_options, our_options = KINDS[kind]
    theirs = getattr(nn, name)(
        D, H, num_layers, bidirectional=bidirectional, batch_first=batch_first, **their_options).to(torch_dtype(dtype))
    ours = TimeStack(cell, D, H, num_layers, bidirectional, batch_first=batch_first, dtype=dtype, **our_options)
    load_torch_stack(ours, theirs.state_dict())

    S = 2 if bidirectional else 1
    axes = (N, T) if batch_first else (T, N)
    kinds_of_state = 2 if cell == "lstm" else 1
    state = num_layers * S, N, H
    xs, doutput, *states = draw(dtype, (*axes, D), (*axes, S * H), *[state] * 4)
    starts, dfinals = (states[:kinds_of_state], states[2:2 + kinds_of_state])
    lengths = LENGTHS[N, T] if with_lengths else None
    starts = starts if with_states else []

    (torch_xs,), torch_starts = tensors([xs]), tensors(starts)
    torch_input = torch_xs
    if with_lengths:
        torch_input = nn.utils.rnn.pack_padded_sequence(
            torch_xs, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False)
    hx = (tuple(torch_starts) if cell == "lstm" else torch_starts[0]) if with_states else None
    torch_output, torch_finals = theirs(torch_input, hx)
    torch_finals = torch_finals if cell == "lstm" else (torch_finals,)
    if with_lengths:
        torch_output, torch_lengths = nn.utils.rnn.pad_packed_sequence(
            torch_output, batch_first=batch_first, total_length=T)
        assert torch_lengths.tolist() == lengths
    torch.autograd.backward([torch_output, *torch_finals], [torch.tensor(array) for array in (doutput, *dfinals)])

    compare_all(parity, "output h_n c_n"[:6 + 4 * kinds_of_state], ours.forward(xs, *starts, lengths=lengths),
                [torch_output, *torch_finals])
    dxs, *dstarts = ours.backward(doutput, *dfinals)
    parity.compare("dxs", dxs, torch_xs.grad)
    for name, our, their in zip(("dh0", "dc0"), dstarts, torch_starts):  # PyTorch has none when it starts from zero
        parity.compare(name, our, their.grad)
    compare_weight_gradients(parity, cell, ours.grads, theirs, bidirectional)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [3, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_cells(parity, kind, N, dtype):
    cell, name, their_options, our_options = KINDS[kind]
    theirs = getattr(nn, f"{name}Cell")(D, H, dtype=torch_dtype(dtype), **their_options)
    params = recurrent_from_torch(cell, theirs.state_dict())
    ours = {"rnn": RNN, "lstm": LSTM, "gru": GRU}[cell](*params, **our_options)
    count = 2 if cell == "lstm" else 1
    x, *states = draw(dtype, (N, D), *[(N, H)] * 4)
    starts, douts = states[:count], states[2:2 + count]
    (torch_x,), torch_starts = tensors([x]), tensors(starts)
    torch_outs = theirs(torch_x, tuple(torch_starts)) if cell == "lstm" else (theirs(torch_x, *torch_starts),)
    torch.autograd.backward(torch_outs, [torch.tensor(dout) for dout in douts])
    outs = ours.forward(x, *starts)
    compare_all(parity, "h c"[:2 * count], outs if cell == "lstm" else (outs,), torch_outs)
    compare_all(parity, "dx dh_prev dc_prev"[:2 + 8 * count], ours.backward(*douts),
                [start.grad for start in (torch_x, *torch_starts)])
    compare_weight_gradients(parity, cell, ours.grads, theirs, one_step=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_carry_their_state_over_windows(parity, kind, bidirectional, dtype):
    """Truncated backpropagation: the state goes on, the gradient stops at the window's front."""
    cell, name, their_options, our_options = KINDS[kind]
    theirs = getattr(nn, name)(
        D, H, bidirectional=bidirectional, batch_first=True, dtype=torch_dtype(dtype), **their_options)
    layers = {"rnn": (TimeRNN, TimeBiRNN), "lstm": (TimeLSTM, TimeBiLSTM), "gru": (TimeGRU, TimeBiGRU)}
    params = recurrent_from_torch(cell, theirs.state_dict())
    ours = layers[cell][bidirectional](*params, stateful=True, **our_options)
    N, T, S = 2, 3, 2 if bidirectional else 1
    xs, douts = draw(dtype, (N, 3 * T, D), (N, 3 * T, S * H))
    hx = None
    for start in range(0, 3 * T, T):
        window = slice(start, start + T)
        (torch_xs,) = tensors([xs[:, window]])
        theirs.zero_grad()
        torch_hs, torch_finals = theirs(torch_xs, hx)
        torch_hs.backward(torch.tensor(douts[:, window]))
        torch_finals = [final.detach() for final in (torch_finals if cell == "lstm" else (torch_finals,))]
        hx = tuple(torch_finals) if cell == "lstm" else torch_finals[0]
        parity.compare("hs", ours.forward(xs[:, window]), torch_hs)
        for state, final in zip(ours.state, torch_finals, strict=True):
            parity.compare("state", state, final if bidirectional else final[0])
        parity.compare("dxs", ours.backward(douts[:, window]), torch_xs.grad)
        compare_weight_gradients(parity, cell, ours.grads, theirs, bidirectional)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_ours_in_pytorch(parity, kind, bidirectional, dtype):
    cell, name, their_options, our_options = KINDS[kind]
    ours = TimeStack(cell, D, H, 2, bidirectional, dtype=dtype, **our_options)
    theirs = getattr(nn, name)(
        D, H, 2, bidirectional=bidirectional, batch_first=True, dtype=torch_dtype(dtype), **their_options)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in torch_state_of_stack(ours).items()})
    (xs,) = draw(dtype, (3, 4, D))
    torch_output, torch_finals = theirs(torch.tensor(xs))
    compare_all(parity, "output h_n c_n"[:14 if cell == "lstm" else 10], ours.forward(xs),
                [torch_output, *(torch_finals if cell == "lstm" else (torch_finals,))])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_went_through_ours_compute_the_same_in_pytorch(parity, kind):
    cell, name, their_options, our_options = KINDS[kind]
    first, second = (getattr(nn, name)(D, H, 2, dtype=torch.float64, **their_options) for _ in range(2))
    ours = TimeStack(cell, D, H, 2, dtype=np.float64, **our_options)
    load_torch_stack(ours, first.state_dict())
    second.load_state_dict({key: torch.from_numpy(array) for key, array in torch_state_of_stack(ours).items()})
    (xs,) = tensors(draw(np.float64, (4, 3, D)))
    parity.compare("output", second(xs)[0].detach().numpy(), first(xs)[0])


def test_a_module_without_biases(parity):
    theirs = nn.LSTM(D, H, 2, bias=False, batch_first=True, dtype=torch.float64)
    ours = TimeStack("lstm", D, H, 2, dtype=np.float64)
    load_torch_stack(ours, theirs.state_dict())
    (xs,) = draw(np.float64, (3, 4, D))
    parity.compare("output", ours.forward(xs)[0], theirs(torch.tensor(xs))[0])


def test_a_stack_with_dropout_when_it_does_not_train(parity):
    theirs = nn.GRU(D, H, 3, batch_first=True, dropout=0.5, dtype=torch.float64).eval()
    ours = TimeStack("gru", D, H, 3, dropout=0.5, dtype=np.float64, reset_after=True)
    ours.train_flg = False
    load_torch_stack(ours, theirs.state_dict())
    xs, doutput = draw(np.float64, (3, 4, D), (3, 4, H))
    (torch_xs,) = tensors([xs])
    torch_output, _ = theirs(torch_xs)
    torch_output.backward(torch.tensor(doutput))
    parity.compare("output", ours.forward(xs)[0], torch_output)
    parity.compare("dxs", ours.backward(doutput)[0], torch_xs.grad)
