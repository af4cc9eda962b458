"""Interrupt and termination as a question a loop can ask, so that a run ends in order and within seconds."""

import signal
import threading
from types import FrameType, TracebackType

CAUGHT = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Raised in the middle of work, where waiting for a convenient moment could take long."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


class Signals:
    """While the block lasts, `received` is the number of the first signal, or None.

    at_once: raise Stopped in the middle of the work instead (a second signal always does). Outside the main thread,
    where Python has no signals, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.at_once = False

    def __enter__(self) -> "Signals":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._receive) for number in CAUGHT}
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = self.received or number
        if self.at_once or again:
            raise Stopped(self.received)
