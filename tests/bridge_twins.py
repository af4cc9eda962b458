"""Plug-ins and the symbolic definitions they stand for, for the tests that the proved system is the simulated one."""

import functools

import numpy as np
import sympy as sp
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_check import systems
from sdetheory.models import deep_linear as nets
from sdetheory.models import deep_linear_gaussian as net_gaussian
from sdetheory.models import deep_linear_noise as net_noise
from sdetheory.models import diagonal_network as diagonals
from sdetheory.models import factor_noise
from sdetheory.models import noise as noises
from sdetheory.models import scale_invariant as losses
from sdetheory.models.deep_linear_batches import Minibatch
from sdetheory.models.epoch_batches import EpochBatch
from sdetheory.models.equator import Equator
from sdetheory.models.independent_noise import Skewed, White
from sdetheory.models.sample_noise import SampleBatch

TOLERANCE = 1e-12
numbers = st.floats(-2, 2, allow_subnormal=False)


class Twin:
    """A plug-in and the symbolic loss it stands for, as functions of one flat array of parameters.

    `build(numbers)` makes the compiled plug-in, `loss(w, letters)` its definition in proofs_check.systems;
    `admits(w)` says where the loss is smooth.
    """

    def __init__(self, name, plugin, dimension, parameters, build, loss, draws=0, admits=lambda w: True):
        self.name, self.plugin, self.dimension, self.admits = name, plugin, dimension, admits
        self.parameters, self.build, self.loss, self.draws = parameters, build, loss, draws

    def __repr__(self):
        return self.name

    @functools.cached_property
    def functions(self):
        """(loss, gradient) of (w, parameters, z), lambdified from the symbolic definition."""
        w, p, z = (
            systems.column(n, size)
            for n, size in zip("wpz", (self.dimension, self.parameters, self.draws), strict=True)
        )
        loss = self.loss(w, list(p), *([z] if self.draws else []))
        return tuple(
            sp.lambdify([list(w), list(p), list(z)], e, "numpy", cse=True)
            for e in (loss, systems.gradient(loss, w))
        )

    def value(self, w, p, z=()):
        return float(self.functions[0](w, p, z))

    def gradient(self, w, p, z=()):
        return np.array(self.functions[1](w, p, z), dtype=float).ravel()


def square_matrix(p):
    return sp.Matrix(3, 3, lambda i, j: p[3 * min(i, j) + max(i, j)])


def numeric_square(p):
    full = np.reshape(p, (3, 3))
    return np.triu(full) + np.triu(full, 1).T


def goe(z):
    """E of GOEBatch: sqrt(2) z_i on the diagonal, then row by row below it."""
    E, below = sp.zeros(3, 3), iter(z[3:])
    for i in range(3):
        E[i, i] = sp.sqrt(2) * z[i]
        for j in range(i):
            E[i, j] = E[j, i] = next(below)
    return E


WIDTHS, SAMPLES = (2, 3, 2), 3


def network_layers(w, widths=WIDTHS):
    """Flat weights as matrices, row by row."""
    layers, start = [], 0
    for rows, columns in zip(widths[1:], widths[:-1], strict=True):
        layers.append(sp.Matrix(rows, columns, list(w[start : start + rows * columns])))
        start += rows * columns
    return layers


def masked_layers(w, mask):
    """[W_1, W_2] with the outputs of W_1 times the diagonal of a mask."""
    first, second = network_layers(w)
    return [mask * first, second]


def target_loss(w, p, penalty=systems.half_square, noise=None):
    target = sp.Matrix(2, 2, p[:4]) + (noise if noise is not None else sp.zeros(2, 2))
    return systems.network_loss(network_layers(w), sp.eye(2), target, penalty)


def data_loss(w, p, penalty=systems.half_square, on_inputs=None, on_labels=None):
    inputs, targets = sp.Matrix(2, SAMPLES, p[:6]), sp.Matrix(2, SAMPLES, p[6:12])
    inputs = inputs if on_inputs is None else inputs + on_inputs
    targets = targets if on_labels is None else targets + on_labels
    return systems.network_loss(network_layers(w), inputs, targets, penalty) / SAMPLES


