"""Cases for the gradient checker, one function for each kind of layer.

Each takes the class, a name for the variant, the weights by the names of the constructor, the
inputs, and options for the constructor; a case for anything else is a `Case` written by hand.
All floating arrays are float64.
"""
from collections.abc import Callable
from typing import Any

from common.gradients.checker import Case, Result, check
from common.np import Array, np


def layer_case(layer: Callable[..., Any], variant: str, weights: dict[str, Array], x: Array,
               forward_options: dict[str, Any] | None = None, **options: Any) -> Case:
    """Return the case of a plain layer: `forward(x) -> y`, `backward(dy) -> dx`.

    Parameters
    ----------
    layer : type
    variant : str
    weights : dict of str to ndarray
    x : ndarray
        Its one input; integers, as of an embedding, have no gradient.
    forward_options : dict, optional
        Keyword arguments of `forward` that have no gradient.
    **options
        For the constructor.

    Returns
    -------
    Case
    """
    def forward(layer, inputs):
        return {"y": layer.forward(inputs["x"], **(forward_options or {}))}

    def backward(layer, upstream):
        dx = layer.backward(upstream["y"])
        return {"x": dx} if x.dtype.kind == "f" else {}

    case = _case(layer, variant, weights, options, {"x": x}, forward, backward)
    case.lengths = (forward_options or {}).get("lengths")
    return case


def loss_case(layer: Callable[..., Any], variant: str, weights: dict[str, Array], x: Array, t: Array,
              single_backward: bool = False, **options: Any) -> Case:
    """Return the case of a loss layer: `forward(x, t) -> loss`, `backward(dout) -> dx`.

    Parameters
    ----------
    layer, variant, weights, **options
        As in `layer_case`.
    x : ndarray
        Scores, or what the layer makes them of.
    t : ndarray
        Targets; they have no gradient.
    single_backward : bool
        Whether the layer documents that a second backward raises.

    Returns
    -------
    Case
    """
    def forward(layer, inputs):
        return {"loss": layer.forward(inputs["x"], inputs["t"])}

    def backward(layer, upstream):
        return {"x": layer.backward(float(upstream["loss"]))}

    case = _case(layer, variant, weights, options, {"x": x, "t": t}, forward, backward)
    case.constants = ("t",)
    case.single_backward = single_backward
    return case


def step_case(layer: Callable[..., Any], variant: str, weights: dict[str, Array], x: Array, **states: Array) -> Case:
    """Return the case of one step of a recurrent network.

    `forward(x, *states)` returns the new states, `backward(*dstates)` dx and the gradients of
    the old ones.

    Parameters
    ----------
    layer, variant, weights
        As in `layer_case`. A class with options is given as a `functools.partial`.
    x : ndarray (N, D)
    **states : ndarray (N, H)
        In the order of `forward`: h_prev, or h_prev and c_prev.

    Returns
    -------
    Case
    """
    outputs = [name.removesuffix("_prev") for name in states]

    def forward(layer, inputs):
        new = layer.forward(*(inputs[name] for name in ("x", *states)))
        return dict(zip(outputs, new if len(outputs) > 1 else [new], strict=True))

    def backward(layer, upstream):
        gradients = layer.backward(*(upstream[name] for name in outputs))
        return dict(zip(("x", *states), gradients, strict=True))

    return _case(layer, variant, weights, {}, {"x": x} | states, forward, backward)


