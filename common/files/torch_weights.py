"""Weights to and from PyTorch: dicts of NumPy arrays under the names of its state dicts.

PyTorch is not needed: a state dict is any dict from names to arrays (or to what `numpy.asarray`
turns into one, which a tensor in main memory is). `read_safetensors` and `write_safetensors` are
those of `common.files.safetensors`.

PyTorch keeps a weight matrix as (outputs, inputs), ours are (inputs, outputs), and the gate blocks
stand in another order:

    ========  ================  =============  ===========================================
    layer     rows in PyTorch   columns here   besides
    ========  ================  =============  ===========================================
    RNN       h                 h
    LSTM      i, f, g, o        f, g, i, o
    GRU       r, z, n           z, r, h        z = sigmoid(-az) where PyTorch has sigmoid(az)
    ========  ================  =============  ===========================================

PyTorch's GRU is h = (1 - z) n + z h_prev, ours (1 - z) h_prev + z h_hat. Its z is our 1 - z, and
1 - sigmoid(a) = sigmoid(-a), so the whole z block changes its sign. It applies the reset gate after
the product: ours must be made with reset_after=True.

PyTorch has two bias vectors, bias_ih and bias_hh, that always appear as their sum, except in the
GRU's candidate, where bias_hh is multiplied by the reset gate. Ours has one, in the GRU's candidate
two. On the way here they are added up; on the way back all of a sum stands in bias_ih, and bias_hh
is 0. So every weight that starts here comes back bit for bit, and one that starts in PyTorch comes
back bit for bit where bias_hh was 0 (in a GRU: its r and z blocks); elsewhere the sum of the two
biases comes back, and the module computes the same.

Training is another matter: PyTorch updates both of its biases, so that with SGD their sum moves twice
as far as our one, and both count in the norm that gradients are clipped by. To get the same training, keep
PyTorch's bias_hh fixed (requires_grad_(False)); for a GRU this applies to the rows of r and z.
"""
from typing import Any

import numpy

from common.errors import InputError
from common.files.safetensors import read_safetensors, write_safetensors
from common.np import Array, np

__all__ = [
    "recurrent_from_torch", "recurrent_to_torch", "embedding_from_torch", "embedding_to_torch",
    "linear_from_torch", "linear_to_torch", "load_torch_stack", "torch_state_of_stack",
    "read_safetensors", "write_safetensors",
]

BLOCKS = {"rnn": ("h", "h"), "lstm": ("ifgo", "fgio"), "gru": ("rzh", "zrh")}  # in PyTorch, here
WEIGHTS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"


def recurrent_from_torch(cell: str, state: dict[str, Any], prefix: str = "") -> list[Array]:
    """Turn the weights of torch.nn.RNN, LSTM, GRU, or of one of their Cell classes, into our parameters.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    state : dict of str to array
        `weight_ih_l0` (G H, D), `weight_hh_l0` (G H, H), `bias_ih_l0`, `bias_hh_l0` (G H,), with G = 1, 4
        or 3 gate blocks; `..._l0_reverse` for a second direction, `..._l1` (whose D is H, or 2H with two
        directions) and so on for further layers. Or `weight_ih` to `bias_hh` of a Cell class. Without
        any bias, as bias=False makes it, ours are zeros.
    prefix : str
        What stands before each name, with its dot. Names that do not begin with it are left alone.

    Returns
    -------
    list of ndarray
        Wx (D, G H), Wh (H, G H), b (G H,), for a GRU b (4H,), of each reader: layer by layer, forwards
        before backwards, as in `TimeStack.params`. New arrays on the device in use.

    Raises
    ------
    InputError
        A name is missing or one too many, a shape or dtype does not fit the others.
    ValueError
        There is no such cell.

    Notes
    -----
    The state does not say which activation an RNN has: `nonlinearity` there, `activation` here.
    """
    blocks = len(_blocks(cell)[0])
    one_step = f"{prefix}weight_ih" in state
    num_layers = 1
    while f"{prefix}weight_ih_l{num_layers}" in state:
        num_layers += 1
    bidirectional = f"{prefix}weight_ih_l0_reverse" in state
    suffixes = _suffixes(num_layers, bidirectional, one_step)
    arrays = _named(state, [weight + suffix for suffix in suffixes for weight in WEIGHTS], prefix)
    sizes = []
    for weight, size in (("weight_hh", "H"), ("weight_ih", "D")):
        array = arrays[weight + suffixes[0]]
        _expect_shape(prefix + weight + suffixes[0], array, (f"{blocks} H", size))
        sizes.append(array.shape[1])
    hidden_size, input_size = sizes
    shapes = _torch_shapes(cell, input_size, hidden_size, suffixes, bidirectional)
    return _recurrent_params(cell, _checked(arrays, shapes, prefix), suffixes)


