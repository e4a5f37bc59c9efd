"""The endpoints of elements and voices: Kling's own and the account's, made by Kling's rules, found
and deleted."""

from __future__ import annotations

import base64
import binascii
import io
import re
import secrets
import wave
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from kling_sandbox.answers.documents import TAGS, envelope, video_id
from kling_sandbox.answers.refusals import invalid_value, refused
from kling_sandbox.asset_presets import PRESETS
from kling_sandbox.desk import AssetKind, Desk, Endpoint, page_asked
from kling_sandbox.fault_injection import xml_error
from kling_sandbox.intake import Lifted
from kling_sandbox.model_table import TaskKind
from kling_sandbox.orders import Asset, Order
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.shared import ID_LIMIT, URL_LIMIT, FindAsset, delivery

__all__ = ["AssetDesk", "new_element", "new_voice"]


_NAME_LIMIT = 20
_DESCRIPTION_LIMIT = 100
_MOST_OTHER_PICTURES = 3
_VOICE_S = (5.0, 30.0)


def new_element(fields: Fields, files: PictureFiles, find: FindAsset) -> Order:
    """The order of an element. Raises `Refusal` at its first fault."""
    name = _required(fields, "element_name", _NAME_LIMIT)
    description = _required(fields, "element_description", _DESCRIPTION_LIMIT)
    kind = fields.choice("reference_type", ("image_refer", "video_refer"), "")
    if not kind:
        raise refused("label_missing", field="reference_type")
    tags = []
    for tag in fields.objects("tag_list", 1, len(TAGS)):
        tags.append(tag.choice("tag_id", TAGS, ""))
    made = Asset("element", "", name, description, tags=tuple(filter(None, tags)))
    if "element_voice_id" in fields:
        voice = find("voice", fields.text("element_voice_id", ID_LIMIT))
        made = replace(made, voice=voice.asset_id, voice_name=voice.name)
    if kind == "video_refer":
        return _order(fields, replace(made, videos=(_video(fields),)))
    listed = fields.object("element_image_list") or Fields({}, "element_image_list.")
    if "frontal_image" not in listed:
        raise refused("label_missing", field="element_image_list.frontal_image")
    others = listed.objects("refer_images", 1, _MOST_OTHER_PICTURES)
    if not others:
        raise refused("too_many", field="element_image_list.refer_images", least=1, most=3)
    values = [listed.value("frontal_image"), *(other.value("image_url") for other in others)]
    pictures = tuple(files.accept("element_image_list", value) for value in values)
    return _order(fields, replace(made, pictures=pictures))


def new_voice(fields: Fields, has_speech: Callable[[str], bool]) -> Order:
    """The order of a voice. `has_speech` says whether a clip with that id can be its source.

    A sample in base64 is measured at once; one at an address is taken unseen. Raises `Refusal`.
    """
    name = _required(fields, "voice_name", _NAME_LIMIT)
    if ("voice_url" in fields) == ("video_id" in fields):
        raise refused("voice_source")
    if "video_id" in fields:
        clip = fields.text("video_id", ID_LIMIT)
        if not has_speech(clip):
            raise refused("video_unknown", video_id=clip)
    else:
        _check_sample(fields.value("voice_url"))
    return _order(fields, Asset("voice", "", name))


def _order(fields: Fields, made: Asset) -> Order:
    product: TaskKind = "custom-elements" if made.kind == "element" else "custom-voices"
    return Order(product, "", "", 0, made=made, **delivery(fields))


def _required(fields: Fields, name: str, limit: int) -> str:
    text = fields.text(name, limit)
    if not text.strip():
        raise refused("label_missing", field=name)
    return text


def _video(fields: Fields) -> str:
    listed = fields.object("element_video_list") or Fields({}, "element_video_list.")
    videos = listed.objects("refer_videos", 1, 1)
    if not videos:
        raise refused("too_many", field="element_video_list.refer_videos", least=1, most=1)
    url = videos[0].text("video_url", URL_LIMIT)
    if not url.startswith(("http://", "https://")):
        raise videos[0].refuse("video_url")
    return url


def _check_sample(value: object) -> None:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        return
    source: Path | io.BytesIO
    if isinstance(value, Lifted):
        source = value.path
    elif isinstance(value, str):
        try:
            source = io.BytesIO(base64.b64decode(value, validate=True))
        except (binascii.Error, ValueError):
            raise refused("not_base64") from None
    else:
        raise invalid_value("voice_url", value)
    seconds = _audio_seconds(source)
    if seconds is None:
        raise refused("audio_format")
    if not _VOICE_S[0] <= seconds <= _VOICE_S[1]:
        raise refused("audio_length")


def _audio_seconds(source: Path | io.BytesIO) -> float | None:
    """The length of the first sound in a file; None when it has none or cannot be read."""
    import av  # it loads a hundred megabytes

    try:
        with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return container.duration / 1_000_000 if container.duration else None
    except (OSError, ValueError):  # av's own errors are both
        return None


@dataclass(frozen=True, slots=True)
class _Library:
    """The paths of one kind. `pace` is how much longer than a video one takes [live: 5 s, 9 s]."""

    kind: AssetKind
    product: TaskKind
    presets: str
    own: str
    deletes: tuple[str, ...]
    pace: float
    most: int


_LIBRARIES = (
    _Library(
        kind="element",
        product="custom-elements",
        presets="advanced-presets-elements",
        own="advanced-custom-elements",
        deletes=("delete-advanced-elements", "delete-elements"),
        pace=5 / 4,
        most=500,
    ),
    _Library(
        kind="voice",
        product="custom-voices",
        presets="presets-voices",
        own="custom-voices",
        deletes=("delete-voices",),
        pace=9 / 4,
        most=1000,
    ),
)
_PICTURE = re.compile(r"[0-9a-f]{64}\.(?:png|jpg)|preset-(?P<preset>\d+)\.png")


