"""Value and greeks of an option on a smile, by Black-76 in forward space (`kvd.core.black`), undiscounted."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Convention = Literal["quote", "coin"]
"""What a value is counted in: the quote currency (a linear contract), or the coin (an inverse one)."""


class Greeks(NamedTuple):
    """Value and greeks per unit of underlying, each an array of the strikes' shape, each with its standard deviation.

    ``vega`` and ``vanna`` are per vol point, ``volga`` per vol point squared, ``theta`` per calendar day.
    """

    price: Floats
    price_sd: Floats
    delta: Floats
    delta_sd: Floats
    gamma: Floats
    gamma_sd: Floats
    vega: Floats
    vega_sd: Floats
    theta: Floats
    theta_sd: Floats
    vanna: Floats
    vanna_sd: Floats
    volga: Floats
    volga_sd: Floats