def recurrent_to_torch(cell: str, params: list[Array], bidirectional: bool = False, one_step: bool = False,
                       prefix: str = "") -> dict[str, numpy.ndarray]:
    """Turn parameters of ours into the weights of torch.nn.RNN, LSTM, GRU, or of one of their Cell classes.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    params : list of ndarray
        Wx (D, G H), Wh (H, G H), b (G H,), for a GRU b (4H,), of each reader: layer by layer, forwards
        before backwards.
    bidirectional : bool
        Whether every two readers are one layer.
    one_step : bool
        Whether to name the weights of one reader as a Cell class does, without `_l0`.
    prefix : str
        What to put before each name, with its dot.

    Returns
    -------
    dict of str to numpy.ndarray
        New arrays, named as `recurrent_from_torch` reads them.

    Raises
    ------
    ValueError
        There is no such cell, or the parameters are not its own: a GRU's b is (3H,), without reset_after.

    Notes
    -----
    Gradients are turned in the same way: those of bias_hh are then found in bias_ih, except for the
    candidate of a GRU.
    """
    _blocks(cell)
    readers = 2 if bidirectional else 1
    if not params or len(params) % (3 * readers) or (one_step and len(params) != 3):
        whole = "one reader" if one_step else "both readers of each layer" if bidirectional else "each layer"
        raise ValueError(f"torch weights: {len(params)} parameters, wanted Wx, Wh, b of {whole}")
    suffixes = _suffixes(len(params) // (3 * readers), bidirectional, one_step)
    state: dict[str, numpy.ndarray] = {}
    for i, suffix in enumerate(suffixes):
        arrays = _reader_to_torch(cell, *(np.to_cpu(param) for param in params[3 * i:3 * i + 3]))
        state |= {prefix + weight + suffix: array for weight, array in zip(WEIGHTS, arrays)}
    return state


def embedding_from_torch(state: dict[str, Any], prefix: str = "") -> list[Array]:
    """Turn the weight of torch.nn.Embedding into [W], W (V, D); arguments and errors as in `linear_from_torch`."""
    arrays = _named(state, ["weight"], prefix)
    _expect_shape(f"{prefix}weight", arrays["weight"], ("V", "D"))
    return [np.to_device(_checked(arrays, {"weight": arrays["weight"].shape}, prefix)["weight"])]


def embedding_to_torch(params: list[Array], prefix: str = "") -> dict[str, numpy.ndarray]:
    """Turn [W], W (V, D), into the state of torch.nn.Embedding: a new array `weight` (V, D)."""
    (W,) = params
    return {f"{prefix}weight": np.to_cpu(W).copy()}


def linear_from_torch(state: dict[str, Any], prefix: str = "") -> list[Array]:
    """Turn the weights of torch.nn.Linear into those of `Affine`, `TimeAffine` or, without a bias, of `MatMul`.

    Parameters
    ----------
    state : dict of str to array
        `weight` (M, D) and `bias` (M,), which may be missing.
    prefix : str
        What stands before each name, with its dot. Names that do not begin with it are left alone.

    Returns
    -------
    list of ndarray
        W (D, M), b (M,); only W where there is no bias. New arrays on the device in use.

    Raises
    ------
    InputError
        A name is missing or one too many, a shape or dtype does not fit.
    """
    has_bias = f"{prefix}bias" in state
    arrays = _named(state, ["weight", "bias"], prefix)
    _expect_shape(f"{prefix}weight", arrays["weight"], ("M", "D"))
    M, D = arrays["weight"].shape
    arrays = _checked(arrays, {"weight": (M, D), "bias": (M,)}, prefix)
    W = numpy.array(arrays["weight"].T, order="C")  # (D, M)
    return [np.to_device(array) for array in ((W, arrays["bias"]) if has_bias else (W,))]


def linear_to_torch(params: list[Array], prefix: str = "") -> dict[str, numpy.ndarray]:
    """Turn [W, b] or [W], W (D, M) and b (M,), into the state of torch.nn.Linear: `weight` (M, D), `bias` (M,)."""
    W, *bias = (np.to_cpu(param) for param in params)
    state = {f"{prefix}weight": numpy.array(W.T, order="C")}  # (M, D)
    return state | {f"{prefix}bias": b.copy() for b in bias}


def load_torch_stack(stack: Any, state: dict[str, Any], prefix: str = "") -> None:
    """Write the weights of a torch.nn.RNN, LSTM or GRU into a stack of the same sizes.

    Parameters
    ----------
    stack : TimeStack
        Its parameters are written in place; a GRU must be made with reset_after=True.
    state : dict of str to array
        As in `recurrent_from_torch`. A dtype may be turned into the stack's only without loss:
        float32 weights fit a float64 stack, but not the other way round.
    prefix : str
        What stands before each name, with its dot. Names that do not begin with it are left alone.

    Raises
    ------
    InputError
        A name is missing or one too many, a shape or dtype is not the stack's, its GRU has no
        reset_after or its RNN a sigmoid. Then nothing was written.
    """
    cell, suffixes = _cell(stack), _suffixes(len(stack.layers), stack.bidirectional, False)
    H, D = stack.hidden_size, stack.params[0].shape[0]
    shapes = _torch_shapes(cell, D, H, suffixes, stack.bidirectional)
    arrays = _checked(_named(state, shapes, prefix), shapes, prefix, stack.params[0].dtype)
    for param, weight in zip(stack.params, _recurrent_params(cell, arrays, suffixes), strict=True):
        param[...] = weight


def torch_state_of_stack(stack: Any, prefix: str = "") -> dict[str, numpy.ndarray]:
    """Return the weights of a stack as the state of a torch.nn.RNN, LSTM or GRU of the same sizes.

    Parameters
    ----------
    stack : TimeStack
        A GRU must be made with reset_after=True. An RNN with a sigmoid has no counterpart there.
    prefix : str
        What to put before each name, with its dot.

    Returns
    -------
    dict of str to numpy.ndarray
        New arrays, named as `recurrent_from_torch` reads them.

    Raises
    ------
    InputError
        A GRU without reset_after, or an RNN with a sigmoid.
    """
    return recurrent_to_torch(_cell(stack), stack.params, stack.bidirectional, prefix=prefix)


def _blocks(cell):
    """Return the gate blocks of a cell, one letter each, in the order of PyTorch and in ours."""
    if cell not in BLOCKS:
        raise ValueError(f"torch weights: cell is {cell!r}, wanted one of {', '.join(BLOCKS)}")
    return BLOCKS[cell]


def _cell(stack):
    """Return the name of a stack's cell, or raise an InputError if PyTorch has none that computes the same."""
    layer = stack.layers[0]
    reader = layer.readers[0] if stack.bidirectional else layer
    if not getattr(reader, "reset_after", True):
        raise InputError("PyTorch's GRU applies the reset gate after the product: make the stack with reset_after=True")
    if getattr(reader, "activation_name", None) == "sigmoid":
        raise InputError("PyTorch's RNN has no sigmoid: make the stack with activation='tanh' or 'relu'")
    return next(name for name, (blocks, _) in BLOCKS.items() if len(blocks) == reader.gates)


def _suffixes(num_layers, bidirectional, one_step):
    """Return what PyTorch puts behind `weight_ih` for each reader."""
    if one_step:
        return [""]
    directions = ("", "_reverse") if bidirectional else ("",)
    return [f"_l{layer}{direction}" for layer in range(num_layers) for direction in directions]


def _torch_shapes(cell, input_size, hidden_size, suffixes, bidirectional):
    """Return the shape of each array in the state of a torch.nn.RNN, LSTM or GRU, by its name."""
    directions = 2 if bidirectional else 1
    rows = len(BLOCKS[cell][0]) * hidden_size
    shapes: dict[str, tuple[int, ...]] = {}
    for i, suffix in enumerate(suffixes):
        size = input_size if i < directions else directions * hidden_size
        shapes |= zip([weight + suffix for weight in WEIGHTS], [(rows, size), (rows, hidden_size), (rows,), (rows,)])
    return shapes


def _named(state, names, prefix):
    """Return the arrays of these names, without biases where there is none at all.

    Raises
    ------
    InputError
        A name is missing, or one that begins with the prefix is not among them.
    """
    if not any(prefix + name in state for name in names if name.startswith("bias")):
        names = [name for name in names if not name.startswith("bias")]
    for name in names:
        if prefix + name not in state:
            raise InputError(f"torch weights: {prefix}{name} is missing")
    for name in state:
        if name.startswith(prefix) and name[len(prefix):] not in names:
            raise InputError(f"torch weights: {name} is one name too many")
    return {name: np.to_cpu(state[prefix + name]) for name in names}


def _expect_shape(name, array, shape):
    """Raise an InputError unless an array has this shape; a letter stands for any size."""
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, array.shape))
    if not fits:
        sizes = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise InputError(f"torch weights: {name} has shape {array.shape}, wanted ({sizes})")