def data(p, residual_loss=nets.Square()):
    return nets.deep_linear_from_data(
        np.reshape(p[:6], (2, 3)), np.reshape(p[6:12], (2, 3)), WIDTHS, residual_loss
    )


def whitened(p, residual_loss=nets.Square()):
    return nets.deep_linear(WIDTHS, np.reshape(p[:4], (2, 2)), residual_loss)


def chain_product(w):
    return systems.end_to_end(list(w))


diagonal = Twin(
    "Rayleigh",
    losses.Rayleigh,
    3,
    3,
    lambda p: losses.Rayleigh(p),
    lambda w, p: systems.rayleigh(w, sp.diag(*p)),
)
quotient = Twin(
    "RayleighQuotient",
    losses.RayleighQuotient,
    3,
    9,
    lambda p: losses.RayleighQuotient(numeric_square(p)),
    lambda w, p: systems.rayleigh(w, square_matrix(p)),
)
linear = Twin(
    "VonMisesFisher",
    losses.VonMisesFisher,
    3,
    4,
    lambda p: losses.VonMisesFisher(p[:3], p[3]),
    lambda w, p: systems.von_mises_fisher(w, sp.Matrix(p[:3]), p[3]),
)
circle = Twin(
    "Circle", losses.Circle, 2, 1, lambda p: losses.Circle(p[0]), lambda w, p: systems.circle(w, p[0])
)
nothing = Twin("NoLoss", losses.NoLoss, 3, 0, lambda p: losses.NoLoss(), lambda w, p: sp.S.Zero)
equator = Twin(
    "Equator",
    Equator,
    4,
    2,
    lambda p: Equator(1 + abs(p[0]) + abs(p[1]), p[1]),
    lambda w, p: systems.equator(w, 1 + sp.Abs(p[0]) + sp.Abs(p[1]), p[1]),
    admits=lambda w: np.linalg.norm(w[:-1]) > 0.1,
)
net = Twin("DeepLinear", nets.DeepLinear, 12, 4, whitened, target_loss)
huber = Twin(
    "DeepLinear, PseudoHuber",
    nets.DeepLinear,
    12,
    4,
    lambda p: whitened(p, nets.PseudoHuber()),
    functools.partial(target_loss, penalty=systems.pseudo_huber),
)
data_net = Twin("DeepLinear, data", nets.DeepLinear, 12, 12, data, data_loss)
chain = Twin(
    "scalar chain",
    nets.DeepLinear,
    3,
    1,
    lambda p: nets.scalar_chain(3, p[0]),
    lambda w, p: systems.square_loss(chain_product(w), p[0]),
)


def diagonal_net(p):
    return diagonals.DiagonalNetwork(np.reshape(p[:6], (3, 2)), p[6:9])


def diagonal_loss(w, p, noise=None):
    labels = sp.Matrix(p[6:9]) + (noise if noise is not None else sp.zeros(3, 1))
    return systems.diagonal_network_loss(w, sp.Matrix(3, 2, p[:6]), labels)


def drawn_loss(w, p, z):
    """The mean loss of the samples that z_k draws: the thirds of [-sqrt 3, sqrt 3]."""
    edge = np.array([-1, 1]) / np.sqrt(3)
    one = lambda i: systems.diagonal_network_loss(w, sp.Matrix(1, 2, p[2 * i : 2 * i + 2]), sp.Matrix([p[6 + i]]))
    losses = [sp.Piecewise((one(0), x < edge[0]), (one(1), x < edge[1]), (one(2), True)) for x in z]
    return sp.Add(*losses) / len(z)


diagonal_network = Twin("DiagonalNetwork", diagonals.DiagonalNetwork, 4, 9, diagonal_net, diagonal_loss)
MODELS = [diagonal, quotient, linear, circle, equator, nothing, net, huber, data_net, chain, diagonal_network]

