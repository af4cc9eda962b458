"""How it is trained: the rules (gradient flow, gradient descent, SGD, the weight-decay SDE) and their
schedules.
"""

from sdetheory.dynamics.rules import SGD, GradientDescent, GradientFlow, WeightDecaySDE
from sdetheory.dynamics.schedules import Cosine, Exponential, Piecewise, Schedule

__all__ = [
    "SGD",
    "Cosine",
    "Exponential",
    "GradientDescent",
    "GradientFlow",
    "Piecewise",
    "Schedule",
    "WeightDecaySDE",
]
