"""The music of a film: opened and measured before anything is paid, and kept beside the ledger, so
that the film can be joined again when its file has gone."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from kling_mcp.inputs.media import Medium, Wish, open_media
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger.films import FilmRow, Films
from kling_tools.errors import KlingError
from kling_tools.faults import Fault
from kling_tools.requests.films import FilmArguments, Music
from kling_tools.rules.media_limits import MediaLimits

__all__ = ["FilmMusic"]

MUSIC = MediaLimits(formats=("MP3", "WAV", "M4A", "AAC"), mb=200, seconds=(0.1, 3600))

FORMS = f"the path of a sound file ({', '.join(MUSIC.formats)}), or a data: URI of it"
UPLOADED = "the address of kling_upload_picture, which takes a sound file, too"

SHORTER = 0.5
"""Seconds by which music may be shorter than its film without a word."""

NEW_S = 3600.0
"""Seconds for which a copy is kept that no film has: its film may be about to be written."""

GIVEN_CHARS = 4096
"""Characters of the longest path by which a kept copy is found again."""


@dataclass
class FilmMusic:
    """The music that a film asks for, kept in `folder`. `name` is that of its copy there, and is
    empty where it has none yet; the file is open until `close`."""

    wish: Music
    folder: Path
    faults: list[Fault] = field(default_factory=list)
    name: str = ""
    _medium: Medium | None = None

    @classmethod
    async def of(
        cls, film: FilmArguments, policy: PicturePolicy, folder: Path, before: FilmRow | None
    ) -> FilmMusic | None:
        """The music of a film, with its faults; None where it asks for none. The file that the film
        had before is not needed any more: its copy is there."""
        if film.music is None:
            return None
        music = cls(film.music, folder)
        if not film.join:
            fault = Fault("music", "of_a_joined_film", "a batch is not joined.", "no music")
            music.faults.append(fault)
            return music
        await music._open(policy)
        kept = (before.request.get("music") or {}) if before else {}
        gone = any(fault.rule == "path_missing" for fault in music.faults)
        if gone and kept.get("given") == film.music.file and (folder / kept["file"]).exists():
            music.faults, music.name = [], kept["file"]
        return music

    async def _open(self, policy: PicturePolicy) -> None:
        media, told = await open_media([Wish("music.file", self.wish.file, MUSIC)], policy)
        forms = FORMS if policy.allow_local else UPLOADED
        for fault in told.faults:
            message = fault.message.replace("Kling takes", "a film takes")
            use = forms if "https URL" in fault.use or not policy.allow_local else fault.use
            self.faults.append(replace(fault, message=message, use=use))
        (medium,) = media
        if medium is not None and (medium.held is None or medium.facts is None):
            message = "is mixed here, and nothing is fetched from the internet for it."
            use = forms.replace("the path of a sound", "the path of a local sound")
            self.faults.append(Fault("music.file", "music_address", message, use))
            medium.close()
            medium = None
        self._medium = medium

    def notes(self, film_s: float | None, *, clips_sound: bool) -> list[str]:
        """What is to be said of its length, its fades and its volume."""
        facts = self._medium.facts if self._medium else None
        if facts is None or film_s is None:
            return []
        notes, wish = [], self.wish
        if facts.seconds < film_s - SHORTER and not wish.loop:
            notes.append(
                f"The music lasts {facts.seconds:.3g} s and the film {film_s:.3g} s: it fades out "
                "there; loop: true repeats it."
            )
        plays_s = film_s if wish.loop else min(film_s, facts.seconds)
        if 2 * wish.fade_s > plays_s:
            notes.append(f"Its fades take {plays_s / 2:.3g} s each: it plays for {plays_s:.3g} s.")
        if not clips_sound and wish.volume != 1:
            notes.append(
                "volume changes nothing: no clip has a sound, and a film is made as loud as video "
                "sites ask for."
            )
        return notes

    async def keep(self) -> None:
        """Write its copy where there is none. Raises KlingError when the disk does not take it."""
        if self._medium is not None:
            await to_thread.run_sync(self._write, self._medium)

    def kept(self) -> Mapping[str, Any]:
        """The music as the ledger keeps it."""
        medium = self._medium
        if medium is not None and medium.facts is not None:
            self.name = f"{medium.sha256}.{medium.facts.format.lower()}"
        given = self.wish.file if len(self.wish.file) <= GIVEN_CHARS else ""
        return {**self.wish.model_dump(exclude={"file"}), "file": self.name, "given": given}

    def _write(self, medium: Medium) -> None:
        target = self.folder / self.name
        part = self.folder / f".{self.name}.{uuid.uuid4().hex[:8]}.part"
        if target.exists():
            with suppress(OSError):
                target.touch()  # `sweep` takes it for new
            return
        if medium.held is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with medium.held.view(most_bytes=MUSIC.mb * 2**21) as source, part.open("wb") as file:
                shutil.copyfileobj(source, file)
            part.replace(target)
        except OSError as error:
            reason = f"The music cannot be kept: {error.strerror}."
            raise KlingError(reason, charged="no") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    async def sweep(self, films: Films) -> None:
        """Remove copies that no film has any more, but for new ones: theirs may come."""
        kept = await films.music()
        await to_thread.run_sync(_sweep, self.folder, kept, time.time() - NEW_S)

    def close(self) -> None:
        """Release the file."""
        if self._medium is not None:
            self._medium.close()


def _sweep(folder: Path, kept: Collection[str], before: float) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name not in kept and path.stat().st_mtime < before:
                path.unlink()
