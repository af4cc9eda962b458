"""One BLAS thread: the products here are small, and several threads make them many times slower."""

from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS libraries of this process: found once, which takes milliseconds."""
    return ThreadpoolController()


def one_thread() -> Any:
    """A context in which products run on one BLAS thread; microseconds to enter."""
    return _libraries().limit(limits=1, user_api="blas")
