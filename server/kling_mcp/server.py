"""The MCP server: the toolset over the service, for any transport."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.request_state import RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import ValidationError

from kling_mcp.account_resource import add_account_resource
from kling_mcp.completions import add_completions
from kling_mcp.configuration import Configured, configured_providers
from kling_mcp.frame_resources import add_frame_resources
from kling_mcp.freshness import CACHE_HINTS, keeping_tables
from kling_mcp.patience import TIME_LIMITS, TimeLimits
from kling_mcp.player import player_extension
from kling_mcp.principal import serving_its_own
from kling_mcp.prompts import add_prompts
from kling_mcp.protocol_tasks import TasksExtension, VideoTasks
from kling_mcp.providers import SANDBOX
from kling_mcp.redaction import guard_answers, guard_logs, redactor_of
from kling_mcp.resources import add_resources
from kling_mcp.row_files import RowFileFault, read_row_file
from kling_mcp.service import Service, Sleep, open_service
from kling_mcp.settings import Settings
from kling_mcp.stdio import serve_stdio
from kling_mcp.subscriptions import add_subscriptions
from kling_mcp.task_resources import add_task_resources
from kling_mcp.version import __version__
from kling_mcp.video_parts import add_video_parts
from kling_tools.capabilities import Capabilities, Product, built_in_capabilities
from kling_tools.errors import NotConfigured, quote_provider
from kling_tools.tool import KlingTool
from kling_tools.toolset import HOSTED_INSTRUCTIONS, INSTRUCTIONS, build_toolset

if TYPE_CHECKING:
    from kling_mcp.hosting.house import Hosting

__all__ = ["build_server", "read_capabilities"]

logger = logging.getLogger(__name__)

QUIET_LOGGERS = ("httpx", "httpcore", "stamina")
"""They write whole URLs, signatures included, or a line for each repeated read."""

ADDRESS_LIMIT = 2048
"""Characters of a resource's address; an error repeats it."""

SANDBOX_INSTRUCTIONS = """
No key is set: the sandbox answers in Kling's place, nothing is charged, the videos are test clips.
Set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY) to make real ones."""


class _Server(MCPServer[Service]):
    """One that answers over stdio what the SDK's own reader drops."""

    async def run_stdio_async(self) -> None:
        """Serve until standard input ends; see `kling_mcp.stdio`."""
        await serve_stdio(self._lowlevel_server)


