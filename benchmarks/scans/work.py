"""The point that all scan tools compute: it takes a known time, gives a known value, and says when it is done."""

import os
import time

LOG = "SCAN_BENCHMARK_LOG"
WAIT = "SCAN_BENCHMARK_WAIT"


def truth(x: float) -> float:
    """The value at x."""
    return 0.1 * x * x + 1.0 / (1.0 + x)


def value(x: float) -> float:
    """The value at x, after a wait; a line in the log when it is done."""
    time.sleep(float(os.environ[WAIT]))
    result = truth(x)
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{int(x)}\n".encode())
    os.close(descriptor)
    return result


def point(x: float) -> dict[str, float]:
    """The same for our own scans."""
    return {"value": value(x)}
