"""An element or a voice on the way of a create: no model makes it, and it has no seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kling_mcp.inputs.media import Medium, Wish, is_heard, open_media
from kling_mcp.inputs.opening import open_pictures
from kling_mcp.inputs.picture import Picture, is_url
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.inputs.urls import is_private_host
from kling_mcp.ledger import NewRow, Record
from kling_mcp.principal import Principal
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.submission import (
    Create,
    Judged,
    Submission,
    reaches_this_network,
    refuse_private_urls,
    without_address,
)
from kling_mcp.tasks.account import price_of
from kling_mcp.tasks.library import chosen
from kling_mcp.tasks.reader import TaskReader
from kling_mcp.tasks.views import asset_next
from kling_tools.errors import (
    ImageRejected,
    InvalidRequest,
    KlingError,
    SpendCapReached,
    TaskFailed,
)
from kling_tools.faults import Fault, Verdict, asking, shortened
from kling_tools.requests.assets import (
    TAGS,
    AssetArguments,
    CreateElementArguments,
    CreateVoiceArguments,
)
from kling_tools.requests.drafts import Draft
from kling_tools.results import AssetReceipt
from kling_tools.rules.capabilities import Estimate
from kling_tools.rules.media_limits import ELEMENT_VIDEO, VOICE_SAMPLE

__all__ = ["AssetCreate", "finish"]

SPEAKS = "kling-v2-6"
"""The model whose clips with sound can be the sample of a voice [Kling's page of voices]."""

PUT_IT = "an https URL that leads to the file itself, or the task_id of one of our videos"


class AssetCreate(Create[AssetReceipt]):
    """An element or a voice, as a draft asks for it. `reader` finds the caller's videos; `record`
    is its row once it was sent. Raises NotConfigured where the provider passes none on."""

    def __init__(
        self,
        way: Submission,
        principal: Principal,
        policy: PicturePolicy,
        draft: Draft[AssetArguments],
        reader: TaskReader,
    ) -> None:
        super().__init__(way, principal, policy)
        self.record: Record | None = None
        self._draft = draft
        self._arguments = draft.arguments
        self._entry = draft.arguments.entry
        self._provider = way.library.provider(draft.arguments.provider)
        self._reader = reader
        self._verdict = Verdict(list(draft.verdict.faults), list(draft.verdict.warnings))
        self._fields: dict[str, Any] = {}
        self._made_of: list[str] = []
        """What stands for the same thing when it is asked for again: hashes, an address, ids."""
        self._pictures: Sequence[Picture] = ()
        self._media: Sequence[Medium] = ()
        self._by_rules = 0

    async def judge(self, opened: AsyncExitStack) -> Judged:
        """Judge it by its rules, open what it is made from, and look for what was made before."""
        arguments, faults = self._arguments, self._verdict.faults
        faults += [f for f in arguments.faults() if _top(f) not in self._draft.invalid]
        self._by_rules = len(faults)
        if isinstance(arguments, CreateElementArguments):
            await self._element(arguments, opened)
        elif isinstance(arguments, CreateVoiceArguments) and arguments.sample:
            await self._voice(arguments, opened)
        new_row, body = self._row(), CreateBody(self._fields)
        clients, capabilities = self.way.clients, self.way.capabilities
        return Judged(
            provider=self._provider,
            new_row=new_row,
            body=body,
            price=price_of(self._provider.name, self._entry.units, clients, capabilities),
            verdict=self._verdict,
            made=None if faults else await self._made(new_row),
            media=self._media,
            max_units=arguments.max_units,
            dry_run=arguments.dry_run,
        )

    def _row(self) -> NewRow:
        """What the ledger keeps. The same name and the same source are the same asset."""
        whose = [self.principal.name] if self.principal.name else []
        same = json.dumps([self._entry.name, self._arguments.name, self._made_of, *whose])
        return NewRow(
            provider=self._provider.name,
            base_url=self._provider.base_url,
            product=self._entry.name,
            digest=hashlib.sha256(same.encode()).hexdigest(),
            take=1,
            model_name="",
            prompt=self._arguments.name,
            request=CreateBody(self._fields).labelled(),
            estimate_units=self._entry.units,
            principal=self.principal.name,
            pictures=tuple(picture.label for picture in self._pictures),
            picture_hashes={p.field: p.bytes_sha256 for p in self._pictures if p.bytes_sha256},
            sandbox=self._provider.sandbox,
            usd_per_unit=self.way.capabilities.usd_per_unit,
            own_usd_per_unit=self._provider.row.usd_per_unit,
        )

    async def _made(self, new_row: NewRow) -> Record | None:
        """The row of the same request, unless what it made was deleted, here or elsewhere."""
        row = await self.way.made_before(new_row)
        if row is not None and row.asset_id:
            library, kind = self.way.library, self._entry.kind
            known = await library.assets(self._provider, kind, self.principal, fresh=True)
            if any(asset.id == row.asset_id and asset.deleted for asset in known):
                await self.way.ledger.asset_deleted(row.provider, row.base_url, row.asset_id)
                return None
        return row

    async def refusal(self) -> KlingError:
        """The error for what has faults."""
        of_pictures = not self._by_rules and bool(self._pictures)
        return (ImageRejected if of_pictures else InvalidRequest)(self._verdict.faults)

    def question(self, price: Estimate) -> str:
        """What a person is asked who has to agree to the price."""
        name, provider = self._arguments.name, self._provider.name
        return f'Make the {self._entry.kind} "{name}" at {provider} for {price}?'

    async def receipt(self, record: Record, *, new: bool) -> AssetReceipt:
        """The answer once it was sent; `finish` says what became of it."""
        if new:
            self.way.library.forget(self._provider, self._entry.kind)
        self.record = record
        return self._outline(record, repeated=not new)

    async def dry_receipt(
        self, judged: Judged, capped: SpendCapReached | None, by: str
    ) -> AssetReceipt:
        """What it would cost, and every fault."""
        answer = self._outline(judged.made, repeated=judged.made is not None)
        answer.dry_run = True
        answer.faults = [fault.facts() for fault in shortened(judged.verdict.faults)]
        answer.next = "Call without dry_run."
        if judged.made is not None:
            answer.next = "It was made before: the call returns that one and costs nothing."
        if judged.verdict.faults:
            way_out = asking(None, capped.way) if capped and len(answer.faults) == 1 else ""
            answer.next = way_out or "Correct the faults first."
        return answer

    def _outline(self, record: Record | None, *, repeated: bool) -> AssetReceipt:
        """The receipt of a request, with what its row knows."""
        receipt = AssetReceipt(
            kind=self._entry.kind,
            name=self._arguments.name,
            provider=self._provider.name,
            repeated=repeated or None,
            sandbox=self._provider.sandbox or None,
            units=self._entry.units,
            warnings=[str(warning) for warning in self._verdict.warnings],
        )
        if record is not None:
            receipt.task_id, receipt.status = record.handle, record.status
            receipt.id = record.asset_id or None
        return receipt

    async def _element(self, arguments: CreateElementArguments, opened: AsyncExitStack) -> None:
        """Fill in what an element is made from."""
        found, verdict = await open_pictures(arguments.pictures(), self.policy)
        self._verdict.extend(verdict)
        self._pictures = [picture for picture in found if picture]
        for picture in self._pictures:
            opened.callback(picture.close)
        self._fields = {
            "element_name": arguments.name,
            "element_description": arguments.description,
            "reference_type": "video_refer" if arguments.video else "image_refer",
        }
        if not reaches_this_network(self._provider):
            refuse_private_urls(self._verdict)
        if arguments.video:
            url = await self._video(arguments.video, opened)
            self._fields["element_video_list"] = {"refer_videos": [{"video_url": url}]}
        elif len(self._pictures) > 1:
            front, *others = self._pictures
            self._fields["element_image_list"] = {
                "frontal_image": front,
                "refer_images": [{"image_url": picture} for picture in others],
            }
            self._made_of = [picture.sha256 for picture in self._pictures]
        if arguments.voice and not arguments.video:
            self._fields["element_voice_id"] = await self._voice_id(arguments.voice)
            self._made_of.append(f"voice {self._fields['element_voice_id']}")
        tags = [{"tag_id": TAGS[tag]} for tag in dict.fromkeys(arguments.tags) if tag in TAGS]
        if tags:
            self._fields["tag_list"] = tags

    async def _video(self, value: str, opened: AsyncExitStack) -> str | Medium:
        """The video of an element: its URL, one of the caller's videos, or a file."""
        record = await self._video_of(value)
        if record is None and is_url(value):
            self._made_of = [value.strip()]
            return value.strip()
        if record is None:
            return await self._file(Wish("video", value, ELEMENT_VIDEO), opened)
        if not record.videos:
            self._verdict.faults.append(_not_ready("video", record))
            return ""
        seconds = record.videos[0].duration_s
        broken = ELEMENT_VIDEO.breaches(record.handle, seconds=seconds)
        self._verdict.faults += [Fault("video", *breach) for breach in broken]
        self._made_of = [f"task {record.id}"]
        return record.videos[0].url

    async def _voice_id(self, said: str) -> str:
        """The id of the voice that an element gets."""
        known = await self.way.library.assets(self._provider, "voice", self.principal)
        found = [asset for asset in chosen(known, said) if not asset.deleted]
        if len(found) == 1:
            return found[0].id
        if not found and said.isdecimal() and not chosen(known, said):
            message = f"no list of voices knows the id {said}: it may be refused."
            self._verdict.warnings.append(Fault("voice", "voice_unknown", message))
            return said
        gone = "is deleted" if chosen(known, said) else "is not there"
        message = f"the voice {said[:40]!r} {'is not the only one' if found else gone}."
        use = " or ".join(f'"{asset.id}"' for asset in found[:5])
        use = use or "a voice of kling_list_assets with kind voice"
        self._verdict.faults.append(Fault("voice", "voice_name_unknown", message, use))
        return ""

    async def _voice(self, arguments: CreateVoiceArguments, opened: AsyncExitStack) -> None:
        """Fill in what a voice is made from."""
        value = arguments.sample.strip()
        self._fields = {"voice_name": arguments.name}
        record = await self._video_of(value)
        if record is not None:
            self._verdict.faults += await self._speech(record)
            if record.videos:
                self._fields["video_id"] = record.videos[0].id
            self._made_of = [f"task {record.id}"]
        elif is_url(value):
            host = urlsplit(value).hostname or ""
            if is_private_host(host) and not reaches_this_network(self._provider):
                message = f"{host[:60]} is in a private network, which Kling cannot reach."
                self._verdict.faults.append(Fault("sample", "url_private", message, PUT_IT))
            self._fields["voice_url"] = value
            self._made_of = [value]
        else:
            self._fields["voice_url"] = await self._file(
                Wish("sample", value, VOICE_SAMPLE), opened
            )

    async def _speech(self, record: Record) -> list[Fault]:
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
        path: Path | None = await self.way.storage.file(record)
        if path is None or await is_heard(path, self.policy):
            return []
        message = f"{record.handle} is silent."
        return [Fault("sample", "sound_silent", message, "a video in which one person speaks")]

    async def _video_of(self, value: str) -> Record | None:
        """The row of a video that a task_id, a kling:// address, a link or a path names."""
        from kling_tools.requests.normalize import task_id

        if value.lower().startswith("data:"):
            return None
        record = await self._reader.find(str(task_id(value)))
        return None if record is None or record.is_asset else record

    async def _file(self, wish: Wish, opened: AsyncExitStack) -> Medium | str:
        """The open file of which an asset is made; empty when it has faults."""
        (medium,), verdict = await open_media([wish], self.policy)
        self._verdict.extend(verdict)
        if medium is None:
            return ""
        opened.callback(medium.close)
        self._media, self._made_of = [medium], [medium.sha256]
        self._verdict.faults += without_address(self._media, self._provider, self.policy)
        return medium


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


def _not_ready(field: str, record: Record) -> Fault:
    use = f'kling_wait_for_tasks with task_ids ["{record.handle}"] first'
    use = use if record.status != "failed" else "another task"
    return Fault(field, "task_has_no_video", f"{record.handle} is {record.status}.", use)


def _top(fault: Fault) -> str:
    return fault.field.partition("[")[0].partition(".")[0]
