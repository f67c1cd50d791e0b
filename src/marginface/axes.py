"""The words for axes, and the tensor aliases of every public signature.

Axes: batch classes dim subcentres probes gallery pairs channels height width.
Sizes are (height, width); points are (x, y) in pixels, origin at the centre of the top-left pixel;
images are RGB, channels first, float in [-1, 1], unless the name says otherwise.
"""

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["Bool", "Float", "Int", "Tensor", "UInt8"]
