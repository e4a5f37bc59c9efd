"""The way of an element or a voice: judged, checked, priced, written down, and sent like a video.

Ledger row, caps, queue and recovery are those of every create (`sender`). Only what an asset is
made from is different: no model makes it, and its request has no seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kling_mcp.background import BackgroundWork
from kling_mcp.inputs import Picture, PicturePolicy, open_pictures
from kling_mcp.inputs.media import Medium, Wish, is_heard, open_media
from kling_mcp.inputs.picture import is_url
from kling_mcp.inputs.urls import is_private_host
from kling_mcp.ledger import Ledger, NewRow, Record
from kling_mcp.outputs.storage import VideoStorage
from kling_mcp.principal import Principal
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.retries import TimeLimits
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.sender import Sender
from kling_mcp.submission.submission import Submission, without_address
from kling_mcp.tasks.account import price_of
from kling_mcp.tasks.library import Library, chosen
from kling_mcp.tasks.reader import TaskReader
from kling_mcp.tasks.views import asset_next
from kling_tools.errors import (
    ImageRejected,
    InvalidRequest,
    ProviderDown,
    SpendCapReached,
    TaskFailed,
)
from kling_tools.faults import Fault, Verdict, shortened
from kling_tools.requests.assets import (
    TAGS,
    AssetArguments,
    CreateElementArguments,
    CreateVoiceArguments,
)
from kling_tools.requests.drafts import Draft
from kling_tools.results import AssetReceipt
from kling_tools.rules.capabilities import Capabilities, Estimate
from kling_tools.rules.media_limits import ELEMENT_VIDEO, VOICE_SAMPLE
from kling_tools.service import Confirm

__all__ = ["AssetMaker", "finish"]

SPEAKS = "kling-v2-6"
"""The model whose clips with sound can be the sample of a voice [Kling's page of voices]."""

PUT_IT = "an https URL that leads to the file itself, or the task_id of one of our videos"


@dataclass
class _NewAsset:
    """A judged request. `fields` are those of the body, `made_of` what stands for the same thing
    whenever it is asked for again: hashes of pictures, an address, a task's id."""

    arguments: AssetArguments
    provider: Configured
    principal: Principal
    price: Estimate
    usd_per_unit: float
    verdict: Verdict
    fields: dict[str, Any] = field(default_factory=dict)
    made_of: list[str] = field(default_factory=list)
    pictures: Sequence[Picture] = ()
    media: Sequence[Medium] = ()

    @cached_property
    def body(self) -> CreateBody:
        return CreateBody(self.fields)

    @cached_property
    def new_row(self) -> NewRow:
        """What the ledger keeps. The same name and the same source are the same asset."""
        entry = self.arguments.entry
        whose = [self.principal.name] if self.principal.name else []
        same = json.dumps([entry.name, self.arguments.name, self.made_of, *whose])
        return NewRow(
            provider=self.provider.name,
            base_url=self.provider.base_url,
            product=entry.name,
            digest=hashlib.sha256(same.encode()).hexdigest(),
            take=1,
            model_name="",
            prompt=self.arguments.name,
            request=self.body.labelled(),
            estimate_units=entry.units,
            principal=self.principal.name,
            pictures=tuple(picture.label for picture in self.pictures),
            picture_hashes={p.field: p.bytes_sha256 for p in self.pictures if p.bytes_sha256},
            sandbox=self.provider.sandbox,
            usd_per_unit=self.usd_per_unit,
        )


class AssetMaker:
    """Makes elements and voices."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        sender: Sender,
        submission: Submission,
        library: Library,
        storage: VideoStorage,
        capabilities: Capabilities,
        background_work: BackgroundWork,
        limits: TimeLimits,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._sender = sender
        self._submission = submission
        self._library = library
        self._storage = storage
        self._capabilities = capabilities
        self._background_work = background_work
        self._limits = limits

    async def make(
        self,
        draft: Draft[AssetArguments],
        confirm: Confirm,
        principal: Principal,
        policy: PicturePolicy,
        reader: TaskReader,
    ) -> tuple[AssetReceipt, Record | None]:
        """Send the request once, or find what was made of it before; a dry run only judges it.
        Returns the receipt and the row. `reader` finds the caller's videos.

        Raises InvalidRequest, ImageRejected, SpendCapReached, NotConfigured, and ProviderError.
        """
        arguments = draft.arguments
        provider = self._library.provider(arguments.provider)
        new = _NewAsset(
            arguments=arguments,
            provider=provider,
            principal=principal,
            price=price_of(provider.name, arguments.entry.units, self._clients, self._capabilities),
            usd_per_unit=self._capabilities.usd_per_unit,
            verdict=Verdict(list(draft.verdict.faults), list(draft.verdict.warnings)),
        )
        new.verdict.faults += [f for f in arguments.faults() if _top(f) not in draft.invalid]
        by_rules = len(new.verdict.faults)
        async with AsyncExitStack() as opened:
            if isinstance(arguments, CreateElementArguments):
                await self._element(new, arguments, policy, reader)
            elif isinstance(arguments, CreateVoiceArguments) and arguments.sample:
                await self._voice(new, arguments, policy, reader)
            for picture in new.pictures:
                opened.callback(picture.close)
            for medium in new.media:
                opened.callback(medium.close)
            faults = new.verdict.faults
            made = None if faults else await self._made(new)
            if arguments.dry_run:
                return await self._dry_run(new, made), made
            if faults:
                of_pictures = not by_rules and bool(new.pictures)
                raise (ImageRejected if of_pictures else InvalidRequest)(faults)
            if made is None:
                await self._submission.check_price(new.new_row, new.price, arguments.max_units)
                await self._ask_the_person(new, confirm)
            sending = partial(self._send, new, opened.pop_all(), policy)
        try:
            record, is_new = await self._background_work.run(sending, self._limits.answer_s)
        except TimeoutError:
            raise ProviderDown(
                f"{provider.name} has not answered yet; the request goes on here.",
                provider=provider.name,
                charged="unknown",
                advice="Call again with the same arguments: that joins this request and makes "
                "nothing twice.",
            ) from None
        if is_new:
            self._library.forget(provider, arguments.entry.kind)
        return _receipt(new, record, repeated=not is_new), record

    async def _send(
        self, new: _NewAsset, opened: AsyncExitStack, policy: PicturePolicy
    ) -> tuple[Record, bool]:
        async with opened:
            client = await self._clients.get(new.provider.name)
            addresses = await self._submission.addresses(
                new.new_row, new.provider, new.media, client, policy
            )
            body = new.body.with_addresses(addresses)
            return await self._sender.send(new.new_row, client, body, self._submission.day_caps)

    async def _made(self, new: _NewAsset) -> Record | None:
        """The row of the same request, unless what it made was deleted, here or elsewhere."""
        row = await self._ledger.peek(new.new_row) if self._ledger.exists else None
        if row is None or row.is_gone:
            return None
        if row.asset_id:
            kind = new.arguments.entry.kind
            known = await self._library.assets(new.provider, kind, new.principal, fresh=True)
            if any(asset.id == row.asset_id and asset.deleted for asset in known):
                await self._ledger.asset_deleted(row.provider, row.base_url, row.asset_id)
                return None
        return row

    async def _ask_the_person(self, new: _NewAsset, confirm: Confirm) -> None:
        """Raises SpendCapReached when a setting requires consent and the person refuses it."""
        setting = self._submission.confirm_setting(new.price.units)
        kind, name = new.arguments.entry.kind, new.arguments.name
        if setting and not await confirm(
            f'Make the {kind} "{name}" at {new.provider.name} for {new.price}?', setting
        ):
            raise SpendCapReached(
                f"The person did not agree to {new.price}, which {setting} requires.",
                advice="Ask what they would like instead.",
            )

    async def _dry_run(self, new: _NewAsset, made: Record | None) -> AssetReceipt:
        faults = new.verdict.faults
        if made is None and not faults:
            most = new.arguments.max_units
            try:
                await self._submission.check_price(new.new_row, new.price, most)
                await self._ledger.check_day(new.new_row, self._submission.day_caps)
            except SpendCapReached as cap:
                faults.append(Fault("max_units", "spend_cap", f"{cap.message} {cap.advice}"))
        receipt = _receipt(new, made, repeated=made is not None)
        receipt.dry_run = True
        receipt.faults = [fault.facts() for fault in shortened(faults)]
        receipt.next = "Call without dry_run."
        if made is not None:
            receipt.next = "It was made before: the call returns that one and costs nothing."
        if faults:
            receipt.next = "Correct the faults first."
        return receipt

    async def _element(
        self,
        new: _NewAsset,
        arguments: CreateElementArguments,
        policy: PicturePolicy,
        reader: TaskReader,
    ) -> None:
        """Fill in what an element is made from."""
        opened, verdict = await open_pictures(arguments.pictures(), policy)
        new.verdict.extend(verdict)
        new.pictures = [picture for picture in opened if picture]
        new.fields = {
            "element_name": arguments.name,
            "element_description": arguments.description,
            "reference_type": "video_refer" if arguments.video else "image_refer",
        }
        if not _reaches_this_network(new.provider):
            private = [w for w in new.verdict.warnings if w.rule == "url_private"]
            new.verdict.faults += private
            new.verdict.warnings = [w for w in new.verdict.warnings if w not in private]
        if arguments.video:
            url = await self._video(new, arguments.video, policy, reader)
            new.fields["element_video_list"] = {"refer_videos": [{"video_url": url}]}
        elif len(new.pictures) > 1:
            front, *others = new.pictures
            new.fields["element_image_list"] = {
                "frontal_image": front,
                "refer_images": [{"image_url": picture} for picture in others],
            }
            new.made_of = [picture.sha256 for picture in new.pictures]
        if arguments.voice and not arguments.video:
            new.fields["element_voice_id"] = await self._voice_id(new, arguments.voice)
            new.made_of.append(f"voice {new.fields['element_voice_id']}")
        tags = [{"tag_id": TAGS[tag]} for tag in dict.fromkeys(arguments.tags) if tag in TAGS]
        if tags:
            new.fields["tag_list"] = tags

    async def _video(
        self, new: _NewAsset, value: str, policy: PicturePolicy, reader: TaskReader
    ) -> str | Medium:
        """The video of an element: its URL, one of the caller's videos, or a file."""
        record = await _video_of(value, reader)
        if record is None and is_url(value):
            new.made_of = [value.strip()]
            return value.strip()
        if record is None:
            return await _file(new, Wish("video", value, ELEMENT_VIDEO), policy)
        if not record.videos:
            new.verdict.faults.append(_not_ready("video", record))
            return ""
        seconds = record.videos[0].duration_s
        broken = ELEMENT_VIDEO.breaches(record.handle, seconds=seconds)
        new.verdict.faults += [Fault("video", *breach) for breach in broken]
        new.made_of = [f"task {record.id}"]
        return record.videos[0].url

    async def _voice_id(self, new: _NewAsset, said: str) -> str:
        """The id of the voice that an element gets."""
        known = await self._library.assets(new.provider, "voice", new.principal)
        found = [asset for asset in chosen(known, said) if not asset.deleted]
        if len(found) == 1:
            return found[0].id
        if not found and said.isdecimal() and not chosen(known, said):
            message = f"no list of voices knows the id {said}: it may be refused."
            new.verdict.warnings.append(Fault("voice", "voice_unknown", message))
            return said
        gone = "is deleted" if chosen(known, said) else "is not there"
        message = f"the voice {said[:40]!r} {'is not the only one' if found else gone}."
        use = " or ".join(f'"{asset.id}"' for asset in found[:5])
        use = use or "a voice of kling_list_assets with kind voice"
        new.verdict.faults.append(Fault("voice", "voice_name_unknown", message, use))
        return ""

    async def _voice(
        self,
        new: _NewAsset,
        arguments: CreateVoiceArguments,
        policy: PicturePolicy,
        reader: TaskReader,
    ) -> None:
        """Fill in what a voice is made from."""
        value = arguments.sample.strip()
        new.fields = {"voice_name": arguments.name}
        record = await _video_of(value, reader)
        if record is not None:
            new.verdict.faults += await self._speech(record, policy)
            if record.videos:
                new.fields["video_id"] = record.videos[0].id
            new.made_of = [f"task {record.id}"]
        elif is_url(value):
            host = urlsplit(value).hostname or ""
            if is_private_host(host) and not _reaches_this_network(new.provider):
                message = f"{host[:60]} is in a private network, which Kling cannot reach."
                new.verdict.faults.append(Fault("sample", "url_private", message, PUT_IT))
            new.fields["voice_url"] = value
            new.made_of = [value]
        else:
            new.fields["voice_url"] = await _file(new, Wish("sample", value, VOICE_SAMPLE), policy)

    async def _speech(self, record: Record, policy: PicturePolicy) -> list[Fault]:
        """What keeps a video from being the sample of a voice."""
        if not record.videos:
            return [_not_ready("sample", record)]
        request = record.request
        if record.model_name != SPEAKS or request.get("sound") != "on":
            message = f"{record.handle} is no video of {SPEAKS} with sound."
            use = f"the task_id of one with model_name {SPEAKS}, mode pro and sound on, or a URL"
            return [Fault("sample", "sample_of_model", message, use)]
        seconds = record.videos[0].duration_s
        if broken := list(VOICE_SAMPLE.breaches(record.handle, seconds=seconds)):
            return [Fault("sample", *breach) for breach in broken]
        path: Path | None = await self._storage.file(record)
        if path is None or await is_heard(path, policy):
            return []
        message = f"{record.handle} is silent."
        return [Fault("sample", "sound_silent", message, "a video in which one person speaks")]


def _receipt(new: _NewAsset, record: Record | None, *, repeated: bool) -> AssetReceipt:
    """The receipt of a request, with what its row knows."""
    entry = new.arguments.entry
    receipt = AssetReceipt(
        kind=entry.kind,
        name=new.arguments.name,
        provider=new.provider.name,
        repeated=repeated or None,
        sandbox=new.provider.sandbox or None,
        units=entry.units,
        warnings=[str(warning) for warning in new.verdict.warnings],
    )
    if record is not None:
        receipt.task_id, receipt.status = record.handle, record.status
        receipt.id = record.asset_id or None
    return receipt


def finish(receipt: AssetReceipt, record: Record) -> AssetReceipt:
    """The receipt with what became of its row, and what to do next. Raises TaskFailed when the
    provider could not make it."""
    if record.status == "failed":
        raise TaskFailed(
            f"The {receipt.kind} was not made.",
            task_id=record.handle,
            provider_says=record.message,
            charged="yes" if record.units or record.money else "no",
            advice="Change what it is made from, and call again.",
        )
    receipt.task_id, receipt.status = record.handle, record.status
    receipt.id = record.asset_id or None
    if record.units is not None:
        receipt.units = record.units
    receipt.next = (
        asset_next(record)
        if record.asset_id
        else f'kling_wait_for_tasks with task_ids ["{record.handle}"]; it takes seconds.'
    )
    return receipt


async def _video_of(value: str, reader: TaskReader) -> Record | None:
    """The row of a video that a task_id, a kling:// address, a link or a path names."""
    from kling_tools.requests.normalize import task_id

    if value.lower().startswith("data:"):
        return None
    record = await reader.find(str(task_id(value)))
    return None if record is None or record.is_asset else record


def _not_ready(field: str, record: Record) -> Fault:
    use = f'kling_wait_for_tasks with task_ids ["{record.handle}"] first'
    use = use if record.status != "failed" else "another task"
    return Fault(field, "task_has_no_video", f"{record.handle} is {record.status}.", use)


async def _file(new: _NewAsset, wish: Wish, policy: PicturePolicy) -> Medium | str:
    """The open file of which an asset is made; empty when it has faults."""
    (medium,), verdict = await open_media([wish], policy)
    new.verdict.extend(verdict)
    if medium is None:
        return ""
    new.media, new.made_of = [medium], [medium.sha256]
    new.verdict.faults += without_address(new.media, new.provider, policy)
    return medium


def _top(fault: Fault) -> str:
    return fault.field.partition("[")[0].partition(".")[0]


def _reaches_this_network(provider: Configured) -> bool:
    return provider.embedded or is_private_host(urlsplit(provider.base_url).hostname or "")
