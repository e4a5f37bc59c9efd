"""The elements and voices of each account: Kling's own and the account's, by id and by name.

Lists are remembered for an hour, and read anew after something was made or deleted here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import anyio

from kling_mcp.ledger import Ledger
from kling_mcp.principal import Principal
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.task import Asset
from kling_tools.errors import InvalidRequest, KlingError, RequestRefused
from kling_tools.faults import Fault, Verdict
from kling_tools.products import AssetKind, asset_entry
from kling_tools.requests.arguments import AUTO, SubmitArguments
from kling_tools.requests.assets import DeleteAssetArguments, ListAssetsArguments
from kling_tools.requests.drafts import Draft
from kling_tools.results import AssetList, AssetView, DeletedAsset

__all__ = ["Library", "NotHere", "chosen", "names_assets"]

REMEMBERED_S = 3_600.0
"""Seconds for which a list counts as known."""

MOST_SHOWN = 60
"""Elements or voices that one answer names."""

DELETED_BEFORE = "already be deleted"
"""Kling's words for what was deleted before [seen live]."""

SOME = 5
"""Names that an error offers."""

SURE = 0.75
"""How like a misspelt name has to be to one that it means, from 0 to 1."""

FIELDS: tuple[tuple[str, AssetKind], ...] = (("element_list", "element"), ("voice_list", "voice"))


class NotHere(KlingError):
    """For the agent: this provider passes no elements and voices on."""

    kind = "not_here"


