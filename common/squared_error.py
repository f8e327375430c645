"""The loss of regression."""
from common.layer import Layer
from common.layers import scaled


class MeanSquaredError(Layer):
    """Mean squared error: loss = mean over all elements of (y - t)^2."""

    def __init__(self):
        super().__init__()

    def forward(self, y, t):
        """Compute the loss of predictions against targets.

        Parameters
        ----------
        y : ndarray (..., M)
            Predictions.
        t : ndarray, shape and dtype of y
            Targets.

        Returns
        -------
        0-d array or NumPy scalar
            In the squared unit of the targets.
        """
        self.expect("y", y, (..., "M"))
        self.expect("targets", t, y.shape, y.dtype)
        self.cache = y - t
        return (self.cache * self.cache).mean()

    def backward(self, dout=1):
        """Return dy = 2 (y - t) dout / number of elements.

        Parameters
        ----------
        dout : float or 0-d array
            Gradient of whatever is minimised with respect to this loss.
        """
        difference = self.recall()
        return scaled(difference, dout) * 2 / difference.size
