"""What all callers of a server share; each part is made when it is first needed.

A server that only lists its tools opens nothing and leaves nothing behind. A server for a team
fills the `Ports` differently; their defaults are a person's own machine.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol

import anyio

from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_tools.addresses import UPLOADS_URI
from kling_tools.errors import KlingError
from kling_tools.products import FILM
from kling_tools.requests.times import zone_named

if TYPE_CHECKING:
    from kling_mcp.background import Background, BackgroundWork
    from kling_mcp.films.desk import FilmDesk
    from kling_mcp.inputs.held import HeldFile
    from kling_mcp.inputs.policy import PicturePolicy, TaskPicture
    from kling_mcp.ledger import DayCaps, Ledger, Record
    from kling_mcp.ledger.changes import Changes, Noticing
    from kling_mcp.outputs.downloads import Downloads
    from kling_mcp.outputs.pictures_of_videos import Frames
    from kling_mcp.outputs.storage import VideoStorage
    from kling_mcp.polling.pace import Pace
    from kling_mcp.polling.scheduler import Scheduler
    from kling_mcp.principal import Principal
    from kling_mcp.providers.client import Observe
    from kling_mcp.providers.configured import Configured
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.redaction import Redactor
    from kling_mcp.settings.settings import Settings
    from kling_mcp.submission.recovery import Recovery
    from kling_mcp.submission.sender import Sender
    from kling_mcp.submission.submission import Submission
    from kling_mcp.submission.waiting import WaitingRequests
    from kling_mcp.tasks.account import AccountDesk
    from kling_mcp.tasks.library import Library
    from kling_mcp.tasks.lookup import Lookup
    from kling_mcp.tasks.reader import TaskReader
    from kling_tools.results import UploadAddress
    from kling_tools.rules.capabilities import Capabilities

__all__ = ["Ports", "Runtime", "Sleep", "Uploads"]

SUBSCRIBED_WITHIN_S = 5.0
"""Seconds that the first listener waits for the database; changes before that are seen later."""

LEFT_BEHIND_S = 15.0
"""Seconds between two searches for open rows that other servers left behind."""

ENDING_S = 1.5
"""Seconds for which a server that ends goes on saving: hosts end it by force after two."""

SAVED_BESIDE = 20
"""Videos that a wait has saved beside those that it waits for."""

FOLLOWED_S = 86_400.0
"""Seconds for which a running task is asked for although nobody waits for it."""

NO_UPLOADS = "uploads lie at the server over HTTP that took them; this one has none."

Sleep = Callable[[float], Awaitable[None]]
"""Waits a number of seconds; tests hand in one that returns at once."""


class Uploads(Protocol):
    """Pictures that callers upload: they lie in a chat, or where the server cannot read."""

    async def address(self, owner: str) -> UploadAddress:
        """An address that takes one picture of this owner's."""
        ...

    async def picture(self, address: str, owner: str) -> TaskPicture:
        """The picture at the address; raises KlingError for one that is not the owner's."""
        ...

    async def give_address(self, owner: str, file: HeldFile) -> str:
        """An address from which a provider can fetch this file of the owner's for a day. Raises
        KlingError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What a server for a team puts in the place of a person's own machine.

    `storage` keeps finished videos, by default in the output folder. With `uploads`, callers may
    upload their pictures. `far`: they sit at other machines, so the server neither reads nor shows
    a path of this one for them, and providers can fetch their uploads.
    `observe` is called with each request to a provider. Providers call back below `callback_base`,
    an address without a slash at its end, and sign with `callback_secret`; when empty, no provider
    is asked to. One caller may spend `max_units_per_day_user` units, `max_usd_per_day_user` US
    dollars and `max_image_units_per_day_user` image units in 24 hours; None is no cap.
    `running` is entered with the runtime for as long as the server runs. `secrets` are those of the
    server itself, which no answer and no line of the log may show.
    """

    storage: VideoStorage | None = None
    uploads: Uploads | None = None
    far: bool = False
    observe: Observe | None = None
    callback_base: str = ""
    callback_secret: str = field(default="", repr=False)
    max_units_per_day_user: float | None = None
    max_usd_per_day_user: float | None = None
    max_image_units_per_day_user: float | None = None
    running: Callable[[Runtime], AbstractContextManager[None]] | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(kw_only=True)