class AssetDesk(Desk):
    """The official API's elements and voices, below `/v1/general`."""

    def routes(self, base: str) -> list[Route]:
        """The endpoints below a base URL; below the sandbox's own also pictures and samples."""
        routes = (
            []
            if base
            else [
                Route("/pictures/{name}", self._picture),
                Route("/voices/{voice_id}.wav", self._sample),
            ]
        )
        root = f"{base}/v1/general"
        for library in _LIBRARIES:
            own = f"{root}/{library.own}"
            make = self.guarded("creates", "creates", self._make(library))
            routes += [
                Route(f"{root}/{library.presets}", self._listed(self._presets(library))),
                Route(own, self._listed(self._own(library)), methods=["GET"]),
                Route(own, make, methods=["POST"]),
                Route(f"{own}/{{any_id}}", self.guarded("queries", "queries", self._one(library))),
            ]
            delete = self.guarded("creates", "deletes", self._delete(library))
            routes += [
                Route(f"{root}/{path}", delete, methods=["POST"]) for path in library.deletes
            ]
        return routes

    def _listed(self, endpoint: Endpoint) -> Endpoint:
        return self.guarded("queries", "lists", endpoint)

    def _make(self, library: _Library) -> Endpoint:
        def judged(body: Any) -> tuple[Any, Order]:
            if not isinstance(body, dict):
                raise refused("not_json")
            fields = Fields(body)
            if library.kind == "element":
                return body, new_element(fields, self._backend.pictures, self.asset)
            return body, new_voice(fields, self._has_speech)

        return self.taking(library.product, judged, self._answers.created, pace=library.pace)

    def _has_speech(self, clip: str) -> bool:
        """Whether a finished video of the account was made by 2.6 with sound."""
        now = self._config.clock()
        return any(
            video_id(task.task_id) == clip
            for task in self._store.tasks(self.dialect.name, 0, now)
            if task.status(now) == "succeed"
            and task.order.model == "kling-v2-6"
            and task.order.sound
        )

    def _presets(self, library: _Library) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            number, size = page_asked(request, library.most)
            assets = list(PRESETS[library.kind].values())[(number - 1) * size : number * size]
            return JSONResponse(envelope([self._as_task(asset) for asset in assets]))

        return endpoint

    def _as_task(self, asset: Asset) -> dict[str, Any]:
        """A ready-made element or voice in the shape of a task, as Kling lists it."""
        shown = self._backend.documents.asset(asset)
        return {
            "task_id": asset.asset_id,
            "task_status": "succeed",
            "task_result": {f"{asset.kind}s": [shown]},
        }

    def _own(self, library: _Library) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            number, size = page_asked(request, library.most)
            tasks = self._store.page(library.product, number, size)
            now = self._config.clock()
            shown = [self._backend.documents.task(task, task.public_id, now) for task in tasks]
            return JSONResponse(envelope(shown))

        return endpoint

    def _one(self, library: _Library) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            any_id = request.path_params["any_id"]
            task = self._store.find(any_id, self.dialect.name)
            if task is None or task.order.product != library.product:
                raise refused("task_unknown", task_id=any_id)
            return self._answers.one(task, self._config.clock())

        return endpoint

    def _delete(self, library: _Library) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            fields, name = Fields(await self.document(request)), f"{library.kind}_id"
            value = fields.value(name)
            asset_id = str(value) if type(value) is int else fields.text(name, ID_LIMIT)
            if asset_id in PRESETS[library.kind]:
                raise refused("asset_unknown", kind=library.kind, asset_id=asset_id)
            self.asset(library.kind, asset_id)
            task = self._store.maker(asset_id)
            if task is None or not self._store.delete(task):
                raise refused("asset_deleted", kind=library.kind, asset_id=asset_id)
            replacement = await self._faults.inject("creates", "accepted")
            answer = envelope(None)
            del answer["data"]
            return replacement or JSONResponse(answer)

        return endpoint

    async def _picture(self, request: Request) -> Response:
        """GET of an element's picture, without a login."""
        name = request.path_params["name"]
        found = _PICTURE.fullmatch(name)
        if found is None:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        path = self._config.home / "pictures" / name
        preset = PRESETS["element"].get(found["preset"] or "")
        if preset and not path.exists():
            await anyio.to_thread.run_sync(_draw, preset, path)
        if not path.exists():
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        return FileResponse(path)

    async def _sample(self, request: Request) -> Response:
        """GET of a voice's sample, two seconds of its tone, without a login."""
        voice_id = request.path_params["voice_id"]
        if voice_id not in PRESETS["voice"] and self._store.maker(voice_id) is None:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        path = self._config.home / "voices" / f"{voice_id}.wav"
        if not path.exists():
            await anyio.to_thread.run_sync(_record, voice_id, path)
        return FileResponse(path, media_type="audio/wav")


def _draw(preset: Asset, path: Any) -> None:
    from kling_sandbox.film.canvas import Still

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
    Still(caption=preset.name, words=preset.description).load(720).save(part, "PNG")
    part.replace(path)


def _record(voice_id: str, path: Any) -> None:
    from array import array

    from kling_sandbox.film.encoding import RATE, tone_of, voice_factor

    path.parent.mkdir(parents=True, exist_ok=True)
    samples = array("h", (round(value * 32_000) for value in tone_of(voice_factor(voice_id))))
    part = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    part.replace(path)
