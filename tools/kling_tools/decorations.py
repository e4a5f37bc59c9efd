"""What makes an answer nicer, and must never stand between an agent and its receipt."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["DECORATION_S", "decoration"]

logger = logging.getLogger(__name__)

DECORATION_S = 5.0
"""Seconds that one decoration may take; the answer goes out without it then."""


@contextmanager
def decoration(what: str) -> Iterator[None]:
    """The one rule for all that follows a spend: it fails in silence.

    Errors of the block, and its being too slow, end the block and go to the log. Cancellation
    from outside passes. It needs a running event loop.
    """
    try:
        with anyio.move_on_after(DECORATION_S) as scope:
            yield
    except Exception:
        logger.exception("The answer goes out without %s.", what)
    else:
        if scope.cancelled_caught:
            logger.warning("The answer goes out without %s: it took too long.", what)
