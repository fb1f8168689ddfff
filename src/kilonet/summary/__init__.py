"""A network's shapes, parameters, multiply-adds, receptive fields and memory, before training.

Conventions:

- Multiply-adds (MACs) are those of convolutions and linear layers, for one image, with the two of
  squeeze-excitation; biases, normalizations, activations, pooling and the sums of residuals are not
  counted, as is usual.
- The receptive field r and the jump j start at 1; each window does r += (kernel − 1) · j, then
  j *= stride, for each axis separately. Source: Araujo, Norris and Sim, "Computing receptive fields
  of convolutional neural networks", Distill 2019. The field of a sum is the largest of its
  branches. Global average pooling is a window of the whole map; so is the first linear layer after
  ``flatten``. Padding counts, so a field can be larger than the input. The statistics of a
  normalization and the gates of squeeze-excitation, which depend on all pixels, do not count.
- Memory is for float32 values. The sizes in MB follow torchsummary, for comparison; the peak is for
  the inference of one image.
"""

from kilonet.summary.checks import check_budget, check_data, check_epochs
from kilonet.summary.layers import LayerSummary
from kilonet.summary.network import Summary, summarize

__all__ = ["LayerSummary", "Summary", "check_budget", "check_data", "check_epochs", "summarize"]
