"""Claims that have no certificate here, with their status: so that the table of claims is complete.

`unproved`: no certificate; the table of claims shows whether a simulation supports it. `supported`: measured,
and why no certificate. `conjecture`: an empirical statement of a paper about real networks.
"""

UNPROVED = {
    "I22": (
        "conjecture",
        "random schedules coincide O(1/(lr wd)) steps after becoming equal: measured on batch-normalised nets on "
        "digits, five random schedules, 48 seeds each: effective lr agree within 5 % after 2/(lr wd) steps; after "
        "4/(lr wd) norms within 0.4 %, effective lr within 0.8 %, held-out accuracy within 0.4 points, no difference "
        "above 2.3 standard errors",
    ),
    "I23": (
        "conjecture",
        "fast equilibrium, the law of the network function forgets its start in O(1/(lr wd)) steps: measured on "
        "digits over a decade of lr wd, 256 seeds a start: steps to a fixed distance grow as (lr wd)^-p, p = 1.03 "
        "(0.94 to 1.18), in another draw of seeds 1.13 (1.04 to 1.21); 1.3 for the last part of the distance, where "
        "one common start is forgotten more slowly at the smallest product; many fitted starts are forgotten at once; "
        "equality is not claimed, and the output weights keep a cosine of 0.4 with the start",
    ),
    "I24": (
        "conjecture",
        "final accuracy depends on lr wd of the last equilibrated phase alone: measured on digits with K = 10, 96 "
        "paired seeds: a 10 times smaller initial lr, given as many times more steps, ends at +0.03 +- 0.13 points of "
        "the step-decayed baseline; without the time, or without that phase, 1.7 and 1.8 points behind",
    ),
    "I26": (
        "supported",
        "full-batch GD with wd on networks bursts where lr/(1 - lr wd) times the largest Hessian eigenvalue exceeds 2 "
        "(68 of 68 bursts, 36 % of other moments); one step at rest multiplies displacements by |1 - that number|; "
        "without wd bursts are rare (7 % of the rate, all from above 2) but not absent, as the loss goes on "
        "sharpening; no certificate: a network has no formula for its sharpness",
    ),
    "I54": (
        "conjecture",
        "three regimes of training on the sphere with a fixed effective lr, convergence, equilibrium, divergence: in "
        "the model of samples with a common minimum the factors of a step are proved (I25) and the regimes change "
        "where their mean logarithms vanish; small normalised networks on digits show the three in this order, borders "
        "at 0.01-0.02 and 0.1-0.3 (4 seeds, 2048 steps, by the rule of the figure)",
    ),
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
