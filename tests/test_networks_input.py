"""Bad input to the networks is refused before work, naming argument, rule, value; data are as described."""

import numpy as np
import pytest

from sdetheory.networks import WeightRescaling, digits, evaluate, labelled, mlp, noise_estimate, predict, train
from sdetheory.statistics import mean_test

DATA = labelled(np.sin(np.arange(60.0)).reshape(20, 3), np.arange(20) % 3)
NET = mlp((3, 4, 3))
GOOD = dict(lr=0.1, steps=2, batch_size=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(widths=(3,)), r"`widths` must be inputs.*widths=\(3,\)"),
        (dict(widths=(3, 0, 2)), r"`widths\[1\]` must be at least 1: widths\[1\]=0"),
        (dict(widths=(3, 2.5, 2)), r"`widths\[1\]` must be an integer"),
        (dict(widths=(3, 4, 1)), "at least 2 classes"),
        (dict(widths=(3, 4, 2), eps=-1e-5), "`eps` must not be negative: eps=-1e-05"),
        (
            dict(widths=(3, 4, 2), activation="rleu"),
            "`activation` must be one of linear, sigmoid, tanh, relu, gelu.*did you mean 'relu'",
        ),
        (dict(widths=(3, 4, 2), norm="befor"), "`norm` must be one of before, after.*did you mean 'before'"),
    ],
)
def test_bad_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(lr=-0.1), "`lr` must not be negative: lr=-0.1"),
        (dict(weight_decay=[0.1, -0.1]), "`weight_decay` must not be negative"),
        (dict(lr=lambda t: 0.1 - t), "`lr` must not be negative.*step 1"),
        (
            dict(lr=np.ones(3)),
            r"`lr` must be a number, one value a step \(2,\), one a net \(1, 1\).*shape \(3,\)",
        ),
        (dict(lr=np.ones((3, 1)), seeds=2), r"`lr` must have shape \(2, 1\)"),
        (dict(batch_size=21), "`batch_size` must not exceed the data: batch_size=21, 20 examples"),
        (dict(batch_size=1), "`batch_size` must be at least 2"),
        (dict(label_noise=1.5), "`label_noise` must be a probability: label_noise=1.5"),
        (dict(steps=0), "`steps` must be at least 1"),
        (dict(seeds=[]), "`seeds` must not be empty"),
        (dict(seeds=[1, -2]), r"`seeds\[1\]` must be at least 0"),
        (dict(record_every=[0, 3]), r"`record_every` must hold whole steps in 0 .. 2"),
        (dict(record_every=[0.5, 1]), "`record_every` must hold whole steps"),
        (dict(record_every=[2, 1]), "`record_every` must be non-negative and strictly increasing"),
        (dict(start=np.zeros((1, 5))), r"`start` must have shape \(1, 24\): it has shape \(1, 5\)"),
        (dict(start=np.full((1, 31), np.nan)), "`start` must be finite"),
        (dict(init_scale=np.nan), "`init_scale` must be finite"),
        (dict(init_scale=0), "`init_scale` must not be zero"),
        (dict(init_scale=[1.0, 2.0, 3.0]), r"`init_scale` must be one number or one for each of 1 nets.*\(3,\)"),
        (dict(seeds=[2**64]), r"`seeds` must be below 2\*\*63: seeds=\[18446744073709551616\]"),
        (dict(first_step=10**19), r"`first_step` \+ `steps` must be at most 2\*\*53: first_step=1000"),
        (dict(instruments=3), "`instruments` must be a list of instruments: 3"),
        (dict(instruments="norms"), "`instruments` must be a list of instruments: 'norms'"),
        (dict(by="layers"), "`by` must be one of layer, neuron.*did you mean 'layer'"),
        (dict(threads=0), "`threads` must be at least 1"),
    ],
)
def test_bad_training_arguments_are_refused(arguments, message):
    message = message.replace("24", str(NET.size))
    with pytest.raises(ValueError, match=message):
        train(NET, DATA, **{**GOOD, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(rescaling=3), "`rescaling` must be a WeightRescaling such as WeightRescaling\\(\\): it is a int"),
        (dict(rescaling=WeightRescaling), "`rescaling` must be a WeightRescaling .* it is a type"),
        (dict(state=3), "`state` must be a TrainingState such as record.state: it is a int"),
        (dict(net="mlp"), "`net` must be a Network such as mlp.*it is a str"),
        (dict(data=DATA.inputs), "`data` must be a Data such as digits.*it is a ndarray"),
    ],
)
def test_what_is_of_another_kind_is_refused_by_name(arguments, message):
    with pytest.raises(TypeError, match=message):
        train(**{"net": NET, "data": DATA, **GOOD, **arguments})


