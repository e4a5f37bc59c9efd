"""The parts behind a service, put together: ledger, sender, submission, look-up, files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kling_mcp.background import Background, Errands
from kling_mcp.inputs import PicturePolicy
from kling_mcp.ledger import DayCaps, Ledger, open_ledger
from kling_mcp.ledger.changes import Changes, Noticing
from kling_mcp.ledger.notes import Notes
from kling_mcp.outputs.autosave import AutoSave
from kling_mcp.outputs.downloads import Keeper
from kling_mcp.outputs.storage import FolderShelf
from kling_mcp.outputs.task_frames import Frames
from kling_mcp.polling.attendance import Attendance
from kling_mcp.polling.looker import Looker
from kling_mcp.polling.pace import Pace
from kling_mcp.polling.scheduler import Scheduler
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.settings.settings import Settings
from kling_mcp.submission.queue import Spool
from kling_mcp.submission.recovery import Caretaker
from kling_mcp.submission.sender import Sender
from kling_mcp.submission.shared_queue import SharedSpool
from kling_mcp.submission.submission import Caps, Submission
from kling_mcp.tasks.lookup import Lookup
from kling_mcp.tasks.reader import Rows
from kling_tools.rules.capabilities import Capabilities

if TYPE_CHECKING:
    from kling_mcp.hosting.team import Hosting

__all__ = ["Parts", "make_parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Made once for the life of a process, when the first call comes."""

    ledger: Ledger
    errands: Errands
    sender: Sender
    submission: Submission
    lookup: Lookup
    keeper: Keeper
    caretaker: Caretaker
    looker: Looker
    autosave: AutoSave
    pace: Pace
    scheduler: Scheduler
    rows: Rows
    frames: Frames
    attendance: Attendance


def make_parts(
    settings: Settings,
    capabilities: Capabilities,
    clients: Clients,
    changes: Changes,
    noticing: Noticing,
    background: Background,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    hosting: Hosting | None = None,
    limits: TimeLimits = TIME_LIMITS,
) -> Parts:
    """The parts for these settings; nothing is opened or written yet."""
    exchange = hosting.exchange if hosting else None
    ledger = open_ledger(settings, clock, noticing, discreet=exchange is not None)
    spool = SharedSpool(ledger.engine) if ledger.is_shared else Spool(settings.home / "spool")
    sender = Sender(ledger, spool, Notes(settings.home / "made"), sleep)
    caps = Caps(
        settings.max_units_per_task,
        DayCaps(
            settings.max_units_per_day,
            hosting.settings.max_units_per_day_user if hosting else None,
        ),
        settings.confirm_above_units,
    )
    lookup = Lookup(clients, ledger)
    shelf = exchange.shelf if exchange else FolderShelf(settings.output_dir)
    errands = Errands(background)
    keeper = Keeper(clients, ledger, shelf, errands, sleep, limits)
    looker = Looker(clients, ledger, lookup, sender)
    autosave = AutoSave(keeper, wanted=settings.save)
    pace = Pace(clients, settings.sandbox_queue_s + settings.sandbox_render_s)
    scheduler = Scheduler(
        ledger, clients, looker, pace, autosave, changes, background, ledger.now, sleep
    )
    rows = Rows(ledger, clients, sender, changes, pace, keeper.unsaved, exchange=exchange)
    frames = Frames(rows, keeper, autosave)
    pictures = PicturePolicy(
        roots=settings.image_roots, allow_local=exchange is None, fix=settings.fix_images
    )
    return Parts(
        ledger=ledger,
        errands=errands,
        sender=sender,
        submission=Submission(
            clients,
            ledger,
            sender,
            capabilities,
            pictures,
            frames,
            caps,
            errands,
            limits,
            saves=settings.save,
            exchange=exchange,
        ),
        lookup=lookup,
        keeper=keeper,
        caretaker=Caretaker(clients, ledger, sender, sleep),
        looker=looker,
        autosave=autosave,
        pace=pace,
        scheduler=scheduler,
        rows=rows,
        frames=frames,
        attendance=Attendance(scheduler, background),
    )
