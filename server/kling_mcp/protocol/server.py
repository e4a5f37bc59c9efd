"""The MCP server: tools, prompts and resources over the service, for any transport."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import ServerMiddleware
from mcp.server.request_state import RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus

from kling_mcp.protocol.completions import add_completions
from kling_mcp.protocol.middleware import (
    CACHE_HINTS,
    cache_lasting_resources,
    current_service,
    hide_secrets,
    name_tools_that_are_here,
    refuse_long_addresses,
    refuse_unknown,
    serve_each_caller,
)
from kling_mcp.protocol.player import player_extension
from kling_mcp.protocol.resources.models import add_resources
from kling_mcp.protocol.resources.tasks import (
    add_account_resource,
    add_frame_resources,
    add_task_resources,
    add_video_parts,
)
from kling_mcp.protocol.skills import skill_extensions
from kling_mcp.protocol.stdio import serve_stdio
from kling_mcp.protocol.subscriptions import add_subscriptions
from kling_mcp.protocol.tasks_extension import TasksExtension, VideoTasks
from kling_mcp.providers.configured import Configured, configured_providers, remarks_on
from kling_mcp.providers.redaction import guard_logs, redactor_of
from kling_mcp.providers.retries import TIME_LIMITS, TimeLimits
from kling_mcp.providers.rows import SANDBOX, serving
from kling_mcp.runtime import Ports, Sleep
from kling_mcp.service import Service, open_service
from kling_mcp.settings.environment import read_capabilities
from kling_mcp.settings.settings import Settings
from kling_mcp.version import __version__
from kling_tools.products import PRODUCTS_BY_TOOL, Product
from kling_tools.prompts.prompt import KlingPrompt
from kling_tools.prompts.prompts import build_prompts
from kling_tools.requests.arguments import AUTO
from kling_tools.rules.capabilities import Capabilities
from kling_tools.tools.tool import KlingTool
from kling_tools.tools.toolset import build_toolset, instructions

if TYPE_CHECKING:
    from mcp.server.auth.provider import TokenVerifier
    from mcp.server.auth.settings import AuthSettings

__all__ = ["Team", "add_prompts", "build_server", "offered_tools"]


logger = logging.getLogger(__name__)

QUIET_LOGGERS = ("httpx", "httpcore", "stamina")
"""Loggers that write whole URLs with their signatures, or a line for each repeated read."""

FINE_LOGGERS = ("kling_mcp", "kling_tools", "kling_sandbox", "asyncio")
"""Loggers whose lines at DEBUG hold no messages."""

NO_UPLOADS = {
    "kling_upload_picture": "Nothing can be uploaded to this server. Give the picture as a path on "
    "this computer (ask the person), an https URL or a data: URI; `kling-mcp serve --http` takes "
    "uploads."
}
"""What to do without a tool that a server over stdio cannot have."""

SANDBOX_INSTRUCTIONS = """
No key is set: the sandbox answers in Kling's place, nothing is charged, the videos are test clips.
Set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY) to make real ones."""

PLAYED_INSTRUCTIONS = """
A sandbox answers in the place of every provider: nothing is charged, the videos are test clips."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """The additions of a server for a team; the defaults make a server for one person.

    `middleware` runs as soon as a request's caller is known. With a `token_verifier` every request
    requires a login. `state_key` signs the state that a client carries between the steps of one
    call; it is the same on all replicas. Uploads are sent to the origin `uploads_at`, by its own
    page and by pages of the origins `uploads_from`.
    """

    ports: Ports = field(default_factory=Ports)
    middleware: Sequence[ServerMiddleware[Any]] = ()
    token_verifier: TokenVerifier | None = None
    auth: AuthSettings | None = None
    state_key: str = field(default="", repr=False)
    uploads_at: str = ""
    uploads_from: Sequence[str] = ()


def _of_the_sandbox(providers: Mapping[str, Configured]) -> str:
    """What is said of providers that are all played; empty where one of them charges."""
    if SANDBOX in providers:
        return SANDBOX_INSTRUCTIONS
    return PLAYED_INSTRUCTIONS if all(each.sandbox for each in providers.values()) else ""


class _Server(MCPServer[Service]):
    """A server whose stdio also answers lines that the SDK's own reader drops."""

    async def run_stdio_async(self) -> None:
        """Serve until standard input ends; see `kling_mcp.protocol.stdio`."""
        await serve_stdio(self._lowlevel_server)


