"""SVAG(l): moments of its step, against those of SGD and of the SDE, per step and per unit of time."""

from functools import partial

import sympy as sp

from sdetheory.predictions import intrinsic_lr
from sdetheory.predictions.prediction import Prediction, Quantity

QUANTITIES = (
    Quantity("refinement", "1", "steps of SVAG in one step of SGD", "l", "positive"),
    *(q for q in intrinsic_lr.QUANTITIES if q.name in ("trace", "unit_squared_gradient")),
)
refinement, trace, unit_squared_gradient = (q.symbol for q in QUANTITIES)
_LMA = "Li, Malladi, Arora 2021, On the validity of modeling SGD with SDEs"
_prediction = partial(Prediction, quantities=QUANTITIES, theory="svag", where=(sp.Ge(refinement, 1),))

svag_first_coefficient = _prediction(
    "svag_first_coefficient", "weight of the first batch; the second has the rest of 1",
    (1 + sp.sqrt(2 * refinement - 1)) / 2, "1", _LMA, latex_name="a",
)  # fmt: skip
svag_second_moment = _prediction(
    "svag_second_moment", "sum of the squared weights: covariance of a step over that of SGD's gradient",
    refinement, "1", _LMA, latex_name=r"\sum a^2",
)  # fmt: skip
svag_third_moment = _prediction(
    "svag_third_moment", "sum of the cubed weights: third cumulant of a step over that of SGD's gradient",
    (3 * refinement - 1) / 2, "1", _LMA, latex_name=r"\sum a^3",
)  # fmt: skip
svag_fourth_moment = _prediction(
    "svag_fourth_moment", "sum of the fourth powers of the weights (fourth cumulant)",
    (refinement**2 + 2 * refinement - 1) / 2, "1", _LMA, latex_name=r"\sum a^4",
)  # fmt: skip
svag_third_cumulant_per_time = _prediction(
    "svag_third_cumulant_per_time", "third cumulant per unit of SGD's time over SGD's: vanishes like 1/l",
    (3 * refinement - 1) / (2 * refinement**2), "1", _LMA, latex_name=r"\kappa_3^l/\kappa_3",
)  # fmt: skip
coin_svag_variance = _prediction(
    "coin_svag_variance", "trace of the covariance of the rescaled batch gradient, |w| = 1",
    trace + (refinement - 1) * (trace + unit_squared_gradient), "loss^2", _LMA, latex_name=r"\mathrm{Tr}",
)  # fmt: skip