class Library:
    """Reads the lists of the configured providers."""

    def __init__(self, clients: Clients, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._clients = clients
        self._ledger = ledger
        self._clock = clock
        self._known: dict[tuple[str, AssetKind, bool], tuple[float, list[Asset]]] = {}
        self._gone: dict[tuple[str, str], set[str]] = {}
        self._reading = anyio.Lock()

    def provider(self, name: str) -> Configured:
        """The provider of this name. Where none is named, the default one if it passes elements
        and voices on, else the first one that does. Raises NotConfigured, and NotHere for one that
        passes none on."""
        able = [n for n in self._clients.names if self._clients.configured(n).row.assets]
        default = self._clients.default.name
        if name in ("", AUTO):
            name = default if default in able else next(iter(able), default)
        provider = self._clients.configured(name)
        if not provider.row.assets:
            raise NotHere(
                f"{provider.name} passes no elements and voices on; Kling's own API does.",
                advice=f"Use provider {' or '.join(able)}."
                if able
                else "Set KLING_API_KEY to use Kling's own API as well.",
            )
        return provider

    async def assets(
        self, provider: Configured, kind: AssetKind, principal: Principal, *, fresh: bool = False
    ) -> list[Asset]:
        """The account's own ones, the newest first as Kling lists them, then Kling's; deleted ones
        too, as Kling or the ledger knows of them. A login sees of the account's only those that its
        own requests made. Raises ProviderError."""
        own = await self._list(provider, kind, own=True, fresh=fresh)
        place = provider.name, provider.base_url
        gone = dict.fromkeys(self._gone.get(place, ()), "")
        if self._ledger.exists:
            gone |= await self._ledger.deleted_assets(*place, asset_entry(kind).name)
        own = [replace(a, deleted=a.deleted or a.id in gone) for a in own]
        listed = {asset.id for asset in own}
        own += [
            Asset(kind, asset_id, name, deleted=True)
            for asset_id, name in gone.items()
            if name and asset_id not in listed
        ]
        if principal.only is not None:
            made = await self._ledger.own_assets(principal.name) if self._ledger.exists else set()
            own = [asset for asset in own if asset.id in made]
        return [*own, *await self._list(provider, kind, own=False)]

    def forget(self, provider: Configured, kind: AssetKind) -> None:
        """Read the account's own ones anew the next time."""
        self._known.pop((provider.name, kind, True), None)

    async def listed(
        self, query: ListAssetsArguments, principal: Principal
    ) -> tuple[AssetList, list[Asset]]:
        """The assets that a query asks for, and those of them that are shown. Raises NotHere,
        NotConfigured and ProviderError."""
        assert query.kind
        row = asset_entry(query.kind)
        provider = self.provider(query.provider)
        known = await self.assets(provider, query.kind, principal)
        known = [asset for asset in known if not asset.deleted]
        found = [asset for asset in known if _says(asset, query.text)]
        some = found[:MOST_SHOWN]
        views = [
            AssetView(
                id=asset.id,
                name=asset.name,
                owner="own" if asset.own else "kling",
                description=asset.description,
                tags=list(asset.tags),
                voice=asset.voice,
                of_video=asset.of_video or None,
                preview=asset.preview,
            )
            for asset in some
        ]
        note = None
        if query.text and not found:
            note = f"None of {len(known)} has {query.text[:40]!r} in its name, description or id."
        more = len(found) - len(some)
        used_in = row.used_in
        answer = AssetList(
            kind=row.kind, assets=views, more=more or None, used_in=used_in, note=note
        )
        return answer, some

    async def delete(
        self,
        query: DeleteAssetArguments,
        principal: Principal,
        agreed: Callable[[str], Awaitable[bool]],
    ) -> DeletedAsset:
        """Delete one of the account's own, once the person has `agreed` to the question. Raises
        NotHere, NotConfigured, InvalidRequest and ProviderError."""
        assert query.kind
        row, provider = asset_entry(query.kind), self.provider(query.provider)
        known = await self.assets(provider, query.kind, principal, fresh=True)
        found = chosen(known, query.id)
        fault = _not_deletable(query, found, known)
        if fault is not None:
            raise InvalidRequest([fault])
        asset = found[0]
        answer = DeletedAsset(kind=row.kind, id=asset.id, name=asset.name)
        if not asset.deleted:
            question = (
                f'Delete the {row.kind} "{asset.name}" ({asset.id}) at {provider.name} for good? '
                "Videos that were made with it stay."
            )
            if not await agreed(question):
                raise KlingError(
                    f"The person did not agree: the {row.kind} {asset.name} is still there."
                )
            client = await self._clients.get(provider.name)
            try:
                await client.delete_asset(row, asset.id)
            except RequestRefused as error:
                if DELETED_BEFORE not in error.provider_says:
                    raise
                answer.already = True
        else:
            answer.already = True
        self.forget(provider, row.kind)
        await self._mark_deleted(provider, asset.id)
        return answer

    async def _mark_deleted(self, provider: Configured, asset_id: str) -> None:
        place = provider.name, provider.base_url
        self._gone.setdefault(place, set()).add(asset_id)
        if self._ledger.exists:
            await self._ledger.asset_deleted(*place, asset_id)

    async def learn(
        self, provider: Configured, arguments: SubmitArguments, error: RequestRefused
    ) -> None:
        """Note which element or voice of a request is deleted, as the provider's refusal says."""
        if DELETED_BEFORE not in error.provider_says:
            return
        ids = [str(said) for field, _ in FIELDS for said in getattr(arguments, field, [])]
        told = [asset_id for asset_id in ids if asset_id in error.provider_says]
        for asset_id in told or (ids if len(ids) == 1 else []):
            await self._mark_deleted(provider, asset_id)

    async def _list(
        self, provider: Configured, kind: AssetKind, *, own: bool, fresh: bool = False
    ) -> list[Asset]:
        key = (provider.name, kind, own)
        async with self._reading:
            read_at, known = self._known.get(key, (-REMEMBERED_S, []))
            if fresh or not 0 <= self._clock() - read_at < REMEMBERED_S:
                client = await self._clients.get(provider.name)
                known = await client.assets(asset_entry(kind), own=own)
                self._known[key] = (self._clock(), known)
        return known

    async def resolved(
        self, draft: Draft[SubmitArguments], principal: Principal
    ) -> Draft[SubmitArguments]:
        """The draft with the ids of the elements and voices that it names. What is deleted, and a
        name that nobody has, is a fault; an id that no list knows is a warning. Raises nothing:
        where the lists cannot be read, ids pass as they are."""
        arguments = draft.arguments
        wished = [
            (field, kind, values) for field, kind in FIELDS if (values := _wished(draft, field))
        ]
        if not wished:
            return draft
        verdict = Verdict(list(draft.verdict.faults), list(draft.verdict.warnings))
        changes: dict[str, list[Any]] = {}
        meant: dict[str, list[Any]] = {}
        characters = 0
        for field, kind, values in wished:
            try:
                provider = self.provider(arguments.provider)
                known = await self.assets(provider, kind, principal)
            except KlingError as error:
                known = []
                ids, told = _unread(field, kind, values, error)
            else:
                ids, told, others = _found(field, kind, values, known)
                characters += sum(asset.of_video for asset in known if asset.id in ids)
                if told.faults:
                    meant[field] = [] if None in others else others
            if len(ids) == len(values) and field not in draft.invalid:
                told.faults.extend(_twice(field, kind, values, ids))
                changes[field] = _as_sent(kind, ids)
            verdict.extend(told)
        return replace(
            draft,
            arguments=arguments.model_copy(update=changes),
            verdict=verdict,
            meant={name: value for name, value in {**draft.meant, **meant}.items() if value != []},
            characters=characters,
        )

    async def before(
        self, arguments: SubmitArguments, principal: Principal
    ) -> list[tuple[str, str, SubmitArguments]]:
        """A resolved request with the ids of deleted elements and voices in place of those that
        have their names now: for each the field, the deleted one in words, and the arguments. None
        where no list can be read."""
        found = []
        for field, kind in FIELDS:
            ids = [str(said) for said in getattr(arguments, field, [])]
            try:
                where = self.provider(arguments.provider)
                known = await self.assets(where, kind, principal) if ids else []
            except KlingError:
                continue
            names = {asset.id: asset.name for asset in known if not asset.deleted}
            for asset in known:
                places = [
                    n for n, i in enumerate(ids) if asset.deleted and names.get(i) == asset.name
                ]
                for place in places:
                    then = _as_sent(kind, [*ids[:place], asset.id, *ids[place + 1 :]])
                    words = f"the {kind} {asset.name} ({asset.id}), deleted since"
                    found.append((field, words, arguments.model_copy(update={field: then})))
        return found[:SOME]

    def uses(self, arguments: SubmitArguments, principal: Principal) -> list[str]:
        """The elements and voices of a request in words, by the lists that are known here; a login
        is told no name of the account's own ones."""
        name = arguments.provider or self._clients.default.name
        whose = (True, False) if principal.only is None else (False,)
        found = []
        for field, kind in FIELDS:
            lists = (self._known.get((name, kind, own), (0.0, [])) for own in whose)
            known = [asset for _, assets in lists for asset in assets]
            for said in map(str, getattr(arguments, field, [])):
                assets = chosen(known, said)
                named = f"{assets[0].name} ({assets[0].id})" if assets else said
                if assets or said.isdecimal():
                    found.append(f"{kind} {named}")
        return found


def names_assets(draft: Draft[SubmitArguments]) -> bool:
    """Whether it has names of elements or voices: ids pass without a look at the lists."""
    return any(not str(said).isdecimal() for field, _ in FIELDS for said in _wished(draft, field))


def _wished(draft: Draft[SubmitArguments], field: str) -> Sequence[Any]:
    """The elements or voices that it names; of too many those that are probably meant."""
    found: Sequence[Any] = getattr(draft.arguments, field, [])
    return draft.meant.get(field, []) if field in draft.invalid else found


def _says(asset: Asset, part: str) -> bool:
    words = (asset.id, asset.name, asset.description, *asset.tags)
    return part.casefold() in "\n".join(words).casefold()


def _not_deletable(
    query: DeleteAssetArguments, found: Sequence[Asset], known: Sequence[Asset]
) -> Fault | None:
    """Why what the query names cannot be deleted; None when it can."""
    kind, said = query.kind, query.id[:40]
    use = f"an id of kling_list_assets with kind {kind}"
    if not found:
        message = f"the account has no {kind} {said!r}."
        return Fault(
            "id",
            f"{kind}_unknown",
            message,
            use,
            choices=_near([asset for asset in known if asset.own], said),
        )
    if not found[0].own:
        message = f"{found[0].name or said} is Kling's own {kind}; only the account's can go."
        return Fault("id", f"{kind}_of_kling", message, use)
    if len(found) > 1 and not all(asset.deleted for asset in found):
        ids = " or ".join(f'"{asset.id}"' for asset in found[:SOME])
        return Fault("id", f"{kind}_ambiguous", f"several {kind}s are called {said!r}.", ids)
    return None


def chosen(known: Sequence[Asset], said: str) -> list[Asset]:
    """The assets that an id or a name means: that with this id; else those with exactly this name,
    the account's own before Kling's, deleted ones last. Several when the name is ambiguous."""
    by_id = [asset for asset in known if asset.id == said]
    if by_id:
        return by_id[:1]
    named = [asset for asset in known if asset.name == said] or [
        asset for asset in known if asset.name.casefold() == said.casefold()
    ]
    for group in (
        [asset for asset in named if asset.own and not asset.deleted],
        [asset for asset in named if not asset.own],
    ):
        if group:
            return group
    return named


def _found(
    field: str, kind: AssetKind, values: Sequence[int | str], known: Sequence[Asset]
) -> tuple[list[str], Verdict, list[int | str | None]]:
    """The ids of these values, those of deleted ones too; what is wrong with them; and the values
    that are meant, None where only the person can tell."""
    ids: list[str] = []
    meant: list[int | str | None] = []
    verdict = Verdict()
    listed = f"kling_list_assets with kind {kind}"
    for place, value in enumerate(values):
        said, where = str(value), f"{field}[{place}]"
        assets = chosen(known, said)
        other: int | str | None = value
        if not assets and said.isdecimal():
            message = f"no list of {kind}s knows the id {said}: the task may fail, or be refused."
            verdict.warnings.append(Fault(where, f"{kind}_unknown", message, listed))
            ids.append(said)
        elif not assets:
            message = f"no {kind} is called {said[:40]!r}."
            other = _nearest(known, said)
            use = f'"{other}"' if other else f"a name or an id of {listed}"
            near = _near(known, said)
            verdict.faults.append(Fault(where, f"{kind}_name_unknown", message, use, choices=near))
        elif all(asset.deleted for asset in assets):
            gone = assets[0]
            alive = [asset for asset in chosen(known, gone.name) if not asset.deleted]
            other = alive[0].id if len(alive) == 1 else None
            message = f"the {kind} {gone.name or said} ({gone.id}) is deleted."
            use = (
                f'"{other}", which is called {gone.name} now'
                if other
                else f"another one of {listed}"
            )
            verdict.faults.append(Fault(where, f"{kind}_deleted", message, use))
            ids.append(gone.id)
        elif len(assets) > 1:
            message = f"several {kind}s are called {said[:40]!r}."
            use = " or ".join(f'"{asset.id}"' for asset in assets[:SOME])
            verdict.faults.append(Fault(where, f"{kind}_ambiguous", message, use))
            other = None
        else:
            ids.append(assets[0].id)
        meant.append(other)
    return ids, verdict, meant


def _as_sent(kind: AssetKind, ids: Sequence[str]) -> list[Any]:
    return [int(i) if kind == "element" and i.isdecimal() else i for i in ids]


def _twice(
    field: str, kind: AssetKind, values: Sequence[int | str], ids: Sequence[str]
) -> Iterator[Fault]:
    """A fault for each value that means the same as one before it."""
    for place, asset_id in enumerate(ids):
        if asset_id in ids[:place]:
            message = (
                f"{str(values[place])[:40]!r} is the same {kind} as {field}[{ids.index(asset_id)}]."
            )
            use = f"each {kind} once; <<<{kind}_1>>> may stand in the prompt several times"
            yield Fault(f"{field}[{place}]", f"{kind}_twice", message, use)


def _nearest(known: Sequence[Asset], said: str) -> str | None:
    """The one name that a misspelt one means."""
    from difflib import get_close_matches

    names = {asset.name.casefold(): asset.name for asset in known if not asset.deleted}
    near = get_close_matches(said.casefold(), names, n=2, cutoff=SURE)
    return names[near[0]] if len(near) == 1 else None


def _near(known: Sequence[Asset], said: str) -> tuple[str, ...]:
    """The names that are like a wrong one."""
    from difflib import get_close_matches

    names = list(dict.fromkeys(asset.name for asset in known if asset.name and not asset.deleted))
    return tuple(get_close_matches(said, names, n=SOME, cutoff=0.5))


def _unread(
    field: str, kind: AssetKind, values: Sequence[int | str], error: KlingError
) -> tuple[list[str], Verdict]:
    """The ids as they are: no list could be read. Names are refused, and so is nothing else."""
    verdict = Verdict()
    use = "its id" if isinstance(error, NotHere) else "its id, or the same call again later"
    for place, value in enumerate(values):
        if isinstance(value, int) or value.isdecimal():
            continue
        message = f"the {kind} {value[:40]!r} cannot be looked up: {error.message}"
        verdict.faults.append(Fault(f"{field}[{place}]", f"{kind}_unread", message, use))
    if not verdict.faults:
        message = f"it could not be checked that these {kind}s exist: {error.message}"
        verdict.warnings.append(Fault(field, f"{kind}_unread", message))
    return [str(value) for value in values if not verdict.faults], verdict
