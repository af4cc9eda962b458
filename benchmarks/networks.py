"""Training ensembles of small networks: our trainer against torch on the same nets, starts and batches, float64.

One core each: ours on one thread, torch on one, since threads of torch wait for each other inside every small
operation (two of them lose on these nets even on an idle machine, and by any factor on a busy one), while nets side
by side scale for everybody. Ours draws its batches and measures |w|^2, |g|^2 and <w, g> of every layer at every step
within the time; torch gets its batches as tensors and measures nothing. A peer whose losses differ from ours over
the first steps is not timed.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sdetheory.networks import Data, Network, conv_net, digits, mlp, train

from .timing import alternate, interleave

CHECKED, TOLERANCE = 10, 1e-10
PEERS = {
    "torch, all nets in one graph": ("together", {}),
    "torch, 8 nets in one graph": ("together", {"chunk": 8}),
    "torch.func.vmap": ("vmapped", {}),
    "torch modules, net after net": ("one_by_one", {}),
}


class Case(NamedTuple):
    """E = `nets` nets, seeds 0 .. E - 1, for so many steps."""

    name: str
    net: Network
    data: Data
    nets: int
    steps: int
    batch_size: int = 32
    lr: float = 0.1
    weight_decay: float = 1e-3

    def part(self, steps: int) -> "Case":
        """The same for fewer or more steps."""
        return self._replace(steps=steps)

    def ours(self, threads: int = 1) -> Callable[[], np.ndarray]:
        """run() -> losses (2, E) at the first and the last step."""
        return lambda: _trained(self, threads, self.steps)


def _trained(case: Case, threads: int, every: int) -> np.ndarray:
    record = train(
        case.net, case.data, lr=case.lr, weight_decay=case.weight_decay, steps=case.steps, seeds=case.nets,
        batch_size=case.batch_size, threads=threads, record_every=every,
    )  # fmt: skip
    return record.loss[:, :-1].T


def cases(quick: bool = False) -> list[Case]:
    """Two perceptrons and a residual convolutional net of 8 channels, each alone and in ensembles."""
    data, eps = digits(), 1e-5  # torch's batch normalisation refuses eps = 0
    small, wide = mlp((64, 32, 32, 10), eps=eps), mlp((64, 128, 128, 10), eps=eps)
    images = conv_net((8, 8, 8), residual=True, eps=eps)
    if quick:
        return [Case("MLP 64-32-32-10", small, data, 8, 256)]
    sizes = [
        ("MLP 64-32-32-10", small, ((1, 2048), (8, 512), (64, 256))),
        ("MLP 64-128-128-10", wide, ((1, 1024), (8, 256), (64, 256))),
        ("residual conv net, 8 channels", images, ((1, 256), (8, 64), (32, 32))),
    ]
    return [Case(name, net, data, nets, steps) for name, net, ends in sizes for nets, steps in ends]


def one_case(case: Case, quick: bool = False) -> dict[str, Any]:
    """Net-steps a second of ours, and each peer's time over ours between two runs of ours."""
    from .peers import torch_networks

    checked, rivals, rows = case.part(CHECKED), {}, []
    ours = _trained(checked, 1, 1)
    for name, (function, options) in PEERS.items():
        if options.get("chunk", 0) >= case.nets or (case.nets == 1 and function == "vmapped"):
            continue
        prepare = getattr(torch_networks, function)
        off = float(np.abs(prepare(checked, threads=1, **options)() - ours).max())
        rows.append({"name": name, "difference": off, "agrees": off <= TOLERANCE})
        if off <= TOLERANCE:
            part = max(case.steps // (16 if function == "one_by_one" else 4), CHECKED)
            rivals[name] = (prepare(case.part(part), threads=1, **options), part / case.steps)
    timed = interleave(case.ours(), rivals, 3 if quick else 5)
    for row in rows:
        if row["name"] in rivals:
            wall, processor = timed.ratio(row["name"]), timed.processor_ratio(row["name"])
            row |= {"ratio": wall.median, "low": wall.low, "high": wall.high, "processor_ratio": processor}
    rate = case.nets * case.steps / timed.seconds()
    return {"case": case.name, "nets": case.nets, "rate": rate, "peers": rows}


def run(quick: bool = False, tick: Callable[[str], Any] = lambda text: None) -> dict[str, Any]:
    """Rows of all cases, and two threads of ours against one; only why not, where torch is not installed."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return {"torch": None, "rows": []}
    rows, chosen = [], cases(quick)
    for case in chosen:
        tick(f"networks: {case.name}, {case.nets} nets")
        rows.append(one_case(case, quick))
    largest = {case.name: case for case in chosen}
    threads = {name: vars(alternate(case.ours(1), case.ours(2), 3)) for name, case in largest.items()}
    return {"torch": version, "rows": rows, "threads": threads}


def lines(results: dict[str, Any]) -> list[str]:
    """The table."""
    if results["torch"] is None:
        return ["\nnetworks: torch is not installed, nothing to compare with"]
    out = [f"\nNetworks: torch {results['torch']} on the same nets, starts and batches, float64, one core each"]
    out.append(f"  {'':30}{'nets':>5}{'ours, net-steps/s':>19}  {'':30}{'ratio':>7}{'least-most':>13}{'cpu ratio':>11}")
    for row in results["rows"]:
        start = f"  {row['case']:30}{row['nets']:5d}{row['rate']:19.0f}  "
        for peer in row["peers"]:
            if "ratio" not in peer:
                out.append(f"{start}{peer['name']:30}  DISAGREES: losses differ by {peer['difference']:.1e}")
            else:
                spread = f"{peer['low']:.3g}-{peer['high']:.3g}"
                numbers = f"{peer['ratio']:7.3g}{spread:>13}{peer['processor_ratio']:11.3g}"
                out.append(f"{start}{peer['name']:30}{numbers}")
            start = " " * len(start)
    for name, ratio in results["threads"].items():
        out.append(f"  {name}: two threads of ours against one {ratio['median']:.2f}")
    return out
