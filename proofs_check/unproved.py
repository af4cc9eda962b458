"""Claims that have no certificate here, with their status: so that the table of claims is complete.

`unproved`: no certificate; the table of claims shows whether a simulation supports it. `supported`: measured,
and why no certificate. `conjecture`: an empirical statement of a paper about real networks.
"""

UNPROVED = {
    "I22": ("conjecture", "random schedules coincide O(1/(lr wd)) steps after becoming equal"),
    "I23": (
        "conjecture",
        "fast equilibrium: the law of the network function forgets its start in O(1/(lr wd)) steps",
    ),
    "I24": ("conjecture", "final accuracy depends on lr wd of the last equilibrated phase alone"),
    "I26": (
        "supported",
        "full-batch GD on networks destabilises where the effective lr times the sharpness exceeds 2, until wd "
        "is off: I25 proves it for the circle, a network has no formula for its sharpness",
    ),
    "I54": ("conjecture", "three regimes of training on the sphere with a fixed effective lr"),
    "A21": ("conjecture", "weight rescaling trains faster than weight decay at equal test accuracy"),
    "A22": (
        "conjecture",
        "under momentum and weight decay the effective lr keeps growing after the early phase",
    ),
    "A23": ("conjecture", "weight rescaling is less sensitive to its hyper-parameter than weight decay"),
    "A24": ("conjecture", "without weight decay the noise outside the training span hurts the test error"),
    "B8": ("conjecture", "better architectures have a larger regularity and train faster"),
    "B9": ("conjecture", "successful runs obey the regularity principle at most steps"),
}
