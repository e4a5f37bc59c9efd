"""`examples/conversation.md` is what the server answers today."""

import asyncio
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from benchmarks.virtual_time import VirtualTimeLoop
from PIL import Image
from tests.examples.conversation import INTRODUCTION, WINTER, play
from tests.examples.stage import Stage
from tests.made_sounds import tone
from tests.server.serving import sandbox_by

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCUMENT = EXAMPLES / "conversation.md"
TUESDAY = datetime(2026, 9, 15, 10, tzinfo=UTC).timestamp()


SMALL_PX, WHOLE_PX = 48, 720
"""Of the clips: no frame is given on. The document shows the second."""
SIZE = re.compile(
    r"\b\d+x\d+, |(?<=width\": )\d+|(?<=height\": )\d+|(?<=usual_s\": )\d+|(?<=usually made in )\d+"
)
"""What depends on that; a film's usual time does, too."""


def take_with_a_phone(folder: Path) -> None:
    """A picture as a phone keeps it: large, and HEIC; without detail, which is slow to write."""
    from pillow_heif import register_heif_opener

    register_heif_opener()
    with Image.open(folder / "coffee.jpg") as picture:
        phone = picture.resize((30, 20)).resize((1500, 1000))
        phone.save(folder / "IMG_0042.HEIC", quality=90, enc_params={"preset": "ultrafast"})


def played(home: Path, monkeypatch: pytest.MonkeyPatch, side_px: int) -> str:
    """The document of one run; everything that it writes lies in `home`."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    shutil.copytree(EXAMPLES / "pictures", home / "Pictures")
    take_with_a_phone(home / "Pictures")
    (home / "Music").mkdir()
    tone(home / "Music" / "tune.wav", 3)

    async def run() -> str:
        loop = asyncio.get_running_loop()

        def clock() -> float:
            return TUESDAY + loop.time()

        stage = Stage(home, clock, side_px)
        monkeypatch.setattr("kling_mcp.providers.transport.connect", sandbox_by(clock))
        await play(stage, whole=side_px >= WHOLE_PX)
        return "\n".join([INTRODUCTION, *stage.lines])

    return anyio.run(run, backend_options={"loop_factory": VirtualTimeLoop})


@pytest.mark.parametrize("side_px", [SMALL_PX, pytest.param(WHOLE_PX, marks=pytest.mark.campaign)])
def test_the_conversation_is_what_the_server_answers_today(
    side_px: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    update = request.config.getoption("--update-snapshots")
    document = played(tmp_path, monkeypatch, WHOLE_PX if update else side_px)
    if update:
        DOCUMENT.write_text(document, encoding="utf-8")
    written = DOCUMENT.read_text(encoding="utf-8")

    if side_px < WHOLE_PX:
        written, _, _ = written.partition(f"\n{WINTER}")
        document, written = SIZE.sub("", document), SIZE.sub("", written)
    assert document == written
