"""The memory of another process, from Linux's /proc."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ProcessMemory"]

RESET_PEAK = "5"
"""What proc(5) wants written into clear_refs to start the peak anew."""


class ProcessMemory:
    """Resident memory of the process `pid`, in bytes. Raises OSError where there is no /proc."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)

    @property
    def resident(self) -> int:
        """Bytes resident now."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """Most bytes resident since the start, or since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Make the present the peak. Raises PermissionError where the kernel forbids it."""
        (self._folder / "clear_refs").write_text(RESET_PEAK)

    def _status(self, name: str) -> int:
        for line in (self._folder / "status").read_text().splitlines():
            label, _, value = line.partition(":")
            if label == name:
                return int(value.split()[0]) * 1024
        raise OSError(f"{self._folder / 'status'} has no {name}")
