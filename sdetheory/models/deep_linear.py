"""Deep linear networks of any depth and widths: whitened (target) form, data form, and Ginsburg's scalar
chain.

The weights are one flat vector: W_1 row by row, then W_2, ..., W_N, with W_j of shape (d_j, d_{j-1}).
"""

from typing import Any, NamedTuple

import numpy as np

from sdetheory import checks
from sdetheory.lanes import descent, packed
from sdetheory.lanes.climb import Plan
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.parts import part
from sdetheory.lanes.products import ROW, multiply
from sdetheory.lanes.translate import GRADIENT, address_of, available, translated
from sdetheory.lanes.vector import constant, fma, load, sqrt, store
from sdetheory.lanes.verbs import climb, descend, gradient, loss, workspace
from sdetheory.models.sweep import Sweep, build_sweep, lay_inputs

# ---- losses of one residual entry: penalty(loss, r) and its derivative slope(loss, r)

penalty = verb("penalty", "residual_loss", "r")
slope = verb("slope", "residual_loss", "r")


class Square(NamedTuple):
    """r^2 / 2."""


class PseudoHuber(NamedTuple):
    """sqrt(1 + r^2) - 1: quadratic near zero, linear far away."""


@penalty.of(Square)
def _square_penalty(residual_loss, r):
    return 0.5 * r * r


@slope.of(Square)
def _square_slope(residual_loss, r):
    return r


@penalty.of(PseudoHuber)
def _huber_penalty(residual_loss, r):
    """r^2 / (1 + sqrt(1 + r^2)), the same without cancellation."""
    return r * r / (1.0 + sqrt(1.0 + r * r))


@slope.of(PseudoHuber)
def _huber_slope(residual_loss, r):
    return r / sqrt(1.0 + r * r)


# ---- the model

WORTH = 1e4  # gradients of 4 x 4 layers from which a few runs earn back the time their translation takes
TILED = 10  # widest layer whose products of lanes are worth more than a table of tiles
WORTH_PACKING = 5e8  # the same for few members at a time: multiply-adds of a flow
WORTH_LEAVING = 2.5e9  # and of descents for which members leave their lanes