# A batch noise is the gradient of its batch loss minus that of the loss; its last parameter is its size.
goe_noise = Twin(
    "GOEBatch",
    noises.GOEBatch,
    3,
    4,
    lambda p: noises.GOEBatch(abs(p[3])),
    lambda w, p, z: systems.goe_batch(w, sp.diag(*p[:3]), sp.Abs(p[3]), goe(z)),
    6,
)
goe_full = Twin(
    "GOEBatch",
    noises.GOEBatch,
    3,
    10,
    lambda p: noises.GOEBatch(abs(p[9])),
    lambda w, p, z: systems.goe_batch(w, square_matrix(p), sp.Abs(p[9]), goe(z)),
    6,
)
linear_noise = Twin(
    "NoisyLinearBatch",
    noises.NoisyLinearBatch,
    3,
    5,
    lambda p: noises.NoisyLinearBatch(abs(p[4])),
    lambda w, p, z: systems.noisy_linear_batch(w, sp.Matrix(p[:3]), p[3], sp.Abs(p[4]), z),
    3,
)
circle_noise = Twin(
    "CircleBatch",
    noises.CircleBatch,
    2,
    2,
    lambda p: noises.CircleBatch(abs(p[1])),
    lambda w, p, z: systems.circle_batch(w, p[0], sp.Abs(p[1]), z),
    2,
)
positive = Twin(
    "Rayleigh, positive",
    losses.Rayleigh,
    3,
    3,
    lambda p: losses.Rayleigh(p**2),
    lambda w, p: systems.rayleigh(w, sp.diag(*(x**2 for x in p))),
)
sample_noise = Twin(
    "SampleBatch",
    SampleBatch,
    3,
    3,
    lambda p: SampleBatch(p**2),
    lambda w, p, z: systems.sample_batch(w, [sp.Abs(x) for x in p], list(z)),
    3,
)
labels = Twin(
    "LabelNoise",
    net_noise.LabelNoise,
    12,
    5,
    lambda p: net_noise.label_noise(whitened(p), abs(p[4])),
    lambda w, p, z: target_loss(w, p, noise=sp.Abs(p[4]) * sp.Matrix(2, 2, list(z))),
    4,
)
chain_labels = Twin(
    "LabelNoise, chain",
    net_noise.LabelNoise,
    3,
    2,
    lambda p: net_noise.label_noise(nets.scalar_chain(3, p[0]), abs(p[1])),
    lambda w, p, z: systems.label_noise_batch(chain_product(w), p[0], sp.Abs(p[1]) * z[0]),
    1,
)
chain_inputs = Twin(
    "InputNoise, chain",
    net_noise.InputNoise,
    3,
    2,
    lambda p: net_noise.multiplicative_input_noise(nets.scalar_chain(3, p[0]), abs(p[1])),
    lambda w, p, z: systems.input_noise_batch(chain_product(w), p[0], sp.Abs(p[1]) * z[0]),
    1,
)
data_inputs = Twin("InputNoise, data", net_noise.InputNoise, 12, 13,
                   lambda p: net_noise.input_noise(data(p), abs(p[12])),
                   lambda w, p, z: data_loss(w, p, on_inputs=sp.Abs(p[12]) * sp.Matrix(2, 3, list(z))),
                   6)  # fmt: skip
diagonal_labels = Twin(
    "DiagonalLabelNoise",
    diagonals.DiagonalLabelNoise,
    4,
    10,
    lambda p: diagonals.DiagonalLabelNoise(diagonal_net(p), abs(p[9])),
    lambda w, p, z: diagonal_loss(w, p, noise=sp.Abs(p[9]) * sp.Matrix(list(z))),
    3,
)
diagonal_batch = Twin("DiagonalBatch", diagonals.DiagonalBatch, 4, 9,
                      lambda p: diagonals.DiagonalBatch(diagonal_net(p), 2), drawn_loss, 2)  # fmt: skip