class Runtime:
    """Made once for the life of a server. `stack` closes at its end what was opened, `clock` tells
    the seconds since the epoch, `redactor` takes secrets out of what providers say;
    without one a client knows those of its own provider."""

    settings: Settings
    capabilities: Capabilities
    providers: Mapping[str, Configured]
    stack: AsyncExitStack
    background: Background
    clock: Callable[[], float] = time.time
    sleep: Sleep = anyio.sleep
    ports: Ports = field(default_factory=Ports)
    limits: TimeLimits = TIME_LIMITS
    redactor: Redactor | None = None

    def __post_init__(self) -> None:
        self._subscribed = anyio.Event()
        self._began_at = self.clock()

    @cached_property
    def changes(self) -> Changes:
        """The bus of changed tasks."""
        from kling_mcp.ledger.changes import Changes

        return Changes()

    @cached_property
    def _noticing(self) -> Noticing:
        from kling_mcp.ledger.changes import Noticing

        return Noticing(self.changes, self._written)

    @cached_property
    def clients(self) -> Clients:
        """The providers' clients, each connected when it is first asked."""
        from kling_mcp.providers.pool import Clients
        from kling_mcp.providers.transport import Callbacks

        callbacks = Callbacks(self.ports.callback_base, self.ports.callback_secret)
        return Clients(
            self.providers,
            self.settings,
            self.stack,
            callbacks,
            observe=self.ports.observe,
            redactor=self.redactor,
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger. From its first use on, open rows are taken up in the background."""
        from kling_mcp.ledger import open_ledger

        far = self.ports.far
        ledger = open_ledger(self.settings, self.clock, self._noticing, discreet=far)
        self.stack.push_async_callback(ledger.close)
        self.background.keep_up(self._recover, ledger)
        if ledger.is_shared:
            self.background.keep_up(self._follow, ledger)
        if self.settings.save:
            self.background.keep_up(self._finish, ledger)
        return ledger

    @cached_property
    def background_work(self) -> BackgroundWork:
        """Runs work that may take longer than the call that asked for it."""
        from kling_mcp.background import BackgroundWork

        return BackgroundWork(self.background)

    @cached_property
    def sender(self) -> Sender:
        """Sends each request once; queued ones wait on disk, or in a shared database."""
        from kling_mcp.ledger.notes import Notes
        from kling_mcp.submission.queue import FolderQueue, SharedQueue
        from kling_mcp.submission.sender import Sender

        folder = self.settings.home / "spool"
        queue = SharedQueue(self.ledger.engine) if self.ledger.is_shared else FolderQueue(folder)
        notes = Notes(self.settings.home / "made")
        queue_s = self.settings.queue_hours * 3600
        read_only = self.settings.read_only
        return Sender(self.ledger, queue, notes, self.sleep, queue_s=queue_s, read_only=read_only)

    @cached_property
    def waiting(self) -> WaitingRequests:
        """The requests that wait here for a free slot."""
        from kling_mcp.submission.waiting import WaitingRequests

        return WaitingRequests(self.ledger, self.sender, self.sleep, began_at=self._began_at)

    @cached_property
    def recovery(self) -> Recovery:
        """Takes up open rows in the background."""
        from kling_mcp.submission.recovery import Recovery

        return Recovery(self.clients, self.ledger, self.sender, self.waiting, self.sleep)

    @cached_property
    def submission(self) -> Submission:
        """The way of everything that is made."""
        from kling_mcp.submission.submission import Caps, Submission

        settings = self.settings
        return Submission(
            clients=self.clients,
            ledger=self.ledger,
            sender=self.sender,
            capabilities=self.capabilities,
            caps=Caps(
                settings.max_units_per_task,
                self._day_caps,
                settings.confirm_above_units,
                settings.max_usd_per_task,
                settings.max_image_units_per_task,
            ),
            background_work=self.background_work,
            limits=self.limits,
            library=self.library,
            storage=self.storage,
            saves=settings.save,
            callback_base=self.ports.callback_base,
        )

    @cached_property
    def library(self) -> Library:
        """The elements and voices of each account."""
        from kling_mcp.tasks.library import Library

        return Library(self.clients, self.ledger, self.clock)

    @property
    def _day_caps(self) -> DayCaps:
        from kling_mcp.ledger import DayCaps

        return DayCaps(
            self.settings.max_units_per_day,
            self.ports.max_units_per_day_user,
            self.settings.max_usd_per_day,
            self.ports.max_usd_per_day_user,
            self.settings.max_image_units_per_day,
            self.ports.max_image_units_per_day_user,
        )

    @cached_property
    def lookup(self) -> Lookup:
        """Finds a task by any id, in the ledger or at its provider."""
        from kling_mcp.tasks.lookup import Lookup

        return Lookup(self.clients, self.ledger, self.sender.take_up)

    @cached_property
    def reader(self) -> TaskReader:
        """Reads and shows the rows of the ledger."""
        from kling_mcp.tasks.reader import TaskReader
        from kling_mcp.tasks.views import Viewer

        viewer = Viewer(
            clients=self.clients,
            files=self.storage,
            now=self.ledger.now,
            saving=self.downloads.saving,
            outlook=self.waiting.outlook,
            zone=zone_named(self.settings.timezone),
        )
        return TaskReader(self.ledger, viewer)

    @cached_property
    def films(self) -> FilmDesk:
        """Plans and makes films."""
        from kling_mcp.films.desk import FilmDesk
        from kling_mcp.films.making import Means

        means = Means(
            ledger=self.ledger,
            submission=self.submission,
            scheduler=self.scheduler,
            downloads=self.downloads,
            storage=self.storage,
            recovery=self.recovery,
            background=self.background,
            pictures=self.pictures,
            rows=self.reader.of,
            music=self.settings.home / "music",
            sleep=self.sleep,
        )
        return FilmDesk(means, self.settings, self._makes_films)

    def pictures(self, principal: Principal) -> PicturePolicy:
        """The pictures that a caller may name: files below the roots, frames of their own tasks,
        and their own uploads."""
        from kling_mcp.inputs.policy import PicturePolicy
        from kling_mcp.settings.settings import known_folders

        uploads, far, owner = self.ports.uploads, self.ports.far, principal.name
        frames, reader = self.frames.of(principal), self.reader.of(principal)

        async def picture(address: str) -> TaskPicture:
            if not address.lower().startswith(UPLOADS_URI):
                return await frames.picture(address)
            if uploads is None:
                raise KlingError(NO_UPLOADS, advice="Use the path of the file, or an https URL.")
            return await uploads.picture(address, owner)

        async def task_of(path: str) -> str:
            found = await reader.find(path)
            return found.handle if found else ""

        return PicturePolicy(
            roots=self.settings.image_roots,
            allow_local=not far,
            uploads=uploads is not None,
            fix=self.settings.fix_images,
            folders=dict if far else known_folders,
            decoding=self.limits.decoding,
            of_tasks=picture,
            task_of=task_of,
            task_video=frames.video,
            give_address=partial(uploads.give_address, owner) if uploads and far else None,
        )

    @cached_property
    def accounts(self) -> AccountDesk:
        """Tells of the account: providers, caps, what was spent, and what is wrong."""
        from kling_mcp.tasks.account import AccountDesk

        return AccountDesk(
            self.settings,
            self.providers,
            self.clients,
            self.ledger,
            self.capabilities,
            self._day_caps,
            self.clock,
            self.sleep,
            private=self.ports.far,
        )

    @cached_property
    def storage(self) -> VideoStorage:
        """Where finished videos are kept."""
        from kling_mcp.inputs.policy import PicturePolicy
        from kling_mcp.outputs.storage import FolderStorage
        from kling_mcp.settings.settings import known_folders

        if self.ports.storage:
            return self.ports.storage
        others = self.settings.save_roots
        pictures = PicturePolicy(self.settings.image_roots, folders=known_folders)
        return FolderStorage(self.settings.output_dir, others, known_folders, pictures)

    @cached_property
    def downloads(self) -> Downloads:
        """Fetches finished videos."""
        from kling_mcp.outputs.downloads import Downloads

        return Downloads(
            self.clients,
            self.ledger,
            self.lookup,
            self.storage,
            self.background_work,
            self.sleep,
            self.limits,
            autosaves=self.settings.save,
            zone=zone_named(self.settings.timezone),
        )

    @cached_property
    def frames(self) -> Frames:
        """Frames of finished videos."""
        from kling_mcp.outputs.pictures_of_videos import Frames

        return Frames(self.reader, self.downloads, self.limits.decoding)

    @cached_property
    def pace(self) -> Pace:
        """Knows when a task is to be asked for next."""
        from kling_mcp.polling.pace import Pace

        sandbox_s = self.settings.sandbox_queue_s + self.settings.sandbox_render_s
        return Pace(self.providers, sandbox_s)

    @cached_property
    def scheduler(self) -> Scheduler:
        """Asks for all tasks that somebody waits for."""
        from kling_mcp.polling.scheduler import Scheduler

        return Scheduler(
            self.ledger,
            self.providers,
            self.lookup,
            self.clients,
            self.pace,
            self.downloads,
            self.changes,
            self.background,
            self.ledger.now,
            self.sleep,
        )

    async def save_finished(self, principal: str | None) -> None:
        """Start saving the finished videos of a caller (None: all) that have no file yet, where
        autosave is on. Returns at once."""
        if self.settings.save and self.ledger.exists:
            for record in await self.ledger.unsaved(principal, SAVED_BESIDE, self.providers):
                self.downloads.noticed(record)

    async def finish_saving(self) -> None:
        """Wait until nothing is being saved any more, some seconds at most."""
        if "downloads" in self.__dict__:
            await self.downloads.until_saved(ENDING_S)

    async def subscribed(self) -> None:
        """Wait until this process receives change notifications from the database, some seconds at
        most."""
        if self.ledger.is_shared:
            with anyio.move_on_after(SUBSCRIBED_WITHIN_S):
                await self._subscribed.wait()

    def _written(self, record: Record) -> None:
        """Have the video of a task saved that has just been seen to end."""
        if self.settings.save and not self.ledger.is_shared:
            self.downloads.noticed(record)

    async def _finish(self, ledger: Ledger) -> None:
        """Have the running tasks that this process has seen asked for although nobody waits for
        them: their videos are then saved."""
        while True:
            await anyio.sleep(LEFT_BEHIND_S)
            running = await ledger.several(self._noticing.unfinished)
            for record in running.values():
                recent = record.created_at > ledger.now() - FOLLOWED_S
                if record.task_id and recent and record.provider in self.providers:
                    self.scheduler.keep(record.id)

    async def _recover(self, ledger: Ledger) -> None:
        """Take up open rows now, and later on the rows of servers that ended."""
        while True:
            if ledger.exists:
                await self._take_up_films(ledger)
                await self.recovery.run()
            await anyio.sleep(LEFT_BEHIND_S)

    async def _take_up_films(self, ledger: Ledger) -> None:
        """Go on with the films that other servers left behind: those of the last hours, as queued
        requests are. A server that cannot be called for films makes none."""
        if not self._makes_films:
            return
        since = ledger.now() - self.settings.queue_hours * 3600
        with suppress(KlingError):
            for film_id in await ledger.films.unfinished(since):
                await self.films.take_up(film_id)

    @cached_property
    def _makes_films(self) -> bool:
        from kling_tools.tools.toolset import is_chosen

        return not self.settings.read_only and is_chosen(FILM.tool, self.settings.tools)

    async def _follow(self, ledger: Ledger) -> None:
        """Publish the changes that other servers write in this process, too."""
        async with aclosing(ledger.changed_rows()) as batches:
            async for ids in batches:
                self._subscribed.set()
                if self.changes.are_heard:
                    with suppress(KlingError):
                        await ledger.several(ids or self._noticing.unfinished, changed=bool(ids))
