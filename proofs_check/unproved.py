"""Claims that have no certificate here, with their status: so that the table of claims is complete.

`unproved`: no certificate; the table of claims shows whether a simulation supports it. `supported`: measured,
and why no certificate. `conjecture`: an empirical statement of a paper about real networks. `refuted`: such a
statement, with the measurements on small networks that contradict it as it stands, and what is left of it.
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
    "A21": (
        "conjecture",
        "weight rescaling trains faster than weight decay at equal test accuracy: on digits, 8 seeds, heavy ball, "
        "after one epoch at lr 0.01 it leads by 6.8 +- 1.9 points (perceptron) and 1.0 +- 0.9 (convolutions), but "
        "decay started from the same unit norms is only 0.3 +- 0.2 and 0.1 +- 0.2 behind, and at lr 0.1 there is no "
        "lead (-0.7 +- 0.9, -1.8 +- 3.0): a matter of the starting norm, not supported as a law; test accuracy at the "
        "end -0.5 +- 2.1 and -0.5 +- 0.4 of decay's: not contradicted for the perceptron, slightly behind for the "
        "convolutions",
    ),
    "A22": (
        "refuted",
        "under momentum and weight decay the effective lr keeps growing after the early phase: on digits, 5 seeds, it "
        "does so on clean labels (1.8 to 2.9-fold) until it is in equilibrium with its gradients (1.05 of that "
        "predicted), and again after drops of lr (up to 3.4-fold); with 20 % wrong labels gradients on the sphere grow "
        "and it falls (to 0.14 at wd 5e-4): a transient, not a law",
    ),
    "A23": (
        "conjecture",
        "weight rescaling is less sensitive to its hyper-parameter than weight decay: on digits, 5 seeds, heavy ball "
        "and Adam, accuracy spreads by 0.6 and 0.4 points over wd 1e-5 to 1e-2 against 0.3 and 0.3 over periods 1 to "
        "256 (clean), 1.4 and 2.1 against 1.5 and 1.1 (wrong labels), standard error of a difference 0.4: no clear "
        "difference; at wd 0.1 and the largest lr decay loses 60 and 12 points, no period more than 2.4: supported "
        "beyond the usual range only; with wrong labels the best wd beats the best period (0.9 +- 0.8, 1.8 +- 0.6)",
    ),
    "A24": (
        "supported",
        "without weight decay the noise outside the training span hurts the test error, where test inputs leave that "
        "span: digits in R^128 with noise outside it, 6 seeds, accuracy 68 % without decay, 97 % with; removing P_perp "
        "w after training restores all of it, inside the span it matters by at most one digit in 797; the loss follows "
        "the noise to signal ratio of the neurons whatever made it (rank correlation 0.92); untouched digits: 20 "
        "training examples lose 4.5 +- 1.1 points, 60 lose 0.00 +- 0.04",
    ),
    "B8": (
        "refuted",
        "better techniques have a larger regularity parameter and train faster: so only for nets that do not train "
        "without them (five sigmoid layers without normalisation or skips: gamma 0.1 % of any other); among twelve "
        "cells that train, on digits, 8 seeds, lr tuned, simultaneous 95 %: rectifier for sigmoid halves the time and "
        "multiplies gamma by 1.6; batch normalisation halves the time with gamma times 0.88 (at most 1.07), skip "
        "connections take 0.68 of it with 1.04; rectifier for linear raises gamma and is slower; rank correlation of "
        "gamma and time over cells -0.31 (-0.76 to 0.34), none over seeds; the effects of normalisation and skips on "
        "gamma change sign with length and size; optimisers cannot be compared, gamma has the unit of their lr",
    ),
    "B9": (
        "supported",
        "successful runs come nearer to their last iterate at 87 % of the steps of SGD and in 99.7 % of the epochs, "
        "never at all steps (0 of 96 runs); no evidence of a principle: independent isotropic steps of the same "
        "lengths do so at 90 % (the same steps in random order 76 %), because in P dimensions a walk does with "
        "probability Phi(sqrt(P/(T-k-1))/2)",
    ),
}
