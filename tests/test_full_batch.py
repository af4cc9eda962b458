"""Gradient descent on all the data: the trainer's path for it, and stability by the edge at 2."""

import numpy as np
import pytest

from sdetheory.networks import labelled, mlp, train

NET = mlp((5, 4, 3), activation="tanh", normalised_output=True)
DATA = labelled(np.sin(np.arange(100.0) ** 1.4).reshape(20, 5), np.arange(20) % 3)


def test_every_step_uses_every_example_in_its_order():
    """The same as the step written out; nothing is drawn, so that equal starts stay equal."""
    start = NET.start([3, 3, 8])
    record = train(NET, DATA, lr=0.2, weight_decay=0.05, steps=5, batch_size=None, seeds=[1, 2, 8], start=start)
    w = start
    for step in range(5):
        loss, gradient = NET.gradient(w, DATA.inputs, DATA.labels)
        assert np.allclose(record.loss[:, step], loss, rtol=1e-13), (step, record.loss[:, step], loss)
        w = (1 - 0.2 * 0.05) * w - 0.2 * gradient
    assert np.allclose(record.final, w, rtol=1e-12, atol=1e-13), np.abs(record.final - w).max()
    assert (record.final[0] == record.final[1]).all() and record.how["batch_size"] is None


def test_descent_does_not_depend_on_chunks_threads_or_pieces():
    settings = {"lr": 0.2, "weight_decay": 0.05, "batch_size": None, "seeds": 3}
    whole = train(NET, DATA, steps=20, threads=1, chunk=3, **settings)
    split = train(NET, DATA, steps=20, threads=2, chunk=1, **settings)
    first = train(NET, DATA, steps=7, **settings)
    rest = train(NET, DATA, steps=13, start=first.final, first_step=7, **settings)
    assert (whole.final == split.final).all() and (whole.final == rest.final).all()
    assert (whole.loss[:, 7:] == rest.loss).all()


def test_label_noise_needs_batches_to_be_drawn():
    with pytest.raises(ValueError, match="`label_noise` must be 0 with batch_size=None"):
        train(NET, DATA, lr=0.1, steps=1, batch_size=None, label_noise=0.1)
