"""Parameter scans that lose nothing: described in TOML or Python, run on one machine or a cluster, kept in a store.

    from sdetheory import scan
    described = scan.Scan("effective_lr", axes={"lr": scan.log(0.01, 1, 9), "weight_decay": scan.values(0.01, 0.1)})
    scan.run(described.points(), "results", description={"toml": described.to_toml()}, serial=True)
    print(scan.table(scan.open_report("results"), "effective_lr"))
"""

import importlib
from typing import Any

_HOME = {
    "Scan": "description",
    **dict.fromkeys(("values", "linear", "log"), "axes"),
    **dict.fromkeys(("run", "Summary"), "runner"),
    "Store": "store",
    "Point": "identity",
    "Outcome": "records",
    **dict.fromkeys(("open_report", "table"), "report"),
    **dict.fromkeys(("Parameter", "Observable", "Predicted", "find"), "experiments"),
    **dict.fromkeys(("compare",), "comparison"),
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
