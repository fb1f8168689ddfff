"""What a network comes to before any training: shapes, parameters, multiply-adds, receptive fields.

Conventions:

- Multiply-adds (MACs) are those of convolutions and linear layers, for one image; biases, batch
  norm, activations, pooling and the sums of residuals are left out, as is usual.
- Receptive field r and jump j follow, on each axis by itself, r += (kernel − 1) · j, then
  j *= stride, from r = j = 1. Source: Araujo, Norris and Sim, "Computing receptive fields of
  convolutional neural networks", Distill 2019. The field of a sum is the largest of its branches.
  Global average pooling is a window of the whole map; so is the first linear layer after
  ``flatten``. Padding is seen too, so a field can be larger than the input.
- Memory is of float32 values. The sizes in MB are torchsummary's, so that they compare; the peak
  is what one image needs at inference.
"""

from kilonet.summary.checks import check_budget, check_data, check_epochs
from kilonet.summary.layers import LayerSummary
from kilonet.summary.network import Summary, summarise

__all__ = ["LayerSummary", "Summary", "check_budget", "check_data", "check_epochs", "summarise"]
