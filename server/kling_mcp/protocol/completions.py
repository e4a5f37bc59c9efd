"""Values for the arguments of prompts and of resource addresses (`completion/complete`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

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
from kling_tools.addresses import FRAME_URI, IMAGE_URI, SHEET_URI, VIDEO_URI
from kling_tools.errors import KlingError
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL, Product, Result
from kling_tools.prompts.plans import MOST_SHOTS, first_of
from kling_tools.prompts.prompt import KlingPrompt
from kling_tools.requests.arguments import AUTO
from kling_tools.rules.capabilities import Capabilities, ProductRow

__all__ = ["add_completions"]

COMPLETIONS = 100
"""The protocol's limit for one answer."""

FINISHED: Mapping[str, Result] = {
    VIDEO_URI: "video",
    FRAME_URI: "video",
    SHEET_URI: "video",
    IMAGE_URI: "picture",
}
"""The addresses that only finished tasks have, with what they made."""

AS_PICTURE: Mapping[str, str] = {
    "picture": IMAGE_URI.replace("{number}", "1"),
    "video": FRAME_URI.replace("{which}", "last"),
}
AS_VIDEO: Mapping[str, str] = {"video": VIDEO_URI}
"""How a finished task is taken as a picture, or as a video."""

Reference = PromptReference | ResourceTemplateReference
Chosen = Mapping[str, str]
"""The other arguments, as far as they are filled in."""

OF_A_FILM = tuple(
    row.name for row in PRODUCTS.values() if row.in_film == "shot" and not row.picture_key
)
"""The products that make the shots of the prompt for a film: each of one picture, or of words."""

NEEDS = {"storyboard": "multi_shot", "first_to_last_frame": "image_tail"}
"""The feature that a prompt requires of a model."""