def sequence_case(layer: Callable[..., Any], variant: str, weights: dict[str, Array], xs: Array,
                  states: dict[str, Array] | None = None, final: tuple[str, ...] = ("h",),
                  forward_options: dict[str, Any] | None = None, **options: Any) -> Case:
    """Return the case of a recurrent layer over a sequence.

    `forward(xs) -> hs`; `backward(dhs, dh=..., dc=...) -> dxs`, with a gradient for each final
    state. Given initial states, the layer is made with stateful=True, they go in by
    `set_state`, and their gradients are read from `.dh` and `.dc`.

    Parameters
    ----------
    layer, variant, weights, **options
        As in `layer_case`.
    xs : ndarray (N, T, D)
    states : dict of str to ndarray (N, H), optional
        Initial states by the names of the layer's attributes, in the order of `set_state`.
    final : tuple of str
        The final states whose upstream gradient is given; () gives `backward` only dhs.
    forward_options : dict, optional
        Keyword arguments of `forward` that have no gradient.

    Returns
    -------
    Case
    """
    states = states or {}
    initial = {f"initial {name}": state for name, state in states.items()}
    options = options | ({"stateful": True} if states else {})

    def forward(layer, inputs):
        if states:
            layer.set_state(*(inputs[name] for name in initial))
        outputs = {"hs": layer.forward(inputs["xs"], **(forward_options or {}))}
        return outputs | {f"final {name}": getattr(layer, name) for name in final}

    def backward(layer, upstream):
        dxs = layer.backward(upstream["hs"], **{f"d{name}": upstream[f"final {name}"] for name in final})
        return {"xs": dxs} | {f"initial {name}": getattr(layer, f"d{name}") for name in states}

    case = _case(layer, variant, weights, options, {"xs": xs} | initial, forward, backward)
    case.lengths = (forward_options or {}).get("lengths")
    return case


def stack_case(layer: type, variant: str, sizes: tuple[Any, ...], xs: Array, states: dict[str, Array],
               lengths: list[int] | None = None, **options: Any) -> Case:
    """Return the case of a `TimeStack`: `forward(xs, *initial) -> output, *final`, `backward(doutput, *dfinal)`.

    Parameters
    ----------
    layer, variant, **options
        As in `layer_case`.
    sizes : tuple
        First arguments of the constructor, which draws the weights itself.
    xs : ndarray (N, T, D) or (T, N, D)
    states : dict of str to ndarray (L S, N, H)
        Initial states: h, or h and c.
    lengths : list of int, optional

    Returns
    -------
    Case
    """
    def build():
        np.seed(0)
        return layer(*sizes, **options)

    initial = {f"initial {name}": state for name, state in states.items()}
    final = [f"final {name}" for name in states]

    def forward(layer, inputs):
        outputs = layer.forward(inputs["xs"], *(inputs[name] for name in initial), lengths=lengths)
        return dict(zip(("output", *final), outputs, strict=True))

    def backward(layer, upstream):
        gradients = layer.backward(*(upstream[name] for name in ("output", *final)))
        return dict(zip(("xs", *initial), gradients, strict=True))

    return Case(layer.__name__, variant, build, {"xs": xs} | initial, forward, backward, lengths=lengths)


def model_case(name: str, variant: str, build: Callable[[], Any], xs: Array, ts: Array,
               states: list[Any] | None = None, single_backward: bool = False) -> Case:
    """Return the case of a whole model: `forward(xs, ts) -> loss`, `backward(dout)`.

    Parameters
    ----------
    name, variant : str
    build : callable
        Takes nothing, returns the model in float64.
    xs, ts : ndarray of int
        Inputs and targets.
    states : list, optional
        What the model's `set_state` takes; by default it is reset before each forward.
    single_backward : bool
        Whether the model documents that a second backward raises.

    Returns
    -------
    Case
    """
    def forward(model, inputs):
        if states is not None:
            model.set_state(states)
        elif hasattr(model, "reset_state"):
            model.reset_state()
        return {"loss": model.forward(inputs["xs"], inputs["ts"])}

    def backward(model, upstream):
        model.backward(float(upstream["loss"]))
        return {}

    return Case(name, variant, build, {"xs": xs, "ts": ts}, forward, backward, single_backward=single_backward)


def check_model(model: Any, xs: Array, ts: Array, seed: int = 0) -> Result:
    """Check all gradients of a model, as `check` does; its state is zeros then.

    Parameters
    ----------
    model : BaseModel
        In float64, of plain layers: after `common.fast.speed_up` one backward only can follow a forward.
    xs, ts : ndarray of int
        Inputs and targets, few of them: each number of each parameter costs two forward passes.
    seed : int

    Returns
    -------
    Result
        Its text is one line: arrays, largest relative error, verdict.
    """
    result = check(model_case(type(model).__name__, "model", lambda: model, xs, ts), seed)
    if hasattr(model, "reset_state"):
        model.reset_state()
    return result


def _case(layer, variant, weights, options, inputs, forward, backward):
    name = getattr(layer, "func", layer).__name__  # of a class, or of the class in a partial
    return Case(name, variant, lambda: layer(**weights, **options), inputs, forward, backward, tuple(weights))
