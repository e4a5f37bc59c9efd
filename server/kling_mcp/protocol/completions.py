"""Values for the arguments of prompts and of resource addresses (`completion/complete`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from kling_mcp.protocol.middleware import current_service
from kling_mcp.providers.configured import Configured
from kling_tools.addresses import FRAME_URI, SHEET_URI, VIDEO_URI
from kling_tools.errors import KlingError
from kling_tools.prompts.plans import MOST_SHOTS, PLANNED
from kling_tools.rules.capabilities import Capabilities, ProductRow

__all__ = ["add_completions"]

COMPLETIONS = 100
"""The protocol's limit for one answer."""

OF_VIDEOS = (VIDEO_URI, FRAME_URI, SHEET_URI)
"""The addresses that only finished tasks have."""

Reference = PromptReference | ResourceTemplateReference
Chosen = Mapping[str, str]
"""The other arguments, as far as they are filled in."""

NEEDS = {"storyboard": "multi_shot", "first_to_last_frame": "image_tail"}
"""The feature that a prompt requires of a model."""


def add_completions(
    server: MCPServer[Any], providers: Mapping[str, Configured], capabilities: Capabilities
) -> None:
    """Give the server its completions: models, modes, seconds, numbers of shots, task ids."""
    offers = _Offers(providers, capabilities)
    sources: Mapping[str, Callable[[Reference, Chosen], Awaitable[tuple[Sequence[str], bool]]]] = {
        "model_name": offers.models,
        "mode": offers.modes,
        "duration": offers.durations,
        "shots": offers.shots,
        "task_id": offers.task_ids,
        "which": offers.frames,
        "element": offers.elements,
    }

    async def complete(
        ref: Reference, argument: CompletionArgument, context: CompletionContext | None
    ) -> Completion | None:
        await _must_exist(server, ref)
        source = sources.get(argument.name)
        if source is None:
            return None
        chosen = (context.arguments if context else None) or {}
        try:
            offered, more = await source(ref, chosen)
        except KlingError as error:
            raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error
        typed = argument.value.strip().lower()
        values = sorted(
            (value for value in offered if typed in value.lower()),
            key=lambda value: not value.lower().startswith(typed),
        )
        more = more or len(values) > COMPLETIONS
        return Completion(
            values=values[:COMPLETIONS], total=None if more else len(values), has_more=more
        )

    register: Callable[[Any], Any] = cast(Any, server).completion()
    register(complete)


class _Offers:
    """All values for an argument, and whether there are more."""

    def __init__(self, providers: Mapping[str, Configured], capabilities: Capabilities) -> None:
        self._providers = providers
        self._capabilities = capabilities

    async def models(self, ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The current models before the retired ones; for a prompt, those with the feature it
        requires."""
        from kling_mcp.protocol.resources.models import model_names

        names = model_names(self._providers, self._capabilities)
        if isinstance(ref, PromptReference):
            needed: Any = NEEDS.get(ref.name)
            rows = {name: self._row(name) for name in names}
            names = [n for n, row in rows.items() if row and (not needed or row.patterns(needed))]
        return names, False

    async def modes(self, _: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """Modes of the chosen model, else of any current one."""
        return list(dict.fromkeys(m for row in self._rows(chosen) for m in row.modes)), False

    async def durations(self, _: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """Durations of the chosen model in seconds, else of any current one, ascending."""
        seconds = {d for row in self._rows(chosen) for d in row.durations}
        return sorted(seconds, key=int), False

    async def shots(self, _: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """How many shots of a whole second fit into the duration."""
        seconds = chosen.get("duration", "")
        most = min(MOST_SHOTS, int(seconds)) if seconds.isdecimal() else MOST_SHOTS
        return [str(count) for count in range(1, most + 1)], False

    async def task_ids(self, ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """Ids of the newest tasks of the ledger; only finished ones for the address of a video."""
        page = await current_service().reader.recent()
        finished = isinstance(ref, ResourceTemplateReference) and ref.uri in OF_VIDEOS
        ids = [t.task_id for t in page.tasks if t.status == "succeed" or not finished]
        return ids, page.more

    async def elements(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The names of the account's own elements before Kling's."""
        return await current_service().element_names(), False

    async def frames(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The frames that have a name; a number of seconds names a frame as well."""
        return ["first", "last"], True

    def _row(self, name: str) -> ProductRow | None:
        return self._capabilities.product_row(name, PLANNED)

    def _rows(self, chosen: Chosen) -> list[ProductRow]:
        named = chosen.get("model_name", "").strip().lower()
        model = self._row(self._capabilities.canonical(named) or named)
        if model:
            return [model]
        living = self._capabilities.living([PLANNED])
        return [row for row in map(self._row, living) if row]


async def _must_exist(server: MCPServer[Any], ref: Reference) -> None:
    """Raise the protocol's error for a prompt or a template that the server does not have."""
    if isinstance(ref, PromptReference):
        known = [prompt.name for prompt in await server.list_prompts()]
        name = ref.name
    else:
        known = [template.uri_template for template in await server.list_resource_templates()]
        name = ref.uri
    if name not in known:
        raise MCPError(
            code=INVALID_PARAMS,
            message=f"There is nothing to complete for {name[:64]!r}. There are "
            f"{', '.join(known)}.",
        )