def test_data_must_fit_the_network():
    with pytest.raises(ValueError, match=r"`data.inputs` must have shape \(any, 4\): it has shape \(20, 3\)"):
        train(mlp((4, 4, 3)), DATA, **GOOD)
    with pytest.raises(ValueError, match="`data` must have labels below the network's 2 classes: it has 3"):
        train(mlp((3, 4, 2)), DATA, **GOOD)
    with pytest.raises(ValueError, match=r"`labels` must lie in 0 .. 1: they span 0 .. 2"):
        labelled(DATA.inputs, DATA.labels, 2)
    with pytest.raises(ValueError, match="`labels` must be integers: they are float64"):
        labelled(DATA.inputs, DATA.labels.astype(float))
    with pytest.raises(ValueError, match="`labels` must be integers: they are <U1"):
        labelled(DATA.inputs, np.array(list("ab") * 10))
    with pytest.raises(ValueError, match=r"`inputs` must be finite: inputs\[1, 2\]=inf"):
        labelled(np.array([[0, 0, 0], [0, 0, np.inf]]), np.array([0, 1]))
    with pytest.raises(ValueError, match="`labels` must lie in"):
        NET.gradient(NET.start([0]), DATA.inputs, np.full(20, 3))
    with pytest.raises(ValueError, match=r"`init_scale`.*here are none"):
        train(mlp((3, 4, 3), normalised=False), DATA, init_scale=2.0, **GOOD)
    with pytest.raises(ValueError, match="`number of gradients` must be at least 3"):
        noise_estimate(NET, NET.start([0])[0], np.zeros((2, NET.size)))


def test_digits_are_the_installed_ones():
    data = digits()
    assert data.inputs.shape == (1797, 64) and data.classes == 10 and data.labels.dtype == np.int64
    assert data.inputs.min() == -0.3 and data.inputs.max() == 0.7
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    centred = digits(centred=True)
    assert np.abs(centred.inputs.mean(axis=0)).max() < 1e-15
    assert np.allclose(centred.inputs - data.inputs, (centred.inputs - data.inputs)[0])


def test_subsets_and_shuffled_labels():
    half = DATA.subset(slice(0, 10))
    assert len(half) == 10 and (half.inputs == DATA.inputs[:10]).all()
    chosen = DATA.subset(np.array([3, 1]))
    assert (chosen.inputs == DATA.inputs[[3, 1]]).all() and chosen.labels.tolist() == DATA.labels[
        [3, 1]
    ].tolist()
    shuffled = DATA.shuffled_labels(1)
    assert sorted(shuffled.labels) == sorted(DATA.labels) and (shuffled.labels != DATA.labels).any()
    assert (shuffled.labels == DATA.shuffled_labels(1).labels).all()


def test_starts_are_hes_and_belong_to_their_seed():
    net = mlp((50, 40, 10), affine=True)
    parameters = net.start([0, 1, 5])
    weight, scale = net.groups()[0].select(parameters), net.groups()[1].select(parameters)
    assert (outcome := mean_test(weight[0] ** 2, 2 / 50, detectable=0.015)), outcome
    assert (outcome := mean_test(weight[0], 0.0, detectable=0.05)), outcome
    assert (scale == np.repeat([1.0, 0.0], 40)).all(), "scales 1, shifts 0"
    assert (net.start([5]) == parameters[2:]).all() and (weight[0] != weight[1]).all()
    doubled = net.groups()[0].scaled(parameters, 2.0)
    assert (net.start([0, 1, 5], scale=2.0) == doubled).all(), "only weights in front of a normalisation"
    assert (net.start([0, 5], scale=np.array([2.0, 1.0])) == np.stack([doubled[0], parameters[2]])).all()


def test_evaluation_agrees_with_prediction_and_loss():
    parameters = NET.start(range(10))
    loss, accuracy = evaluate(NET, parameters, DATA)
    assert np.allclose(loss, NET.loss(parameters, DATA.inputs, DATA.labels), rtol=1e-14)
    assert np.allclose(accuracy, (predict(NET, parameters, DATA.inputs) == DATA.labels).mean(axis=1))
