"""The guard for additions to an answer, which must never cost an agent its receipt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["DECORATION_S", "decoration"]

logger = logging.getLogger(__name__)

DECORATION_S = 5.0
"""Seconds that one decoration may take; after them the answer goes out without it."""


@contextmanager
def decoration(what: str, *, waits: bool = True) -> Iterator[None]:
    """Runs a block that adds to an answer after a spend. Its failure never reaches the caller.

    An error ends the block, and so do DECORATION_S seconds unless it `waits` for nothing. The log
    then says that the answer goes out without `what`. Cancellation from outside passes. Requires a
    running event loop if it waits.
    """
    try:
        if not waits:
            yield
            return
        with anyio.move_on_after(DECORATION_S) as scope:
            yield
    except Exception:
        logger.exception("The answer goes out without %s.", what)
    else:
        if scope.cancelled_caught:
            logger.warning("The answer goes out without %s: it took too long.", what)
