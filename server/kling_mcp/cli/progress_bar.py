"""Progress in a terminal: one line that is redrawn, or a few lines where none can be."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from kling_mcp.cli.terminal import steer, visible

__all__ = ["ProgressBar"]

_CELLS = 24
_STEP = 0.25
_LONGEST_SILENCE_S = 5.0


class ProgressBar:
    """Shows how much of something is done, without colours.

    On a terminal the line is redrawn in place; elsewhere (a file, a pipe, `TERM=dumb`) a line is
    written for each quarter and at least every five seconds. `clock` counts seconds.
    """

    def __init__(
        self, label: str, out: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._out = out
        self._clock = clock
        self._started = clock()
        self._redraws = out.isatty() and os.environ.get("TERM") != "dumb"
        self._fraction = 0.0
        self._text = ""
        self._written: tuple[float, float] | None = None

    def advance(self, done: float, total: float) -> None:
        """Show that `done` of `total` is reached; the share never falls."""
        self._fraction = min(max(done / total, self._fraction), 1.0)
        self._draw()

    def say(self, text: str) -> None:
        """Show another text behind the bar."""
        self._text = visible(text)
        self._draw()

    def _draw(self) -> None:
        if self._redraws:
            width = shutil.get_terminal_size().columns - 1
            steer(self._out, "\r" + self._line()[:width].ljust(width))
            self._out.flush()
        elif self._is_news():
            self._written = (self._fraction, self._clock())
            self._out.write(self._line() + "\n")
            self._out.flush()

    def close(self) -> None:
        """Leave the last state standing and go to the next line."""
        if self._redraws:
            self._out.write("\n")
            self._out.flush()

    def _is_news(self) -> bool:
        if self._written is None:
            return True
        fraction, at = self._written
        finished = self._fraction >= 1.0 > fraction
        return (
            finished
            or self._fraction - fraction >= _STEP
            or self._clock() - at >= _LONGEST_SILENCE_S
        )

    def _line(self) -> str:
        filled = round(self._fraction * _CELLS)
        bar = "#" * filled + "-" * (_CELLS - filled)
        elapsed_s = self._clock() - self._started
        return (
            f"{self._label}[{bar}] {self._fraction:4.0%} {elapsed_s:3.0f} s  {self._text}".rstrip()
        )
