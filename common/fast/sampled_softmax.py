"""The sampled softmax for a CPU: all cores have a part of each product."""
from common.device.threads import one_blas_thread, product
from common.layers.sampled_softmax import OutputWithSampledLoss


class FastOutputWithSampledLoss(OutputWithSampledLoss):
    """`OutputWithSampledLoss`, equal to it but for rounding, with the same parameters."""

    forward = one_blas_thread(OutputWithSampledLoss.forward)
    backward = one_blas_thread(OutputWithSampledLoss.backward)
    _product = staticmethod(product)
