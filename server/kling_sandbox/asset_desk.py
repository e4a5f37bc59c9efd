"""The endpoints of elements and voices: Kling's own and the account's, made, found and deleted."""

from __future__ import annotations

import re
import wave
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from kling_sandbox.answers.documents import envelope, video_id
from kling_sandbox.answers.refusals import refused
from kling_sandbox.asset_presets import PRESETS
from kling_sandbox.desk import AssetKind, Desk, Endpoint, page_asked
from kling_sandbox.fault_injection import xml_error
from kling_sandbox.model_table import TaskKind
from kling_sandbox.orders import Asset, Order
from kling_sandbox.rules.assets import new_element, new_voice
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.image2video import ID_LIMIT

__all__ = ["AssetDesk"]


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

    def routes(self) -> list[Route]:
        """The endpoints below each base URL; pictures and samples below the first."""
        routes = [
            Route("/pictures/{name}", self._picture),
            Route("/voices/{voice_id}.wav", self._sample),
        ]
        for root in (f"{base}/v1/general" for base in self.dialect.bases):
            for library in _LIBRARIES:
                own = f"{root}/{library.own}"
                make = self.guarded("creates", "creates", self._make(library))
                routes += [
                    Route(f"{root}/{library.presets}", self._listed(self._presets(library))),
                    Route(own, self._listed(self._own(library)), methods=["GET"]),
                    Route(own, make, methods=["POST"]),
                    Route(
                        f"{own}/{{any_id}}", self.guarded("queries", "queries", self._one(library))
                    ),
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
    part = path.with_suffix(".part")
    Still(caption=preset.name, words=preset.description).load(720).save(part, "PNG")
    part.replace(path)


def _record(voice_id: str, path: Any) -> None:
    from array import array

    from kling_sandbox.film.encoding import RATE, tone_of, voice_factor

    path.parent.mkdir(parents=True, exist_ok=True)
    samples = array("h", (round(value * 32_000) for value in tone_of(voice_factor(voice_id))))
    part = path.with_suffix(".part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    part.replace(path)