def _checked(arrays, shapes, prefix, dtype=None):
    """Return the arrays in one dtype, with zeros for biases that are not there.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        Without prefix.
    shapes : dict of str to tuple of int
        What their shapes must be.
    prefix : str
        For the messages.
    dtype : dtype, optional
        What each of them must fit into without loss; by default they must all be alike.

    Raises
    ------
    InputError
        A shape or dtype is wrong.
    """
    first = next(iter(arrays.values())).dtype
    for name, array in arrays.items():
        _expect_shape(prefix + name, array, shapes[name])
        fits = array.dtype == first if dtype is None else numpy.can_cast(array.dtype, dtype, "safe")
        if array.dtype.kind != "f" or not fits:
            wanted = "a floating dtype" if array.dtype.kind != "f" else first if dtype is None else dtype
            raise InputError(f"torch weights: {prefix}{name} is {array.dtype}, wanted {wanted}")
    dtype = first if dtype is None else dtype
    zeros = {name: numpy.zeros(shape, dtype) for name, shape in shapes.items()}
    return zeros | {name: array.astype(dtype, order="C") for name, array in arrays.items()}


def _recurrent_params(cell, arrays, suffixes):
    """Return our parameters of all readers, on the device in use."""
    return [
        np.to_device(param) for suffix in suffixes
        for param in _reader_from_torch(cell, *(arrays[weight + suffix] for weight in WEIGHTS))]


