"""Assembles the server for a team, and what it offers beside MCP with a public URL: video links,
upload addresses, callbacks. Its errors show callers no folder of the server."""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_mcp.hosting.bucket import Bucket
from kling_mcp.hosting.links import Signer, VideoLinks
from kling_mcp.hosting.login import Logins, auth_settings, logins
from kling_mcp.hosting.sign_in.clients import Descriptions, Fetch, fetched
from kling_mcp.hosting.sign_in.provider import SignIn
from kling_mcp.hosting.sign_in.store import SignInStore
from kling_mcp.hosting.team_storage import (
    BucketStorage,
    BucketUploads,
    FolderUploads,
    TeamFolder,
    UploadStorage,
)
from kling_mcp.hosting.tokens import TokenFile
from kling_mcp.hosting.uploads import Uploads
from kling_mcp.protocol.server import Team
from kling_mcp.providers.redaction import mapped, secrets_of
from kling_mcp.runtime import Ports
from kling_tools.errors import KlingError, NotConfigured

if TYPE_CHECKING:
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.context import ServerMiddleware

    from kling_mcp.hosting.metrics import Metrics
    from kling_mcp.hosting.team_settings import HostSettings
    from kling_mcp.ledger import Ledger
    from kling_mcp.runtime import Runtime
    from kling_mcp.settings.settings import Settings

__all__ = ["Hosting", "PublicAddresses", "ServerState", "hide_folders"]

logger = logging.getLogger(__name__)

UNSHARED = (
    "KLING_MCP_SECRET is not set: a link or a sign-in works only at the server that began it. "
    "Set it to the same 32 characters or more for all servers of this database."
)


@dataclass(slots=True)
class PublicAddresses:
    """Callers get `links` to the videos in `storage`, and send pictures through `uploads`.

    A row's callback address is `callback_base`, a slash and its key; an empty base requests no
    callbacks. `callback_secret` must sign each callback; empty accepts unsigned ones.
    """

    links: VideoLinks
    uploads: Uploads
    storage: TeamFolder | BucketStorage
    callback_base: str = ""
    callback_secret: str = field(default="", repr=False)


def make_public_addresses(
    settings: Settings,
    host: HostSettings,
    secret: str,
    clock: Callable[[], float] = time.time,
) -> PublicAddresses:
    """Make them from the settings. Opens and writes nothing. `secret` signs addresses.

    Raises NotConfigured for a malformed callback secret.
    """
    signer = Signer(secret, clock)
    links = VideoLinks(host.public_url, signer, host.link_s)
    storage: TeamFolder | BucketStorage
    uploads: UploadStorage
    if host.storage:
        bucket = Bucket(host.storage)
        storage = BucketStorage(bucket, settings.home / "cache", links)
        uploads = BucketUploads(bucket)
    else:
        storage = TeamFolder(settings.output_dir, links)
        uploads = FolderUploads(settings.home / "uploads")
    callback_secret = host.callback_secret.get_secret_value() if host.callback_secret else ""
    if callback_secret:
        _check(callback_secret)
    return PublicAddresses(
        links=links,
        uploads=Uploads(host.public_url, signer, uploads, clock, fix=settings.fix_images),
        storage=storage,
        callback_base=f"{host.public_url}/callbacks" if host.public_url else "",
        callback_secret=callback_secret,
    )


def _check(callback_secret: str) -> None:
    """Report an unusable secret at the start; otherwise it would show as refused callbacks."""
    try:
        from standardwebhooks import Webhook
    except ImportError as error:
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET requires standardwebhooks, which is not installed.",
            advice="Install kling-mcp[serve].",
        ) from error
    try:
        Webhook(callback_secret)
    except Exception as error:  # the library has a class of its own for an empty one
        raise NotConfigured(
            "KLING_MCP_CALLBACK_SECRET must be whsec_ followed by base64.",
            advice="Copy the whole secret from where you set it up at Kling.",
        ) from error