def build_server(
    settings: Settings,
    *,
    sleep: Sleep = anyio.sleep,
    clock: Callable[[], float] = time.time,
    hosting: Hosting | None = None,
    limits: TimeLimits = TIME_LIMITS,
) -> MCPServer[Service]:
    """The server with its tools; nothing is opened before the first call.

    `sleep` is what waits between two looks at a task, `clock` tells the seconds since the epoch,
    `limits` how long calls and downloads may take; tests give others.

    Raises NotConfigured when a setting or the capability file cannot be used.
    """
    capabilities = read_capabilities(settings.capabilities)
    providers = configured_providers(settings)
    hosted = hosting is not None and hosting.exchange is not None
    tools = _toolset(providers, capabilities, saves=settings.save, hosted=hosted)

    @asynccontextmanager
    async def lifespan(_: MCPServer[Service]) -> AsyncIterator[Service]:
        async with open_service(
            settings, capabilities, providers, sleep, clock, hosting, limits
        ) as service:
            yield service

    redactor = redactor_of(settings, providers.values(), hosting)
    bus = InMemorySubscriptionBus()
    desk = VideoTasks()
    server = _Server(
        name="kling-mcp",
        title="Kling videos",
        version=__version__,
        instructions=(HOSTED_INSTRUCTIONS if hosted else INSTRUCTIONS)
        + (SANDBOX_INSTRUCTIONS if SANDBOX in providers else ""),
        tools=[*tools],
        lifespan=lifespan,
        middleware=[
            guard_answers(redactor),
            serving_its_own(login=hosting is not None and hosting.logins is not None),
            *_telling(hosting, settings),
            _refusing_unknown(frozenset(tool.name for tool in tools)),
            _refuse_long_addresses,
            keeping_tables,
        ],
        extensions=[
            TasksExtension(desk),
            player_extension(provider.row for provider in providers.values()),
        ],
        subscriptions=bus,
        cache_hints=CACHE_HINTS,
        log_level="WARNING",
        token_verifier=hosting.logins if hosting else None,
        auth=hosting.auth if hosting else None,
        request_state_security=RequestStateSecurity(keys=[hosting.secret]) if hosting else None,
    )
    add_resources(server, providers, capabilities)
    add_task_resources(server)
    add_account_resource(server)
    add_completions(server, providers, capabilities)
    add_prompts(server, providers, capabilities)
    add_video_parts(server)
    add_frame_resources(server)
    add_subscriptions(server, bus, desk)
    logging.getLogger().setLevel(settings.log_level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    guard_logs(redactor)
    for remark in settings.remarks:
        logger.log(logging.INFO if remark.harmless else logging.WARNING, remark.text)
    return server


def _telling(hosting: Hosting | None, settings: Settings) -> list[ServerMiddleware[Any]]:
    """What tells those who run the server of its calls, and what keeps from callers where things
    lie on it."""
    if hosting is None:
        return []
    from kling_mcp.hosting.hidden_places import hiding_places
    from kling_mcp.hosting.logs import log_calls

    hiding = [hiding_places(settings)] if hosting.exchange else []
    return [*hiding, log_calls, *([hosting.metrics.count] if hosting.metrics else [])]


def _toolset(
    providers: Mapping[str, Configured],
    capabilities: Capabilities,
    *,
    saves: bool,
    hosted: bool,
) -> list[KlingTool]:
    """The tools of these providers; the models named are those of the default one first."""
    rows = [provider.row for provider in providers.values()]

    def models(*products: Product) -> list[str]:
        served = [p for p in products if any(p in row.products for row in rows)]
        defaults = [
            row.default_models[p] for row in rows for p in products if p in row.default_models
        ]
        names = [*defaults, *capabilities.models_of(served)]
        living = [n for n in names if n in defaults or not capabilities.models[n].retired]
        return list(dict.fromkeys(living))

    return build_toolset(
        list(providers),
        image_models=models("image2video"),
        multi_image_models=models("omni-video", "multi-image2video"),
        saves=saves,
        hosted=hosted,
    )


def read_capabilities(path: Path | None) -> Capabilities:
    """The table, with the rows of the user's JSON or TOML file; raises NotConfigured."""
    if path is None:
        return built_in_capabilities()
    try:
        return built_in_capabilities().overridden(read_row_file(path))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
        ]
        reason = "; ".join(faults)
    except RowFileFault as fault:
        reason = str(fault)
    raise NotConfigured(
        f"KLING_MCP_CAPABILITIES names {path}, which cannot be used: {reason}.",
        advice="It has the shape of kling_tools/capabilities.json; name only what differs.",
    )


def _refusing_unknown(names: frozenset[str]) -> ServerMiddleware[Any]:
    """The protocol wants an error for a tool that does not exist, not an answer with isError."""

    async def refuse(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "tools/call":
            name = (ctx.params or {}).get("name")
            if isinstance(name, str) and name not in names:
                known = ", ".join(sorted(names))
                raise MCPError(
                    code=INVALID_PARAMS,
                    message=f"Unknown tool: {quote_provider(name)[:64]}. There are {known}.",
                )
        return await call_next(ctx)

    return refuse


async def _refuse_long_addresses(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    uri = (ctx.params or {}).get("uri")
    if isinstance(uri, str) and len(uri) > ADDRESS_LIMIT:
        raise MCPError(
            code=INVALID_PARAMS,
            message=f"The uri has {len(uri):,} characters, a resource here {ADDRESS_LIMIT:,} at "
            "most. resources/list and resources/templates/list name them.",
        )
    return await call_next(ctx)
