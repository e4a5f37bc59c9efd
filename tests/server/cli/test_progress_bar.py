"""A progress bar is redrawn on a terminal and stays quiet in a file."""

import io

import pytest

from kling_mcp.cli.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")


def test_a_terminal_sees_one_line_that_grows() -> None:
    out, clock = Terminal(), Clock()
    bar = ProgressBar("Wait  ", out, clock=clock)

    bar.say("processing")
    bar.advance(1, 4)
    clock.now += 3
    bar.advance(4, 4)
    bar.close()

    _, first, second = out.getvalue().removeprefix("\r").removesuffix("\n").split("\r")
    assert first.rstrip() == "Wait  [######------------------]  25%   0 s  processing"
    assert second.rstrip() == "Wait  [########################] 100%   3 s  processing"
    assert len(first) == len(second) == 69


def test_no_escape_codes_are_written() -> None:
    out = Terminal()
    ProgressBar("", out).say("half")

    assert "\x1b" not in out.getvalue()


def test_a_narrow_terminal_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()

    ProgressBar("Wait ", out).say("a long text that would not fit")

    assert len(out.getvalue()) == 20


@pytest.mark.parametrize("out_type", [io.StringIO, Terminal])
def test_a_file_and_a_dumb_terminal_get_a_line_for_each_quarter(
    out_type: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = out_type()
    bar = ProgressBar("", out, clock=Clock())

    for done in range(101):
        bar.advance(done, 100)
    bar.close()

    shares = [line.split("]")[1].split()[0] for line in out.getvalue().splitlines()]
    assert shares == ["0%", "25%", "50%", "75%", "100%"]


def test_a_file_hears_of_a_long_wait_every_five_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    bar = ProgressBar("", out, clock=clock)

    for _ in range(12):
        bar.say("processing")
        clock.now += 1

    assert len(out.getvalue().splitlines()) == 3


def test_progress_never_goes_back() -> None:
    out = io.StringIO()
    bar = ProgressBar("", out)

    bar.advance(1, 2)
    bar.advance(0, 2)
    bar.advance(9, 3)

    assert [line.split("]")[1].split()[0] for line in out.getvalue().splitlines()] == [
        "50%",
        "100%",
    ]