def _reader_from_torch(cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """Return Wx (D, G H), Wh (H, G H), b of one reader."""
    theirs, ours = BLOCKS[cell]
    weight_ih, weight_hh, bias_ih, bias_hh = (
        _reordered(array, theirs, ours) for array in (weight_ih, weight_hh, bias_ih, bias_hh))
    Wx, Wh = (numpy.array(weight.T, order="C") for weight in (weight_ih, weight_hh))  # (D, G H), (H, G H)
    summed = 2 * len(Wh) if cell == "gru" else len(bias_ih)  # z and r; everything
    # A zero adds nothing, not even a sign: 0 + -0 would turn a -0 into 0.
    b = numpy.where(bias_hh == 0, bias_ih, bias_ih + bias_hh)[:summed]
    return Wx, Wh, numpy.concatenate((b, bias_ih[summed:], bias_hh[summed:]))


def _reader_to_torch(cell, Wx, Wh, b):
    """Return weight_ih (G H, D), weight_hh (G H, H), bias_ih (G H,), bias_hh (G H,) of one reader."""
    theirs, ours = BLOCKS[cell]
    H = Wh.shape[0]
    rows, biases = len(ours) * H, 4 * H if cell == "gru" else len(ours) * H
    if Wx.shape[1:] != (rows,) or Wh.shape != (H, rows) or b.shape != (biases,):
        raise ValueError(
            f"torch weights: Wx {Wx.shape}, Wh {Wh.shape}, b {b.shape} of a {cell}, "
            f"wanted (D, {rows}), ({H}, {rows}), ({biases},)" + (", with reset_after=True" if cell == "gru" else ""))
    bias_hh = numpy.zeros_like(b[:rows])  # (G H,)
    if cell == "gru":
        bias_hh[2 * H:] = b[3 * H:]  # the candidate's, which is the last block on both sides
    return *(_reordered(array, ours, theirs) for array in (Wx.T, Wh.T, b[:rows])), bias_hh


def _reordered(array, source, target):
    """Return the blocks of rows of an array (G H, ...) in another order, z with the other sign."""
    block = dict(zip(source, numpy.split(array, len(source))))
    return numpy.ascontiguousarray(
        numpy.concatenate([-block[gate] if gate == "z" else block[gate] for gate in target]))
