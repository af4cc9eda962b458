"""The regularity of training runs: the instrument against the definition on stored iterates, and the replay."""

from functools import partial

import numpy as np
import pytest

from sdetheory.dynamics import momentum
from sdetheory.dynamics.adaptive import Adam
from sdetheory.networks import digits, mlp, train
from sdetheory.networks.instruments import Step
from sdetheory.networks.regularity import BestIterate, Regularity, replayed
from sdetheory.networks.rescaling import WeightRescaling
from sdetheory.regularity import PathRegularity, regularity

pytestmark = pytest.mark.compiled
NET, DATA, STEPS = mlp((64, 6, 10), residual=False), digits().subset(slice(0, 120)), 12
FIELDS = ("squared_distance", "fall", "excess", "cosine", "gamma")
RULES = {
    "SGD": {"lr": np.array([[0.1], [0.3], [0.05]]), "weight_decay": 0.01},
    "momentum": {"optimiser": momentum.HeavyBall(lr=0.03)},
    "Adam": {"optimiser": Adam(lr=0.01)},
    "rescaled": {"lr": 0.2, "rescaling": WeightRescaling(every=3)},
}


class Iterates:
    """Keeps everything."""

    def __init__(self):
        self.rows = []

    def see(self, step):
        self.rows.append([np.array(x) for x in (step.before, step.loss, step.lr, step.after)])

    def reading(self):
        before, loss, lr, after = (np.stack(x, axis=1) for x in zip(*self.rows, strict=True))
        return {"path": np.concatenate([before, after[:, -1:]], axis=1), "loss": loss, "lr": lr}


def run(rule, *instruments, **settings):
    return train(
        NET, DATA, steps=STEPS, seeds=3, batch_size=16, threads=1, instruments=instruments, **RULES[rule], **settings
    )


@pytest.mark.claim("B1", kind="simulation")
@pytest.mark.parametrize("rule", RULES)
def test_the_instrument_measures_what_the_definition_says(rule):
    """All references, any update rule; one net at a time gives the same bits."""
    point = NET.start([7, 8, 9])
    kept = run(rule, Iterates()).readings["iterates"]
    for reference in ("final", "best", point):
        got = run(rule, Regularity(reference, name="seen")).readings["seen"]
        wanted = regularity(kept["path"], kept["loss"], kept["lr"], reference=reference)
        alone = run(rule, Regularity(reference, name="seen"), chunk=1).readings["seen"]
        for name in FIELDS:
            assert np.allclose(got[name], getattr(wanted, name), rtol=1e-11, atol=1e-14, equal_nan=True), name
            assert np.array_equal(got[name], alone[name], equal_nan=True), name
        again = PathRegularity.of(got)
        assert np.array_equal(again.gamma, got["gamma"]) and again.squared_distance.shape == (3, STEPS + 1)


@pytest.mark.parametrize("reference", ["final", "best"])
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_a_replay_gives_the_same_bits_as_all_iterates(rule, reference):
    """Two runs and the memory of one state, with the loss of the batch and with that of all data."""
    for loss in (None, lambda w: NET.loss(w, DATA.inputs, DATA.labels)):
        kept = run(rule, Regularity(reference, loss=loss)).readings["regularity"]
        got = replayed(lambda instruments: run(rule, *instruments), reference, loss=loss).readings["regularity"]
        for name in (*FIELDS, "reference"):
            assert np.array_equal(got[name], kept[name], equal_nan=True), (name, np.abs(got[name] - kept[name]).max())


def test_the_best_iterate_is_the_best():
    kept, best = (run("Adam", one).readings for one in (Iterates(), BestIterate()))
    loss, path = kept["iterates"]["loss"], kept["iterates"]["path"]
    assert np.array_equal(best["best_iterate"]["loss"], loss.min(axis=1))
    assert np.array_equal(best["best_iterate"]["weights"], path[np.arange(3), loss.argmin(axis=1)])


def step(**change):
    arrays = {"before": np.ones((2, 3)), "gradient": np.ones((2, 3)), "after": np.zeros((2, 3))}
    return Step(**{"number": 0, "lr": np.ones(2), "weight_decay": np.zeros(2), "loss": np.ones(2), **arrays, **change})


def test_any_loop_can_feed_it():
    """Two steps by hand, weights copied where the loop overwrites them."""
    one, w = Regularity(), np.ones((2, 3))
    for number in range(2):
        before = w.copy()
        w *= 0.5
        one.see(step(number=number, before=before, after=w))
    assert np.allclose(one.reading()["squared_distance"], [[27 / 16, 3 / 16, 0]] * 2), one.reading()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regularity("finish"), "`reference` must be one of final, best"),
        (lambda: Regularity(np.ones(3)), r"`reference` must have shape \(any, any\)"),
        (lambda: Regularity(np.ones((3, 3))).see(step()), r"`reference` must have shape \(2, 3\)"),
        (lambda: Regularity().see(step(lr=np.ones((2, 4)))), "`lr` must be positive and one number a net: shape "),
        (lambda: Regularity().see(step(lr=np.zeros(2))), "`lr` must be positive"),
        (lambda: Regularity().reading(), "must have seen a step"),
        (lambda: Regularity(most_bytes=10).see(step()), "`most_bytes` must hold all iterates: most_bytes=10 are full"),
        (lambda: replayed(partial(train, NET, DATA), "last"), "`reference` must be one of final, best"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_diverging_nets_are_measured_as_far_as_numbers_go():
    rates = np.array([[0.1], [1e200], [0.1]])
    net = mlp((64, 6, 10), normalised=False)
    record = train(net, DATA, lr=rates, steps=6, seeds=3, threads=1, instruments=[Regularity()])
    finite = np.isfinite(record.readings["regularity"]["fall"])
    assert record.diverged.tolist() == [False, True, False] and finite[[0, 2]].all() and not finite[1].any()