def add_completions(
    server: MCPServer[Any],
    providers: Mapping[str, Configured],
    capabilities: Capabilities,
    prompts: Sequence[KlingPrompt],
) -> None:
    """Give the server its completions: models, modes, shapes, seconds, numbers of shots, providers,
    task ids, and finished tasks as pictures and videos. `prompts` are those of the server."""
    offers = _Offers(providers, capabilities, {prompt.name: prompt for prompt in prompts})
    sources: Mapping[str, Callable[[Reference, Chosen], Awaitable[tuple[Sequence[str], bool]]]] = {
        "model_name": offers.models,
        "mode": offers.modes,
        "resolution": offers.modes,
        "aspect_ratio": offers.shapes,
        "provider": offers.providers,
        "image": offers.pictures,
        "image_tail": offers.pictures,
        "image_list": offers.pictures,
        "video": offers.videos,
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
        chosen = (context.arguments if context else None) or {}
        offered: Sequence[str] = offers.words(ref, argument.name)
        if source is None and not offered:
            return None
        more, before, last = False, "", argument.value
        if source is not None:
            try:
                offered, more = await source(ref, chosen)
            except KlingError as error:
                raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error
        if argument.name == "image_list":
            *others, last = last.split(",")
            before = "".join(f"{other.strip()}, " for other in others)
        typed = last.strip().lower()
        values = sorted(
            (value for value in offered if typed in value.lower()),
            key=lambda value: not value.lower().startswith(typed),
        )
        values = [before + value for value in values]
        more = more or len(values) > COMPLETIONS
        return Completion(
            values=values[:COMPLETIONS], total=None if more else len(values), has_more=more
        )

    register: Callable[[Any], Any] = cast(Any, server).completion()
    register(complete)


class _Offers:
    """All values for an argument, and whether there are more."""

    def __init__(
        self,
        providers: Mapping[str, Configured],
        capabilities: Capabilities,
        prompts: Mapping[str, KlingPrompt],
    ) -> None:
        self._providers = providers
        self._capabilities = capabilities
        self._prompts = prompts

    async def models(self, ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The current models before the retired ones; for a prompt, those with the feature it
        requires."""
        from kling_mcp.protocol.resources.models import model_names

        names = model_names(self._providers, self._capabilities)
        if isinstance(ref, PromptReference):
            needed: Any = NEEDS.get(ref.name)
            rows = {name: self._row(ref, name) for name in names}
            names = [n for n, row in rows.items() if row and (not needed or row.patterns(needed))]
            products = self._products(ref)
            names.sort(key=lambda n: n not in self._capabilities.living(products))
        return names, False

    async def modes(self, ref: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """Modes, or resolutions, of the chosen model, else of any current one."""
        return list(dict.fromkeys(m for row in self._rows(ref, chosen) for m in row.modes)), False

    async def shapes(self, ref: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """The ratios of the chosen model where the table has them, else all that the tool takes."""
        rows = self._rows(ref, chosen)
        known = {ratio for row in rows for ratio in row.aspect_ratios}
        whole = any(not row.aspect_ratios for row in rows)
        every = self.words(ref, "aspect_ratio")
        return [ratio for ratio in every if whole or ratio in known], False

    def words(self, ref: Reference, name: str) -> list[str]:
        """The values of an argument of a prompt that takes a few words alone; else none."""
        prompt = self._prompts.get(ref.name) if isinstance(ref, PromptReference) else None
        field = prompt.form.get(name) if prompt else None
        literal = field is not None and get_origin(field.annotation) is Literal
        return [word for word in get_args(field.annotation) if word] if field and literal else []

    async def providers(self, ref: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """The configured providers that make this, with the chosen model if there is one."""
        named = chosen.get("model_name", "").strip().lower()
        model = self._capabilities.canonical(named) or named
        found = []
        for name, provider in self._providers.items():
            served = [p for p in self._products(ref) if p in provider.row.products]
            living = self._capabilities.living(served, provider.row.wires)
            if served and (model in living or model not in self._capabilities.models):
                found.append(name)
        return [*found, AUTO] if len(found) > 1 else found, False

    async def durations(self, ref: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """Durations of the chosen model in seconds, else of any current one, ascending."""
        seconds = {d for row in self._rows(ref, chosen) for d in row.durations}
        return sorted(seconds, key=int), False

    async def shots(self, _: Reference, chosen: Chosen) -> tuple[Sequence[str], bool]:
        """How many shots of a whole second fit into the duration."""
        seconds = chosen.get("duration", "")
        most = min(MOST_SHOTS, int(seconds)) if seconds.isdecimal() else MOST_SHOTS
        return [str(count) for count in range(1, most + 1)], False

    async def task_ids(self, ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """Ids of the newest tasks of the ledger; for the address of a video or of a picture only
        those that have one."""
        reader = current_service().reader
        made = FINISHED.get(ref.uri) if isinstance(ref, ResourceTemplateReference) else None
        if made is None:
            page = await reader.recent()
            return [task.task_id for task in page.tasks], page.more
        records, more = await reader.ended()
        return [record.handle for record in records if record.result == made], more

    async def pictures(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """Pictures that were made here, and the last frames of videos. There are others."""
        return await self._made(AS_PICTURE), True

    async def videos(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """Videos that were made here. There are others."""
        return await self._made(AS_VIDEO), True

    async def _made(self, addresses: Mapping[str, str]) -> list[str]:
        records, _ = await current_service().reader.ended()
        return [
            addresses[record.result].replace("{task_id}", record.handle)
            for record in records
            if record.result in addresses
        ]

    async def elements(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The names of the account's own elements before Kling's."""
        return await current_service().element_names(), False

    async def frames(self, _ref: Reference, _: Chosen) -> tuple[Sequence[str], bool]:
        """The frames that have a name; a number of seconds names a frame as well."""
        return ["first", "last"], True

    def _products(self, ref: Reference) -> tuple[Product, ...]:
        """The products of the tool that the arguments of a prompt are about; of another reference
        all."""
        if isinstance(ref, PromptReference) and (prompt := self._prompts.get(ref.name)):
            return PRODUCTS_BY_TOOL.get(prompt.tools[-1], OF_A_FILM)
        return tuple(PRODUCTS)

    def _row(self, ref: Reference, name: str) -> ProductRow | None:
        return first_of(self._capabilities, name, self._products(ref))

    def _rows(self, ref: Reference, chosen: Chosen) -> list[ProductRow]:
        named = chosen.get("model_name", "").strip().lower()
        model = self._row(ref, self._capabilities.canonical(named) or named)
        if model:
            return [model]
        living = self._capabilities.living(self._products(ref))
        return [row for name in living if (row := self._row(ref, name))]


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