@dataclass(slots=True)
class ServerState:
    """`runtime` is None before the server has started and after it has ended. `stopping` is True
    from the moment it begins to stop."""

    runtime: Runtime | None = None
    stopping: bool = False

    @property
    def ledger(self) -> Ledger:
        """The ledger of the running server. Raises KlingError when it does not run."""
        if self.runtime is None:
            raise KlingError("The server is starting or stopping.", advice="Try again.")
        return self.runtime.ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """The team's parts of the server, made once per process. `secret` signs addresses. `logins` is
    None for a server without a login, `metrics` when their library is not installed, and `public`
    without a public URL: pictures and videos then stay on this machine, as for one person.
    `uploads` takes pictures at the public URL, else at the server's own; None without either.
    `sign_in` is None for a server on which nobody signs in for a program; `caps` are sentences
    about what one may spend."""

    settings: HostSettings
    secret: str = field(repr=False)
    logins: Logins | None
    metrics: Metrics | None
    public: PublicAddresses | None
    uploads: Uploads | None = None
    sign_in: SignIn | None = None
    caps: Sequence[str] = ()
    state: ServerState = field(default_factory=ServerState)

    @classmethod
    def create(
        cls,
        settings: Settings,
        host: HostSettings,
        clock: Callable[[], float] = time.time,
        fetch: Fetch = fetched,
    ) -> Hosting:
        """Make the parts for these settings. `fetch` reads the descriptions of programs that people
        sign in for. Opens and writes nothing. Raises NotConfigured for a login that nobody could
        use, and for a malformed secret."""
        given = host.secret.get_secret_value() if host.secret else ""
        secret = given or secrets.token_urlsafe(32)
        if settings.database and not given and host.public_url:
            logger.warning(UNSHARED)
        state = ServerState()
        sign_in = _sign_in(host, secret, state, clock, fetch) if host.signs_in else None
        public = make_public_addresses(settings, host, secret, clock) if host.public_url else None
        return cls(
            settings=host,
            secret=secret,
            logins=logins(host, sign_in) if host.login else None,
            metrics=_metrics(),
            public=public,
            uploads=public.uploads if public else None,
            sign_in=sign_in,
            caps=_caps(settings, host),
            state=state,
        )

    def reached_at(
        self, own_url: str, settings: Settings, clock: Callable[[], float] = time.time
    ) -> Hosting:
        """The same, with uploads at `own_url`, where this machine reaches the server, if it has no
        public URL."""
        if self.public:
            return self
        signer, kept = Signer(self.secret, clock), FolderUploads(settings.home / "uploads")
        uploads = Uploads(own_url, signer, kept, clock, fix=settings.fix_images)
        return replace(self, uploads=uploads)

    @contextmanager
    def running(self, runtime: Runtime) -> Iterator[None]:
        """Make the runtime available to the HTTP routes for the duration of the context."""
        self.state.runtime = runtime
        try:
            yield
        finally:
            self.state.runtime = None

    def team(self, settings: Settings) -> Team:
        """The additions to the server that `build_server` makes."""
        from kling_mcp.hosting.logs import log_calls

        middleware: list[ServerMiddleware[Any]] = [log_calls]
        if self.public:
            middleware.insert(0, hide_folders(settings))
        if self.metrics:
            middleware.append(self.metrics.count)
        return Team(
            ports=self._ports,
            middleware=middleware,
            token_verifier=self.logins,
            auth=self.auth,
            state_key=self.secret,
            uploads_at=self.uploads.origin if self.uploads else "",
            uploads_from=self.settings.allowed_origins,
        )

    @property
    def _ports(self) -> Ports:
        public = self.public
        return Ports(
            storage=public.storage if public else None,
            uploads=self.uploads,
            far=public is not None,
            observe=self.metrics.asked if self.metrics else None,
            callback_base=public.callback_base if public else "",
            callback_secret=public.callback_secret if public else "",
            max_units_per_day_user=self.settings.max_units_per_day_user,
            max_usd_per_day_user=self.settings.max_usd_per_day_user,
            max_image_units_per_day_user=self.settings.max_image_units_per_day_user,
            running=self.running,
            secrets=(self.secret, *secrets_of(self.settings)),
        )

    @property
    def stateless(self) -> bool:
        """Whether each request may reach another server. With a login, several servers may stand
        behind one name."""
        return self.logins is not None

    @property
    def auth(self) -> AuthSettings | None:
        """The SDK's login settings; None without a login."""
        return auth_settings(self.settings) if self.logins else None


def _sign_in(
    host: HostSettings,
    secret: str,
    state: ServerState,
    clock: Callable[[], float],
    fetch: Fetch,
) -> SignIn:
    assert host.tokens is not None
    return SignIn(
        host.public_url,
        host.resource,
        TokenFile(host.tokens),
        SignInStore(lambda: state.ledger),
        Descriptions(fetch, clock),
        Signer(secret, clock),
        secret,
    )


def _caps(settings: Settings, host: HostSettings) -> list[str]:
    """What people may spend in 24 hours, in sentences."""
    found = [
        f"At most {most:g} {unit} a day for {whose}"
        for unit, yours, all_of_you in (
            ("units", host.max_units_per_day_user, settings.max_units_per_day),
            ("US dollars", host.max_usd_per_day_user, settings.max_usd_per_day),
            ("image units", host.max_image_units_per_day_user, settings.max_image_units_per_day),
        )
        for most, whose in ((yours, "you"), (all_of_you, "everybody here together"))
        if most is not None
    ]
    return found or ["No cap a day is set"]


def _metrics() -> Metrics | None:
    try:
        from kling_mcp.hosting.metrics import Metrics
    except ImportError:
        return None
    return Metrics()


IN_PLACE = "…"


def hide_folders(settings: Settings) -> ServerMiddleware[Any]:
    """A middleware that removes the server's folders from every error and keeps the file names.
    The server's log has the whole paths."""
    found = (settings.home, settings.output_dir, Path(tempfile.gettempdir()))
    places = sorted({str(place) for path in found for place in _spellings(path)}, key=len)[::-1]

    def without(text: str) -> str:
        for place in places:
            text = text.replace(place, IN_PLACE)
        return text

    def hidden(value: Any) -> Any:
        return mapped(value, without)

    async def hide(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        try:
            result = await call_next(ctx)
        except MCPError as error:
            shown = error.error
            raise MCPError(shown.code, hidden(shown.message), hidden(shown.data)) from error
        if isinstance(result, dict):
            return hidden(result) if result.get("isError") else result
        if isinstance(result, BaseModel) and getattr(result, "is_error", False):
            return type(result).model_validate(hidden(result.model_dump(by_alias=True)))
        return result

    return hide


def _spellings(path: Path) -> Iterable[Path]:
    yield path.absolute()
    yield path.resolve()
