"""The parts of a server for a team."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kling_mcp.hosting.exchange import make_exchange
from kling_mcp.hosting.login import Logins, auth_settings, logins

if TYPE_CHECKING:
    from mcp.server.auth.settings import AuthSettings

    from kling_mcp.hosting.exchange import Exchange
    from kling_mcp.hosting.metrics import Metrics
    from kling_mcp.hosting.settings import HostSettings
    from kling_mcp.runtime import Works
    from kling_mcp.settings.settings import Settings

__all__ = ["Hosting", "Opened"]


@dataclass(slots=True)
class Opened:
    """What runs between the start and the end of the server: `works` is None before and after,
    `ends` says that it is being stopped."""

    works: Works | None = None
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
    def running(self, works: Works) -> Iterator[None]:
        """While the context is held, this is the machine behind every address."""
        self.opened.works = works
        try:
            yield
        finally:
            self.opened.works = None

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
