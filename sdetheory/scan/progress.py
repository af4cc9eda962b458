"""How far a scan is: points done, rate, time left, and failures as they happen."""

import sys
from types import TracebackType

SHOWN = 10  # failures shown one by one


class Progress:
    """A bar on a terminal (`show` None), always (True) or never (False); failures are said in any case."""

    def __init__(self, total: int, held: int, show: bool | None) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            total=total, initial=held, unit=" points", smoothing=0.1, disable=None if show is None else not show
        )
        self.said = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def add(self, points: int) -> None:
        """So many more have a result."""
        self.bar.update(points)

    def failures(self, lines: list[str]) -> None:
        """Say what failed; after the first ten only that there is more."""
        for line in lines[: max(0, SHOWN - self.said)]:
            self.bar.write(f"failed: {line}", file=sys.stderr)
        if self.said <= SHOWN < self.said + len(lines):
            self.bar.write("further failures are only recorded: sdetheory show lists them", file=sys.stderr)
        self.said += len(lines)
