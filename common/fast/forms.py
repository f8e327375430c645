"""The fast form of each layer that has one, and `speed_up`, which puts them into a model."""
from typing import TypeVar

from common.fast.loss import TimeAffineSoftmaxWithLoss
from common.fast.lstm import FastTimeLSTM
from common.fast.rnn import FastTimeRNN
from common.fast.sampled_softmax import FastOutputWithSampledLoss
from common.layers.base import Layer
from common.layers.losses import OutputWithLoss
from common.layers.lstm import TimeLSTM
from common.layers.rnn import TimeRNN
from common.layers.time import TimeAffine, TimeSoftmaxWithLoss
from common.layers.weight_drop import TimeWeightDropLSTM, WeightDrop
from common.np import np

Model = TypeVar("Model")


class FastTimeWeightDropLSTM(WeightDrop, FastTimeLSTM):
    """`TimeWeightDropLSTM`, equal to it but for rounding: a `FastTimeLSTM` that drops weights of Wh (H, 4H)."""


def speed_up(model: Model) -> Model:
    """Put the fast forms of a model's layers in their places, over the same weights, gradients and states.

    `FastTimeLSTM` takes the place of each `TimeLSTM`, also where it drops weights, `FastTimeRNN` that of each
    `TimeRNN` with tanh, `TimeAffineSoftmaxWithLoss` that of an output layer with its loss, and
    `FastOutputWithSampledLoss` that of a sampled softmax. The results are equal but for rounding, and one backward can
    follow a forward. The plain layers are those to step through. On a GPU they are fast, and nothing is changed.

    Parameters
    ----------
    model : BaseModel
        Its layers are attributes, or stand in lists that are.

    Returns
    -------
    BaseModel
        The same one.
    """
    if np.backend == "numpy":
        _replace_layers(model, {})
    return model


def _replace_layers(owner, forms):
    """Replace the layers of a model or of a layer made of layers; `forms` holds by id what was looked at already."""
    if hasattr(owner, "sampled_form"):
        owner.sampled_form = FastOutputWithSampledLoss

    def form_of(value):
        if isinstance(value, list):
            value[:] = map(form_of, value)
        if not hasattr(value, "grads"):  # neither a layer nor a model in a model
            return value
        if id(value) not in forms:
            form = _fast_form(value)
            forms[id(value)] = form, value  # the value too, so that its id stays its own
            if form is value:
                _replace_layers(value, forms)
        return forms[id(value)][0]

    for name, value in list(vars(owner).items()):
        if name not in ("params", "grads"):
            setattr(owner, name, form_of(value))


def _fast_form(layer):
    """Return the fast form of a layer, or the layer itself where there is none."""
    fast: Layer
    if type(layer) is TimeLSTM:
        Wx, Wh, b = layer.params
        fast = FastTimeLSTM(Wx, Wh, b, layer.stateful)
    elif type(layer) is TimeWeightDropLSTM:
        Wx, Wh, b = layer.params
        fast = FastTimeWeightDropLSTM(Wx, Wh, b, layer.stateful, layer.weight_drop)
    elif type(layer) is TimeRNN and layer.activation_name == "tanh":
        Wx, Wh, b = layer.params
        fast = FastTimeRNN(Wx, Wh, b, layer.stateful)
    elif type(layer) is OutputWithLoss and (type(layer.output), type(layer.loss_layer)) == (
            TimeAffine, TimeSoftmaxWithLoss):
        fast = TimeAffineSoftmaxWithLoss(*layer.params)
    else:
        return layer
    fast.params, fast.grads = layer.params, layer.grads
    for name in getattr(layer, "state_names", ()):
        setattr(fast, name, getattr(layer, name))
    return fast
