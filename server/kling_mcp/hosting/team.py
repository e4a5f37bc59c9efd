"""The parts of a server for a team. No error tells a caller where files lie on the server."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from kling_mcp.hosting.exchange import make_exchange
from kling_mcp.hosting.login import Logins, auth_settings, logins
from kling_mcp.protocol.server import Team
from kling_mcp.providers.redaction import mapped, secrets_of
from kling_mcp.runtime import Ports

if TYPE_CHECKING:
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.context import ServerMiddleware

    from kling_mcp.hosting.exchange import Exchange
    from kling_mcp.hosting.metrics import Metrics
    from kling_mcp.hosting.team_settings import HostSettings
    from kling_mcp.runtime import Runtime
    from kling_mcp.settings.settings import Settings

__all__ = ["Hosting", "Opened", "hiding_places"]


@dataclass(slots=True)
class Opened:
    """What runs between the start and the end of the server: `runtime` is None before and after,
    `ends` says that it is being stopped."""

    runtime: Runtime | None = None
    ends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """Made once for a process. `secret` signs what is given out; `logins` is None where nobody has
    to log in, `metrics` where the library for them is not installed, `exchange` where the server
    has no public URL: pictures and videos then lie on this machine, as for one person."""

    settings: HostSettings
    secret: str = field(repr=False)
    logins: Logins | None
    metrics: Metrics | None
    exchange: Exchange | None
    opened: Opened = field(default_factory=Opened)

    @classmethod
    def of(
        cls, settings: Settings, host: HostSettings, clock: Callable[[], float] = time.time
    ) -> Hosting:
        """The parts for these settings; nothing is opened or written yet. Raises NotConfigured for
        a way to log in that nobody can take, and for secrets that are none."""
        given = host.secret.get_secret_value() if host.secret else ""
        secret = given or secrets.token_urlsafe(32)
        return cls(
            settings=host,
            secret=secret,
            logins=logins(host) if host.login else None,
            metrics=_metrics(),
            exchange=make_exchange(settings, host, secret, clock) if host.public_url else None,
        )

    @contextmanager
    def running(self, runtime: Runtime) -> Iterator[None]:
        """Make the runtime available to the HTTP routes for as long as the context is held."""
        self.opened.runtime = runtime
        try:
            yield
        finally:
            self.opened.runtime = None

    def team(self, settings: Settings) -> Team:
        """What this adds to the server that `build_server` builds."""
        from kling_mcp.hosting.logs import log_calls

        middleware: list[ServerMiddleware[Any]] = [log_calls]
        if self.exchange:
            middleware.insert(0, hiding_places(settings))
        if self.metrics:
            middleware.append(self.metrics.count)
        return Team(
            ports=self._ports,
            middleware=middleware,
            token_verifier=self.logins,
            auth=self.auth,
            state_key=self.secret,
        )

    @property
    def _ports(self) -> Ports:
        exchange = self.exchange
        return Ports(
            storage=exchange.storage if exchange else None,
            uploads=exchange.uploads if exchange else None,
            observe=self.metrics.asked if self.metrics else None,
            callback_base=exchange.callback_base if exchange else "",
            callback_secret=exchange.callback_secret if exchange else "",
            max_units_per_day_user=self.settings.max_units_per_day_user,
            running=self.running,
            secrets=(self.secret, *secrets_of(self.settings)),
        )

    @property
    def stateless(self) -> bool:
        """Whether any request may come to another server than the one before: where people log
        in, several servers may stand behind one name."""
        return self.logins is not None

    @property
    def auth(self) -> AuthSettings | None:
        """What the SDK is to know of the login."""
        return auth_settings(self.settings) if self.logins else None


def _metrics() -> Metrics | None:
    try:
        from kling_mcp.hosting.metrics import Metrics
    except ImportError:
        return None
    return Metrics()


IN_PLACE = "…"


def hiding_places(settings: Settings) -> ServerMiddleware[Any]:
    """What takes the server's own folders out of errors, whoever words them: the folder goes, the
    name of the file stays. Those who run the server find the whole of it in its log."""
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
            told = error.error
            raise MCPError(told.code, hidden(told.message), hidden(told.data)) from error
        if isinstance(result, dict):
            return hidden(result) if result.get("isError") else result
        if isinstance(result, BaseModel) and getattr(result, "is_error", False):
            return type(result).model_validate(hidden(result.model_dump(by_alias=True)))
        return result

    return hide


def _spellings(path: Path) -> Iterable[Path]:
    yield path.absolute()
    yield path.resolve()
