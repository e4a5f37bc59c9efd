"""The endpoints that are answered at once: the faces of a video, and the speech of a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from kling_sandbox.answers.documents import envelope, video_id
from kling_sandbox.answers.refusals import refused
from kling_sandbox.desk import Desk
from kling_sandbox.fault_injection import xml_error
from kling_sandbox.orders import Face, Order, Task
from kling_sandbox.rules.lip_sync import identify_face, speech

__all__ = ["LipSyncDesk"]

_FACE = re.compile(r"(?P<task_id>\d+)-(?P<face_id>\d)\.jpg")


class LipSyncDesk(Desk):
    """What precedes a lip-sync at the official API."""

    def routes(self, base: str) -> list[Route]:
        """The endpoints below a base URL; below the sandbox's own also pictures of faces and
        sounds."""
        routes = (
            []
            if base
            else [
                Route("/faces/{name}", self._face),
                Route("/sounds/{task_id}.wav", self._sound),
            ]
        )
        faces = self.taking("identify-face", self._faces_of, self._session, at_once=True)
        spoken = self.taking("tts", self._speech_of, self._spoken, at_once=True)
        routes += [
            Route(
                f"{base}/v1/videos/identify-face",
                self.guarded("creates", "creates", faces),
                methods=["POST"],
            ),
            Route(
                f"{base}/v1/audio/tts",
                self.guarded("creates", "creates", spoken),
                methods=["POST"],
            ),
        ]
        return routes

    def _faces_of(self, body: Any) -> tuple[Any, Order]:
        if not isinstance(body, dict):
            raise refused("not_json")
        return body, identify_face(body, self._backend.pictures, self._config, self._maker_of)

    def _speech_of(self, body: Any) -> tuple[Any, Order]:
        if not isinstance(body, dict):
            raise refused("not_json")
        return body, speech(body)

    def _maker_of(self, clip: str) -> Task | None:
        """The finished task whose video has that id."""
        now = self._config.clock()
        tasks = self._store.tasks(self.dialect.name, 0, now)
        done = (task for task in tasks if task.status(now) == "succeed" and not task.order.made)
        return next((task for task in done if video_id(task.task_id) == clip), None)

    def _session(self, task: Task, *, nameless: bool) -> Response:
        data: dict[str, Any] = {} if nameless else {"session_id": task.task_id}
        data["face_data"] = [
            {
                "face_id": face.face_id,
                "face_image": f"{self._config.public_url}/faces/{task.task_id}-{face.face_id}.jpg",
                "start_time": int(face.from_s * 1000),
                "end_time": int(face.to_s * 1000),
            }
            for face in task.order.faces
        ]
        return JSONResponse(envelope(data))

    def _spoken(self, task: Task, *, nameless: bool) -> Response:
        sound = {
            **({} if nameless else {"id": task.task_id}),
            "url": f"{self._config.public_url}/sounds/{task.task_id}.wav",
            "duration": f"{task.order.at_once_ms / 1000:.3f}",
        }
        data = {"task_status": "succeed", "task_result": {"audios": [sound]}}
        return JSONResponse(envelope(data if nameless else {"task_id": task.task_id, **data}))

    async def _face(self, request: Request) -> Response:
        """GET of the picture of a face, without a login."""
        named = _FACE.fullmatch(request.path_params["name"])
        task = self._store.filmed(named["task_id"]) if named else None
        faces = {face.face_id: face for face in task.order.faces} if task else {}
        face = faces.get(named["face_id"]) if named else None
        if task is None or face is None or task.order.looked_at is None:
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        path = self._config.home / "faces" / f"{task.task_id}-{face.face_id}.jpg"
        if not path.exists():
            video = await self._backend.videos.path(task.order.looked_at)
            await anyio.to_thread.run_sync(_draw, face, video, path)
        return FileResponse(path, media_type="image/jpeg")

    async def _sound(self, request: Request) -> Response:
        """GET of the sound of a text, without a login."""
        task = self._store.filmed(request.path_params["task_id"])
        if task is None or task.order.product != "tts":
            return xml_error(404, "NoSuchKey", "The specified key does not exist.")
        return FileResponse(await self._backend.clips.clip(task), media_type="audio/wav")


def _draw(face: Face, video: Path | None, path: Path) -> None:
    from kling_sandbox.film.talking import face_picture

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    face_picture(video, face.place, face.face_id).save(part, "JPEG")
    part.replace(path)