def build_server(
    settings: Settings,
    *,
    sleep: Sleep = anyio.sleep,
    clock: Callable[[], float] = time.time,
    team: Team | None = None,
    limits: TimeLimits = TIME_LIMITS,
) -> MCPServer[Service]:
    """The server with its tools; the first call opens the ledger and connections.

    `sleep` waits some seconds between two looks at a task, `clock` tells the seconds since the
    epoch, `limits` how long calls and downloads may take; tests give others.

    Raises NotConfigured when a setting or the capability file cannot be used.
    """
    providers, capabilities = _tables(settings)
    team = team or Team()
    hosted, uploads = team.ports.far, team.ports.uploads is not None
    tools = _toolset(providers, capabilities, settings, hosted=hosted, uploads=uploads)
    redactor = redactor_of(settings, providers.values(), team.ports.secrets)

    @asynccontextmanager
    async def lifespan(_: MCPServer[Service]) -> AsyncIterator[Service]:
        async with open_service(
            settings, capabilities, providers, sleep, clock, team.ports, limits, redactor
        ) as service:
            yield service

    async def tool_names() -> list[str]:
        return [tool.name for tool in tools]

    bus = InMemorySubscriptionBus()
    desk = VideoTasks()
    server = _Server(
        name="kling-mcp",
        title="Kling videos",
        version=__version__,
        instructions=instructions(tools, hosted=hosted) + _of_the_sandbox(providers),
        tools=[*tools],
        lifespan=lifespan,
        middleware=[
            hide_secrets(redactor),
            serve_each_caller(login=team.token_verifier is not None),
            *team.middleware,
            refuse_unknown("tools/call", "tool", tool_names, {} if uploads else NO_UPLOADS),
            name_tools_that_are_here(tools[0].lacking),
            refuse_long_addresses,
            cache_lasting_resources,
        ],
        extensions=[
            TasksExtension(desk),
            player_extension(
                [provider.row for provider in providers.values()],
                team.uploads_at,
                team.uploads_from,
            ),
            *skill_extensions(),
        ],
        subscriptions=bus,
        cache_hints=CACHE_HINTS,
        log_level="WARNING",
        token_verifier=team.token_verifier,
        auth=team.auth,
        request_state_security=RequestStateSecurity(keys=[team.state_key])
        if team.state_key
        else None,
    )
    add_resources(server, providers, capabilities)
    add_task_resources(server)
    add_account_resource(server)
    terms = [provider.row.terms for provider in providers.values()]
    prompts = build_prompts(
        capabilities,
        terms,
        {tool.name: (tool.title or tool.name, tool.description) for tool in tools},
        chosen=AUTO if settings.provider == AUTO else "",
        service=current_service,
    )
    add_prompts(server, prompts)
    add_completions(server, providers, capabilities, prompts)
    add_video_parts(server)
    add_frame_resources(server)
    add_subscriptions(server, bus, desk)
    _set_levels(settings.log_level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    guard_logs(redactor)
    for remark in remarks_on(settings):
        logger.log(logging.INFO if remark.harmless else logging.WARNING, remark.text)
    return server


def _set_levels(level: str) -> None:
    """Let others' loggers say at most INFO: their finer lines hold whole messages, with prompts."""
    fine = level == "DEBUG"
    logging.getLogger().setLevel("INFO" if fine else level)
    for name in FINE_LOGGERS:
        logging.getLogger(name).setLevel(level if fine else logging.NOTSET)


def offered_tools(settings: Settings) -> list[KlingTool]:
    """The tools of a server for one person. Raises like `build_server`."""
    return _toolset(*_tables(settings), settings)


def _tables(settings: Settings) -> tuple[Mapping[str, Configured], Capabilities]:
    """Who can be asked, and what the models can do."""
    providers = configured_providers(settings)
    defaults = {name for p in providers.values() for name in p.row.default_models.values()}
    capabilities = read_capabilities(settings.capabilities, previews=settings.models_preview)
    return providers, capabilities.with_previews(defaults)


def _toolset(
    providers: Mapping[str, Configured],
    capabilities: Capabilities,
    settings: Settings,
    *,
    hosted: bool = False,
    uploads: bool = False,
) -> list[KlingTool]:
    """The tools for these providers; their texts name the default provider's models first."""
    rows = [provider.row for provider in providers.values()]

    def models_of(products: Sequence[Product]) -> list[str]:
        named = [row.default_models[p] for row in rows for p in products if p in row.default_models]
        for row in rows:
            served = [p for p in products if p in row.products]
            named += capabilities.living(served, row.terms.wires)
        return list(dict.fromkeys(named))

    return build_toolset(
        list(providers),
        models={tool: models_of(products) for tool, products in PRODUCTS_BY_TOOL.items()},
        serving=serving({name: provider.row for name, provider in providers.items()}),
        hosted=hosted,
        uploads=uploads,
        waits_s=settings.wait_s,
        only=settings.tools,
        read_only=settings.read_only,
        service=current_service,
    )


def add_prompts(server: MCPServer[Any], prompts: Sequence[KlingPrompt]) -> None:
    """Give the server its prompts."""
    for prompt in prompts:
        server.add_prompt(prompt)

    async def names() -> list[str]:
        return [prompt.name for prompt in await server.list_prompts()]

    server.middleware.append(refuse_unknown("prompts/get", "prompt", names))
