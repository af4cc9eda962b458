"""The race of networks: torch computes what we compute, one that does not is not timed, and the report says so."""

import numpy as np
import pytest

from benchmarks import goals, networks, timing
from sdetheory.networks import conv_net, digits, labelled, mlp

POINTS = labelled(np.sin(np.arange(240.0) ** 1.4).reshape(40, 6), np.arange(40) % 3)
CASES = [
    networks.Case("MLP", mlp((6, 5, 5, 3), residual=True, affine=True, eps=1e-3), POINTS, 3, 6, batch_size=8),
    networks.Case("conv", conv_net((2, 2), 10, residual=True, eps=1e-5), digits().subset(slice(0, 40)), 2, 4, 8),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("how", [("together", {}), ("together", {"chunk": 1}), ("vmapped", {}), ("one_by_one", {})])
def test_torch_trains_the_same_nets(case, how):
    pytest.importorskip("torch", reason="torch is not installed: a peer of the benchmarks")
    from benchmarks.peers import torch_networks

    losses = getattr(torch_networks, how[0])(case, threads=1, **how[1])()
    off = np.abs(losses - networks._trained(case, 1, 1)).max()
    assert losses.shape == (case.steps, case.nets) and off < 1e-12, f"{off:.1e}"


def test_a_peer_that_computes_something_else_is_not_timed(monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed: a peer of the benchmarks")
    from benchmarks.peers import torch_networks

    wrong = lambda case, **options: torch_networks.together(case._replace(weight_decay=1.1 * case.weight_decay))
    monkeypatch.setattr(torch_networks, "vmapped", wrong)
    monkeypatch.setattr(networks, "interleave", lambda ours, rivals, repeats: _race(rivals))
    row = networks.one_case(CASES[0]._replace(steps=12))
    verdicts = {peer["name"]: peer["agrees"] for peer in row["peers"]}
    assert [name for name, agrees in verdicts.items() if not agrees] == ["torch.func.vmap"], verdicts
    text = "\n".join(networks.lines({"torch": "2", "rows": [row], "threads": {"MLP": {"median": 1.9}}}))
    assert "torch.func.vmap                 DISAGREES" in text and "2.5" in text, text
    (goal,) = goals.goals({"networks": {"rows": [row]}})
    assert goal.measured == 2.5 and goal.verdict == "must", goal


def _race(rivals):
    """Every rival takes 2.5 times as long."""
    one, more = timing.Clock(1.0, 1.0), timing.Clock(2.5, 2.5)
    return timing.Race(candidate=[one], rivals={name: [(more, one)] for name in rivals})


def test_the_table_says_when_torch_is_absent():
    assert "torch is not installed" in networks.lines({"torch": None, "rows": []})[0]
    assert goals.goals({"networks": {"torch": None, "rows": []}}) == []