class DeepLinear(NamedTuple):
    """L(w) = floor + scale * sum_ij penalty(R_ij), R = W_N ... W_1 X - Y; made by the builders below."""

    sweep: Sweep
    residual_loss: Any
    scale: float
    floor: float
    samples: int  # columns n of the data, 0 in target form (X = I)

    def preferred_width(self, paths: int) -> int:
        """Lanes: one 5 x 5 tile of 8 fills the vector registers; 32 where a step is so short that finding its
        tiles takes longer than computing them, and there are paths enough."""
        tiny = self.widths.max() <= 4 and self.dimension <= 96
        return 32 if tiny and paths >= 128 else 8

    def translated(self, width: int, slopes: float, descends: bool = False) -> "DeepLinear":
        """For a run of about so many gradients of `width` lanes, or steps of descent: the table as machine code, where
        that pays."""
        sweep, largest = self.sweep, int(self.widths.max())
        if not (isinstance(self.residual_loss, Square) and available()):
            return self
        leaves = descends and slopes * width * self.multiply_adds >= WORTH_LEAVING
        if leaves and (address := descent.address_of(sweep, width)):
            return self._replace(sweep=sweep._replace(descent=address))
        if largest > TILED or slopes < WORTH * (largest / 4) ** 2:
            return self
        address = address_of(sweep, width, descends)
        return self._replace(sweep=sweep._replace(descent=address) if descends else sweep._replace(code=address))

    def packed(self, slopes: float, plan: Plan) -> "tuple[DeepLinear, int, int] | None":
        """For a flow of about so many gradients: few members at a time, where that pays; how many, and rows of its
        workspace.

        It changes speed, never results."""
        sweep = self.sweep
        if not (isinstance(self.residual_loss, Square) and available() and (members := packed.members_of(sweep))):
            return None
        if slopes * self.multiply_adds < WORTH_PACKING:
            return None
        taken = self._replace(sweep=sweep._replace(code=packed.address_of(sweep, plan)))
        return taken, members, packed.workspace_rows(sweep)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a gradient."""
        return int(self.sweep.program[: self.sweep.backward].reshape(-1, ROW)[:, -3:].prod(axis=1).sum())

    @property
    def widths(self) -> np.ndarray:
        """Layer widths (d_0, ..., d_N), inputs first."""
        return self.sweep.program[self.sweep.descending :]

    @property
    def inputs(self) -> np.ndarray:
        """X as given, shape (d_0, n); the identity in target form."""
        width = int(self.widths[0])
        if not self.samples:
            return np.eye(width)
        start = self.sweep.entries + self.sweep.inputs
        return self.sweep.constants[start : start + width * self.samples].reshape(width, self.samples)

    @property
    def targets(self) -> np.ndarray:
        """Y as given, shape (d_N, n); A in target form."""
        width = int(self.widths[-1])
        if not self.samples:
            return -self.sweep.constants[: self.sweep.entries].reshape(width, -1)
        return self.sweep.constants[-width * self.samples :].reshape(width, self.samples)

    @property
    def dimension(self) -> int:
        """Number of weights d = sum_j d_j d_{j-1}."""
        return int(self.widths[1:] @ self.widths[:-1])

    def validated(self, d: int) -> "DeepLinear":
        """Raises ValueError unless the flat weights have d = sum_j d_j d_{j-1} entries."""
        if d != self.dimension:
            raise ValueError(
                f"`w0` must have {self.dimension} weights for widths {tuple(self.widths.tolist())}: it has {d}"
            )
        return self


@workspace.of(DeepLinear)
def _workspace(model, d):
    return model.sweep.rows


@gradient.of(DeepLinear)
def _gradient(model, w, out, work):
    sweep = model.sweep
    if sweep.code != 0:
        translated(sweep.code, GRADIENT, w, out, work, sweep.constants, model.scale, 0.0)
        return
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    _slopes(model.residual_loss, model.scale, work, sweep.residual, sweep.residual + sweep.entries)
    multiply(sweep.program, sweep.forward, sweep.backward, w, out, work, sweep.constants)


@climb.of(DeepLinear)
def _climb(model, weight_decay, vectors, head, work):
    sweep = model.sweep
    translated(sweep.code, packed.CLIMB, vectors, head, work, sweep.constants, model.scale, weight_decay)


@descend.of(DeepLinear)
def _descend(model, w, keep, drift, count, out, work):
    """Layer by layer; with X = I the first layer's gradient is no product, and moves it by itself.

    Slopes are not scaled: what a product adds to the weights is."""
    sweep, scale = model.sweep, drift * model.scale
    if sweep.descent != 0:
        translated(sweep.descent, count, w, out, work, sweep.constants, scale, keep)
        return
    for _ in range(count):
        lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
        multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
        _slopes(model.residual_loss, 1.0, work, sweep.residual, sweep.residual + sweep.entries)
        multiply(sweep.program, sweep.backward, sweep.descending, w, out, work, sweep.constants, keep, scale)
        if sweep.inputs == 0:
            rows = sweep.program[sweep.descending] * sweep.program[sweep.descending + 1]
            for i in range(rows):
                store(w, i, fma(scale, load(out, i), keep * load(w, i)))


@part
def _slopes(residual_loss, scale, work, first, last):
    """R <- scale * slope(R), entry by entry."""
    for i in range(first, last):
        store(work, i, scale * slope(residual_loss, load(work, i)))


@loss.of(DeepLinear)
def _loss(model, w, work):
    sweep = model.sweep
    lay_inputs(sweep.constants, sweep.entries, sweep.inputs, work)
    multiply(sweep.program, 0, sweep.forward, w, work, work, sweep.constants)
    total = constant(w, 0.0)
    for i in range(sweep.residual, sweep.residual + sweep.entries):
        total += penalty(model.residual_loss, load(work, i))
    return model.floor + model.scale * total


# ---- builders


def deep_linear(widths: Any, target: Any, residual_loss: Any = Square()) -> DeepLinear:
    """Whitened deep linear network: L = sum_ij penalty((W_N ... W_1 - A)_ij); 1/2 ||W_N ... W_1 - A||_F^2 by
    default.

    widths: (d_0, ..., d_N), inputs first. target: A, shape (d_N, d_0). residual_loss: Square() or
    PseudoHuber(). Raises ValueError for widths below 1, a target of another shape, or non-finite entries.
    Source: Arora, Cohen, Golowich, Hu 2019, section 2 (whitened data).
    """
    widths = check_widths(widths)
    target = checks.shape("target", checks.finite("target", target), (int(widths[-1]), int(widths[0])))
    return DeepLinear(build_sweep(widths, None, target), check_residual_loss(residual_loss), 1.0, 0.0, 0)


def deep_linear_from_data(inputs: Any, targets: Any, widths: Any, residual_loss: Any = Square()) -> DeepLinear:
    """Deep linear network on data: L = (1/n) sum_ij penalty((W_N ... W_1 X - Y)_ij); (1/2n) ||P X - Y||_F^2
    by default.

    inputs: X, shape (d_0, n), one sample a column. targets: Y, shape (d_N, n). widths, residual_loss: as
    `deep_linear`. The square loss depends on the data through X X^T and Y X^T only (and a constant, `floor`),
    so it is swept on a root of X X^T, which has at most d_0 columns. Raises ValueError for widths or shapes
    that do not fit, or non-finite entries.
    """
    widths = check_widths(widths)
    inputs = checks.shape("inputs", checks.finite("inputs", inputs), (int(widths[0]), None))
    samples = inputs.shape[1]
    if samples == 0:
        raise ValueError(f"`inputs` must have at least one sample: it has shape {inputs.shape}")
    targets = checks.shape("targets", checks.finite("targets", targets), (int(widths[-1]), samples))
    swept = (inputs, targets, 0.0)
    if isinstance(check_residual_loss(residual_loss), Square):
        swept = root_of_data(inputs, targets)
    sweep = build_sweep(widths, swept[0], swept[1], inputs, targets)
    return DeepLinear(sweep, residual_loss, 1.0 / samples, swept[2] / samples, samples)


def root_of_data(inputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """X', Y', c with 1/2 ||P X - Y||^2 = 1/2 ||P X' - Y'||^2 + c for all P: X' X'^T = X X^T, Y' X'^T = Y
    X^T."""
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    kept = values > np.finfo(float).eps * max(inputs.shape) * values.max()
    kept[0] = True
    right = right[kept]
    seen = targets @ right.T
    return left[:, kept] * values[kept], seen, 0.5 * float(np.sum((targets - seen @ right) ** 2))


def scalar_chain(depth: int, target: float = 1.0) -> DeepLinear:
    """Chain of `depth` scalar layers with L = (w_1 w_2 ... w_depth - target)^2, without the 1/2: curvature 2
    in W.

    Source: Ginsburg 2020, section 2 (his penalty mu sum w_i^2 is weight_decay = 2 mu here).
    """
    chain = deep_linear((1,) * (checks.integer("depth", depth, least=1) + 1), [[checks.real("target", target)]])
    return chain._replace(scale=2.0)


def check_widths(widths: Any) -> np.ndarray:
    """Layer widths (d_0, ..., d_N) as int64; ValueError if there are fewer than two or one is below 1."""
    sizes = np.array([checks.integer("widths", width, least=1) for width in np.atleast_1d(widths)], dtype=np.int64)
    if sizes.size < 2:
        raise ValueError(f"`widths` must name at least inputs and outputs: widths={tuple(sizes.tolist())}")
    return sizes


def check_residual_loss(residual_loss: Any) -> Any:
    """A plug-in that has `slope` and `penalty`; ValueError otherwise."""
    if not (slope.has(residual_loss) and penalty.has(residual_loss)):
        raise ValueError(
            f"`residual_loss` must be Square(), PseudoHuber() or a class with `slope` and `penalty` "
            f"kernels: residual_loss={residual_loss!r}"
        )
    return residual_loss
