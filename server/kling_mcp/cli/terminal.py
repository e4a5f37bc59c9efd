"""Safe output to a terminal, and what the terminal can show.

Prompts, paths and messages were written by strangers. Inside `guarded_output`, control characters,
changes of the writing direction, and characters that the terminal's encoding lacks are printed as
visible `\\u001b`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from typing import Any, TextIO, cast

from kling_mcp.cli.exit_codes import INTERRUPTED
from kling_tools.quoting import clipped

__all__ = [
    "StatusLine",
    "abandoned",
    "asked",
    "guarded_output",
    "shows_colours",
    "shows_unicode",
    "steer",
    "stopped_by_ctrl_c",
    "visible",
]

_STEERING = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff]"
)
"""Control characters except tab and line feed, and those that change the writing direction."""


def visible(text: str) -> str:
    """The text with each character that steers a terminal written as `\\u001b`, as in JSON."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@contextmanager
def guarded_output() -> Iterator[None]:
    """During the context, standard output and standard error print only visible text."""
    streams = (stream or StringIO() for stream in (sys.stdout, sys.stderr))  # None: it is closed
    out, err = (cast(TextIO, _Guarded(stream)) for stream in streams)
    with redirect_stdout(out), redirect_stderr(err):
        yield


def steer(stream: TextIO, text: str) -> None:
    """Write our own text with its control characters, also through guarded output."""
    stream.steer(text) if isinstance(stream, _Guarded) else stream.write(text)


class _Guarded:
    """A stream that writes visible text only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self.steer(visible(text))

    def steer(self, text: str) -> int:
        encoding = self._stream.encoding or "utf-8"
        writable = text.encode(encoding, "backslashreplace").decode(encoding)
        return self._stream.write(writable)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shows_colours(stream: TextIO) -> bool:
    """Whether to print colours: on a terminal, without NO_COLOR (no-color.org), not `dumb`."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shows_unicode(stream: TextIO) -> bool:
    """Whether the stream's encoding has signs beyond ASCII (an old Windows console has not)."""
    try:
        "✓✗·".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def abandoned(stream: TextIO) -> None:
    """Let what is still to be written to the stream vanish: the interpreter would try it again when
    it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class StatusLine:
    """One line of a terminal that is written again and again; nothing anywhere else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = False

    def show(self, text: str) -> None:
        """Show this text in place of the one before."""
        if not self._stream.isatty():
            return
        try:
            width = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            width = 0
        text = visible(" ".join(text.split()))
        self._shown = True
        steer(self._stream, f"\r\x1b[K{clipped(text, (width or USUAL_WIDTH) - 1)}")
        self._stream.flush()

    def clear(self) -> None:
        """Leave the line empty, for what is printed next."""
        if self._shown:
            self._shown = False
            steer(self._stream, "\r\x1b[K")
            self._stream.flush()


USUAL_WIDTH = 80


def asked(question: str) -> bool | None:
    """Whether the person at the terminal agrees; no answer is a no. None where nobody can be asked.
    Raises KeyboardInterrupt."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C has the running event loop call `stop`; a second one, also after the context, ends the
    process at once. Threads other than the main one hear of neither."""
    import asyncio

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, pressed = asyncio.get_running_loop(), False

    def interrupted(*_: object) -> None:
        nonlocal pressed
        if pressed:
            os._exit(INTERRUPTED)
        pressed = True
        loop.call_soon_threadsafe(stop)

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        if not pressed:
            signal.signal(signal.SIGINT, before)