chain_layers = Twin(
    "FactorNoise, chain",
    factor_noise.FactorNoise,
    3,
    2,
    lambda p: factor_noise.layer_noise(nets.scalar_chain(3, p[0]), abs(p[1]), [1, 3]),
    lambda w, p, z: systems.square_loss(
        chain_product(w) * (1 + sp.Abs(p[1]) * z[0]) * (1 + sp.Abs(p[1]) * z[1]), p[0]
    ),
    2,
)
hidden_masks = Twin(
    "FactorNoise, dropout",
    factor_noise.FactorNoise,
    12,
    4,
    lambda p: factor_noise.dropout(whitened(p), 0.7),
    lambda w, p, z: systems.network_loss(
        masked_layers(w, sp.diag(*(1 + sp.sqrt(sp.Rational(3, 7)) * x for x in z))), sp.eye(2), sp.Matrix(2, 2, p[:4])
    ),
    3,
)
weight_masks = Twin(
    "FactorNoise, weights",
    factor_noise.FactorNoise,
    12,
    5,
    lambda p: factor_noise.weight_noise(whitened(p), abs(p[4])),
    lambda w, p, z: target_loss([x * (1 + sp.Abs(p[4]) * y) for x, y in zip(w, z, strict=True)], p),
    12,
)


def weighted_loss(w, p, z):
    """The data loss with weights 1 + sqrt(n/B) (z_i - mean z) of the samples, B = 2."""
    weights = [1 + sp.sqrt(sp.Rational(SAMPLES, 2)) * (x - sp.Add(*z) / SAMPLES) for x in z]
    residual = systems.end_to_end(network_layers(w)) * sp.Matrix(2, SAMPLES, p[:6]) - sp.Matrix(2, SAMPLES, p[6:12])
    return sp.Add(*(weights[k % SAMPLES] * systems.half_square(r) for k, r in enumerate(residual))) / SAMPLES


data_gaussian = Twin("GaussianBatch", net_gaussian.GaussianBatch, 12, 12,
                     lambda p: net_gaussian.gaussian_batch(data(p), 2), weighted_loss, SAMPLES)  # fmt: skip
BATCHES = [(diagonal, goe_noise), (quotient, goe_full), (linear, linear_noise), (circle, circle_noise),
           (positive, sample_noise),
           (net, labels), (chain, chain_labels), (chain, chain_inputs), (data_net, data_inputs),
           (chain, chain_layers), (net, hidden_masks), (net, weight_masks),
           (diagonal_network, diagonal_labels), (diagonal_network, diagonal_batch),
           (data_net, data_gaussian)]  # fmt: skip

# A noise given by its covariance: (size of the parameters, plug-in, Sigma(w, letters)).
ADDED = {
    noises.NoNoise: (0, lambda p: noises.NoNoise(), lambda w, p: sp.zeros(len(w), len(w))),
    noises.Isotropic: (1, lambda p: noises.Isotropic(abs(p[0])), lambda w, p: systems.isotropic(w, p[0])),
    noises.Covariance: (6, lambda p: noises.Covariance(np.reshape(p, (-1, 2))),
                        lambda w, p: systems.projected(w, sp.Matrix(3, 2, p) * sp.Matrix(3, 2, p).T)),
    White: (1, lambda p: White(abs(p[0])), lambda w, p: p[0] ** 2 * sp.eye(len(w))),
}  # fmt: skip
NOT_LINEAR = (chain_layers, hidden_masks, weight_masks, chain_inputs, data_inputs, sample_noise,
              diagonal_batch)  # in the increments: no diffusion  # fmt: skip
WRAPPERS = {Skewed}  # tested against the noise they wrap
ELSEWHERE = {diagonals.DiagonalFlowNoise}  # neither of a batch nor of any dimension: tested with its model
INDEXED = {EpochBatch, Minibatch}  # increments choose samples: tested sample by sample


def states(dimension, parameters, draws=0):
    """(w away from zero, parameters, increments)."""
    vector = lambda size: arrays(float, size, elements=numbers)
    return st.tuples(
        vector(dimension).filter(lambda w: np.linalg.norm(w) > 0.1), vector(parameters), vector(draws)
    )


def close(got, wanted, scale=1.0):
    error = np.max(np.abs(np.asarray(got) - wanted), initial=0.0)
    size = max(scale, np.max(np.abs(wanted), initial=0.0))
    return error <= TOLERANCE * size, f"error {error:.3g} of {size:.3g}\ncompiled {got}\nsymbolic {wanted}"
