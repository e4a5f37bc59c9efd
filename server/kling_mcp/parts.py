"""The parts behind a service, put together: ledger, sender, submission, look-up, files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kling_mcp.caretaking import Caretaker
from kling_mcp.clients import Clients
from kling_mcp.images import PicturePolicy
from kling_mcp.keeping import Keeper
from kling_mcp.ledger import Ledger
from kling_mcp.lookup import Lookup
from kling_mcp.sending import Sender
from kling_mcp.settings import Settings
from kling_mcp.spool import Spool
from kling_mcp.submission import Caps, Submission
from kling_tools.capabilities import Capabilities

__all__ = ["Parts", "make_parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once for the life of a process, when the first call comes."""

    ledger: Ledger
    sender: Sender
    submission: Submission
    lookup: Lookup
    keeper: Keeper
    caretaker: Caretaker


def make_parts(
    settings: Settings,
    capabilities: Capabilities,
    clients: Clients,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> Parts:
    """The parts for these settings; nothing is opened or written yet."""
    ledger = Ledger(settings.home, clock)
    sender = Sender(ledger, Spool(settings.home / "spool"), sleep, clock)
    caps = Caps(
        settings.max_units_per_task, settings.max_units_per_day, settings.confirm_above_units
    )
    pictures = PicturePolicy(roots=settings.image_roots, fix=settings.fix_images)
    return Parts(
        ledger=ledger,
        sender=sender,
        submission=Submission(
            clients, ledger, sender, capabilities, pictures, caps, saves=settings.save
        ),
        lookup=Lookup(clients, ledger),
        keeper=Keeper(clients, ledger, settings.output_dir, sleep),
        caretaker=Caretaker(clients, ledger, sender, sleep, clock),
    )
