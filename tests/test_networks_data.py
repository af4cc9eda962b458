"""Data with a chosen span, shifts outside it, label noise, splits; image files read, and refused, from a folder."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdetheory.networks import digits, labelled, mlp, train
from sdetheory.networks.image_files import cifar10, from_npz, mnist
from sdetheory.networks.spans import Span, clusters, embedded, input_span, random_span, shifted
from sdetheory.statistics import mean_test, proportion_test

DATA = labelled(np.sin(np.arange(120.0) ** 1.3).reshape(40, 3), np.arange(40) % 4)


def rank_and_features():
    return st.integers(1, 12).flatmap(lambda f: st.tuples(st.integers(0, f), st.just(f)))


@given(rank_and_features(), st.binary(min_size=36, max_size=36))
@example((0, 4), bytes(range(36)))
@example((4, 4), bytes(range(36)))
def test_a_span_projects(sizes, drawn):
    rank, features = sizes
    span, x = random_span(features, rank, 3), np.frombuffer(drawn, np.int8).astype(float).reshape(3, 12)[:, :features]
    p = span.projector
    assert np.abs(p @ p - p).max() < 1e-13 and round(np.trace(p), 9) == rank == span.rank
    size = 1e-13 * (1 + np.abs(x).max())
    assert np.abs(x @ p - span.inside(x)).max() < size and np.abs(span.inside(x) + span.outside(x) - x).max() < size
    assert span.complement.shape == (features, features - rank)
    assert np.abs(p + span.complement @ span.complement.T - np.eye(features)).max() < 1e-13


def test_the_span_of_inputs_is_found_and_centring_takes_the_mean_away():
    span = random_span(9, 3, 1)
    far = span.complement[:, 0]
    inputs = clusters(50, span, classes=2).inputs + 5 * far
    assert np.abs(input_span(inputs).projector - span.projector).max() < 1e-12
    whole = input_span(inputs, centred=False)
    assert whole.rank == 4 and np.abs(whole.outside(far)).max() < 1e-12
    assert input_span(np.ones((5, 3))).rank == 0 and input_span(digits().inputs).rank == 61


def test_clusters_have_their_span_their_means_and_fresh_draws():
    span = random_span(20, 6, 2)
    train_set, test_set = (clusters(4000, span, classes=3, separation=3.0, seed=5, draw=draw) for draw in (0, 1))
    assert np.abs(span.outside(train_set.inputs)).max() < 1e-13
    assert not np.isin(train_set.inputs[:, 0], test_set.inputs[:, 0]).any(), "another draw, other examples"
    again = clusters(4000, span, classes=3, separation=3.0, seed=5)
    assert (again.inputs == train_set.inputs).all() and (again.labels == train_set.labels).all()
    for label in range(3):
        z = [(d.inputs[d.labels == label] @ span.basis) for d in (train_set, test_set)]
        shift = np.abs(z[0].mean(axis=0) - z[1].mean(axis=0)).max()
        assert shift < 6 * np.sqrt(2 / 1200), f"means differ by {shift:.3f} between draws"
        centred = (z[0] - z[0].mean(axis=0)).ravel()
        assert (outcome := mean_test(centred**2, 1.0, detectable=0.16)), outcome


def test_two_classes_lie_the_separation_apart():
    many = clusters(2000, random_span(60, 60, 1), classes=40, separation=3.0, seed=1)
    means = np.stack([many.inputs[many.labels == k].mean(axis=0) for k in range(40)])
    apart = np.mean((means[:, None] - means) ** 2) * 40 / 39  # the law: 9, and 2/50 of the examples
    assert abs(apart / 9.04 - 1) < 0.1, apart


@pytest.mark.parametrize("seed", [None, 4])
def test_embedding_keeps_products_and_a_shift_leaves_what_is_inside(seed):
    wide, span = embedded(DATA, 8, seed)
    assert np.abs(wide.inputs @ wide.inputs.T - DATA.inputs @ DATA.inputs.T).max() < 1e-13
    assert (wide.labels == DATA.labels).all() and span.rank == 3 and np.abs(span.outside(wide.inputs)).max() < 1e-14
    assert (np.abs(wide.inputs).max(axis=0) == 0).sum() == (5 if seed is None else 0), "zeros only without a seed"
    moved = shifted(wide, span, 1.5, 7)
    assert np.abs(span.inside(moved.inputs - wide.inputs)).max() < 1e-14
    assert (shifted(wide, span, 0.0).inputs == wide.inputs).all()
    assert np.allclose(shifted(wide, span, 3.0, 7).inputs - wide.inputs, 2 * (moved.inputs - wide.inputs))


def test_a_shift_has_its_strength_in_every_direction_outside():
    wide, span = embedded(labelled(np.zeros((3000, 2)), np.arange(3000) % 2), 6, 1)
    z = shifted(wide, span, 0.7).inputs @ span.complement
    for column in z.T:
        assert (outcome := mean_test(column**2, 0.49, detectable=0.12)), outcome
    off = np.abs(np.cov(z.T) - 0.49 * np.eye(4)).max()
    assert off < 0.49 * 6 * np.sqrt(2 / 3000), off


def test_corrupted_labels_are_wrong_for_good_and_as_many_as_asked():
    data = labelled(np.zeros((3000, 1)), np.arange(3000) % 5)
    wrong = data.corrupted_labels(0.3, 1)
    changed = wrong.labels != data.labels
    assert changed.sum() == 900 and wrong.labels.min() >= 0 and wrong.labels.max() <= 4
    assert (wrong.labels == data.corrupted_labels(0.3, 1).labels).all()
    assert (data.corrupted_labels(0.3, 2).labels != wrong.labels).any()
    for step in range(1, 5):
        hit = (wrong.labels - data.labels)[changed] % 5 == step
        assert (outcome := proportion_test(hit.sum(), hit.size, 0.25, detectable=0.13)), outcome
    assert (data.corrupted_labels(0.0).labels == data.labels).all()
    assert (data.corrupted_labels(1.0).labels != data.labels).all()


@pytest.mark.parametrize("seed", [None, 3])
def test_a_split_shares_all_examples_out(seed):
    training, held_out = DATA.split(15, seed)
    assert len(training) == 25 and len(held_out) == 15
    both = np.concatenate([training.inputs, held_out.inputs])
    assert (np.sort(both, axis=0) == np.sort(DATA.inputs, axis=0)).all()
    rows = {tuple(x): y for x, y in zip(DATA.inputs, DATA.labels, strict=True)}
    assert all(rows[tuple(x)] == y for x, y in zip(training.inputs, training.labels, strict=True))
    assert (held_out.inputs == DATA.inputs[25:]).all() == (seed is None)


def test_images_know_their_shape():
    assert digits().image == (8, 8, 1) and digits().split(100)[0].image == (8, 8, 1)
    images = np.arange(2 * 2 * 3 * 2.0).reshape(2, 2, 3, 2)
    data = labelled(images, np.array([0, 1]))
    assert data.image == (2, 3, 2) and (data.inputs.reshape(-1, 2) == images.reshape(-1, 2)).all()
    assert embedded(data, 20)[0].image is None and labelled(data.inputs, data.labels).image is None


@pytest.mark.claim("A12", kind="simulation")
def test_only_what_lies_in_the_span_is_trained():
    """No coordinate is zero: the part of the first layer outside the span stays, to rounding."""
    span = random_span(10, 4, 1)
    data, net = clusters(60, span, classes=3), mlp((10, 5, 3))
    first = net.groups()[0]
    run = train(net, data, lr=0.2, steps=60, batch_size=10, seeds=2, threads=1)
    before, after = (first.select(p).reshape(2, 5, 10) for p in (net.start([0, 1]), run.final))
    outside = np.abs(span.outside(after) - span.outside(before)).max()
    inside = np.abs(span.inside(after) - span.inside(before)).max()
    assert outside < 1e-14 and inside > 0.1, (outside, inside)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DATA.split(40), r"`held_out` must leave examples to train on: held_out=40 of 40"),
        (lambda: DATA.split(0), r"`held_out` must be at least 1"),
        (lambda: DATA.corrupted_labels(1.2), "`share` must lie between 0 and 1: share=1.2"),
        (lambda: DATA.corrupted_labels(-0.1), "`share` must not be negative"),
        (lambda: Span(np.ones((3, 2))), "`basis` must have orthonormal columns"),
        (lambda: random_span(3, 4), "`rank` must not exceed the features: rank=4, 3 features"),
        (lambda: clusters(5, random_span(3, 0), classes=2), "`span` must have a direction.*rank is 0"),
        (lambda: embedded(DATA, 2), "`features` must be at least those of the data: features=2, data has 3"),
        (lambda: shifted(DATA, random_span(3, 3), 1.0), "`span` must leave a direction"),
        (lambda: shifted(DATA, random_span(4, 2), 1.0), r"`data.inputs` must have shape \(any, 4\)"),
        (lambda: shifted(DATA, random_span(3, 2), -1.0), "`strength` must not be negative"),
        (lambda: labelled(np.zeros((2, 3, 3)), np.array([0, 1])), r"`inputs` must have shape \(any, any\)"),
        (lambda: mnist(".", "validation"), "`part` must be one of train, test"),
        (lambda: cifar10(".", count=0), "`folder`|`count` must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call()


def cifar_files(folder, images):
    """Binary files of two images each; returns labels (n,) and images (n, 32, 32, 3)."""
    draw = np.random.default_rng(0)
    labels, pixels = draw.integers(0, 10, images, np.uint8), draw.integers(0, 256, (images, 3, 32, 32), np.uint8)
    records = np.concatenate([labels[:, None], pixels.reshape(images, -1)], axis=1)
    for number in range(5):
        records[2 * number : 2 * number + 2].tofile(folder / f"data_batch_{number + 1}.bin")
    return labels[:10], pixels[:10].transpose(0, 2, 3, 1)


def test_cifar10_in_its_binary_version(tmp_path):
    inner = tmp_path / "cifar-10-batches-bin"
    inner.mkdir()
    labels, images = cifar_files(inner, 10)
    for folder in (tmp_path, str(inner)):
        data = cifar10(folder, offset=0.25)
        assert data.image == (32, 32, 3) and data.classes == 10 and (data.labels == labels).all()
        assert np.abs(data.inputs.reshape(images.shape) - (images / 255 - 0.25)).max() < 1e-15
    assert (cifar10(tmp_path, count=3).labels == labels[:3]).all()
    with pytest.raises(ValueError, match=r"`count` must not exceed the images in the files: count=11, 10 found"):
        cifar10(tmp_path, count=11)
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10.*lacks test_batch.bin.*nothing is downloaded"):
        cifar10(tmp_path, "test")
    (inner / "data_batch_3.bin").write_bytes(b"\x00" * 3000)
    with pytest.raises(ValueError, match=r"whole records of 3073 bytes.*data_batch_3.bin"):
        cifar10(tmp_path)


def test_pickles_of_cifar10_are_not_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_1.bin.*made of pickles, which are not read"):
        cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_1.bin, data_batch_2.bin.*binary version"):
        cifar10(tmp_path / "nowhere")


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_in_its_idx_files(tmp_path, packed):
    draw = np.random.default_rng(1)
    pixels, labels = draw.integers(0, 256, (6, 28, 28), np.uint8), np.array([3, 1, 4, 1, 5, 9], np.uint8)
    texts = {
        "t10k-images-idx3-ubyte": bytes((0, 0, 8, 3)) + np.array([6, 28, 28], ">u4").tobytes() + pixels.tobytes(),
        "t10k-labels-idx1-ubyte": bytes((0, 0, 8, 1)) + np.array([6], ">u4").tobytes() + labels.tobytes(),
    }
    for name, text in texts.items():
        (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(text) if packed else text)
    data = mnist(tmp_path, "test")
    assert data.image == (28, 28, 1) and (data.labels == labels).all()
    assert np.abs(data.inputs.reshape(6, 28, 28) - (pixels / 255 - 0.1)).max() < 1e-15
    assert (mnist(tmp_path, "test", count=2).inputs == data.inputs[:2]).all()
    with pytest.raises(FileNotFoundError, match=r"MNIST.*lacks train-images-idx3-ubyte, train-labels-idx1-ubyte"):
        mnist(tmp_path)
    name = "t10k-images-idx3-ubyte"
    for text, message in ((texts[name][:99], "has 83 of 4704 values"), (b"\x00\x00\x0d\x03" + texts[name][4:], "axes")):
        (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(text) if packed else text)
        with pytest.raises(ValueError, match=message):
            mnist(tmp_path, "test")


def test_archives_without_objects(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, inputs=np.arange(16.0).reshape(2, 2, 2, 2), labels=np.array([0, 2]))
    data = from_npz(path)
    assert data.image == (2, 2, 2) and data.classes == 3
    assert len(from_npz(path, count=1)) == 1 and from_npz(path, count=1).classes == 3
    with pytest.raises(ValueError, match=r"`count` must not exceed.*count=3, 2 found"):
        from_npz(path, count=3)
    with pytest.raises(ValueError, match=r"`path` must hold an array 'x': .* has inputs, labels"):
        from_npz(path, inputs="x")
    with pytest.raises(FileNotFoundError, match=r"no file .*other.npz"):
        from_npz(tmp_path / "other.npz")
    np.savez(path, inputs=np.array([{"a": 1}], dtype=object), labels=np.array([0]))
    with pytest.raises(ValueError, match=r"allow_pickle=False"):
        from_npz(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ValueError, match=r"`path` must be a NumPy archive"):
        from_npz(path)
