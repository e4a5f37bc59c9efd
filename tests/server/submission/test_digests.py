"""What the ledger keeps of a request: rows of earlier versions are found again by their digests."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.sampling import sampled
from tests.server.scripted import facts
from tests.server.serving import no_sleep, sandbox_settings

from kling_mcp.ledger import Ledger, Record
from kling_mcp.protocol.server import build_server

pytestmark = pytest.mark.anyio

PICTURES = Path(__file__).parents[3] / "examples" / "pictures"
URL = "https://example.com/a.png"
ONE, MANY = "kling_image_to_video", "kling_multi_image_to_video"

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a picture by URL": (ONE, {"image": URL, "prompt": "slow zoom"}),
    "a picture on disk": (ONE, {"image": "astronaut.png", "prompt": "slow zoom"}),
    "sound off and ids of the caller's own": (
        ONE,
        {
            "image": URL,
            "prompt": "héllo",
            "model_name": "kling-v2-6",
            "mode": "pro",
            "sound": "off",
            "external_task_id": "mine-1",
            "callback_url": "https://me.example/kling",
        },
    ),
    "masks": (
        ONE,
        {
            "image": URL,
            "prompt": "she waves",
            "model_name": "kling-v1-5",
            "mode": "pro",
            "cfg_scale": 0,
            "static_mask": URL,
            "dynamic_masks": [{"mask": URL, "trajectories": [[279, 219], [417, 65]]}],
        },
    ),
    "several pictures for omni-video": (
        MANY,
        {"image_list": ["astronaut.png", URL], "prompt": "they dance", "sound": "on"},
    ),
    "several pictures for multi-image2video": (
        MANY,
        {"image_list": [URL, URL], "prompt": "they dance", "model_name": "kling-v1-6"},
    ),
}

DIGESTS = {
    "a picture by URL": "2176c52e9e5fe5edd31c609bc44c396a7af1d7bd3f84ecfcc65d51f6e9bea999",
    "a picture on disk": "f4c14a705e9e7b1878dea850020ab157d01f467a421e53ec4ac9afc7313d2b53",
    "sound off and ids of the caller's own": (
        "68566384f797cad706bb9b619528ac0e4b24f1ef924fee9a00f3271bcc2f7cd3"
    ),
    "masks": "52b407cf2c46ece96dfaad9a61198028432f2d69c8990f7929545ac686091ae5",
    "several pictures for omni-video": (
        "242281c982c5be7700f53133c4ef4f27cd9fe65ed018b44fb946b31ff4b29b34"
    ),
    "several pictures for multi-image2video": (
        "f68e1945f199a8c35836338e6fd4b72b614d0443e35e448e9aa77a6fdf807198"
    ),
}
"""Written down before the body was rendered once: they must never change."""


async def row_of(tool: str, arguments: dict[str, Any], folder: Path) -> Record:
    """The ledger's row of this call, which is there also when the provider refuses the model."""
    still_has_it = {"provider": "cometapi", "cometapi_base_url": "sandbox"}
    older = still_has_it if arguments.get("model_name") == "kling-v1-5" else {}
    settings = sandbox_settings(folder, image_roots=[PICTURES], **older)
    async with Client(build_server(settings)) as client:
        await client.call_tool(tool, arguments)
    ledger = Ledger(settings.home)
    (row,) = await ledger.page(limit=9, offset=0)
    await ledger.close()
    return row


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_keeps_the_digest_that_earlier_versions_gave_it(
    name: str, tmp_path: Path
) -> None:
    row = await row_of(*REQUESTS[name], tmp_path)

    assert row.digest == DIGESTS[name]


async def test_a_row_shows_pictures_by_their_labels_and_lacks_the_id_that_it_gave(
    tmp_path: Path,
) -> None:
    row = await row_of(*REQUESTS["several pictures for omni-video"], tmp_path)

    assert row.request == {
        "model_name": "kling-v3-omni",
        "image_list": [{"image_url": "astronaut.png"}, {"image_url": "example.com/a.png"}],
        "prompt": "With <<<image_1>>>, <<<image_2>>>: they dance",
        "aspect_ratio": "16:9",
        "mode": "std",
        "duration": "5",
        "sound": "on",
    }


async def test_a_row_keeps_the_call_to_make_it_again_without_the_bytes_of_pictures(
    tmp_path: Path,
) -> None:
    inline = base64.b64encode((PICTURES / "astronaut.png").read_bytes()).decode()
    row = await row_of(
        "kling_multi_image_to_video",
        {
            "image_list": ["astronaut.png", f"data:image/png;base64,{inline}", inline],
            "prompt": "they dance",
            "sound": "on",
            "take": 2,
            "max_units": 9,
            "external_task_id": "mine",
        },
        tmp_path,
    )

    assert row.arguments == {
        "image_list": ["astronaut.png", None, None],
        "prompt": "they dance",
        "sound": "on",
    }


SHOTS = [{"prompt": "She turns", "duration": "2"}, {"prompt": "He waves", "duration": "3"}]
STORYBOARD = {"model_name": "kling-v3", "multi_shot": True, "shot_type": "customize"}

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "one picture": (ONE, {"image": URL, "prompt": "slow zoom", "negative_prompt": "fog"}),
    "several pictures": (
        MANY,
        {"image_list": [URL, URL], "prompt": "they\ndance", "sound": "on"},
    ),
    "shots": (ONE, {"image": URL, **STORYBOARD, "multi_prompt": SHOTS}),
    "no watermark": (ONE, {"image": URL, "prompt": "slow zoom"}),
    "unseen": (ONE, {"image": URL, "prompt": "a caf\u00e9 at night", "negative_prompt": "fog"}),
}

BLANK_SHOTS = [
    {"index": 1, "prompt": " She turns ", "duration": "2"},
    {"index": 2, "prompt": "He waves\r\n", "duration": "3"},
]

WITH_BLANKS: dict[str, dict[str, Any]] = {
    "one picture": {"prompt": "slow zoom \r\n", "negative_prompt": "fog "},
    "several pictures": {"prompt": " they\r\ndance "},
    "shots": {"multi_prompt": BLANK_SHOTS},
    "no watermark": {"watermark_info": {"enabled": False}},
    "unseen": {"prompt": "a cafe\u0301 \u200bat\x00 night", "negative_prompt": "fo\u200bg"},
}

EARLIER_ROWS: dict[str, dict[str, Any]] = {
    "one picture": {
        "digest": "ae0a147fd6928691ebc3ca8dfb0df8a06509707c7bc01fe3bd384a07bdf23379",
        "prompt": "slow zoom \r\n",
        "request": {"prompt": "slow zoom \r\n", "negative_prompt": "fog "},
    },
    "several pictures": {
        "digest": "a5aa48d296270d4a3351b0697bd48958cc7cbfb3c13d39103d75eb1ee9c69c45",
        "prompt": " they\r\ndance ",
        "request": {"prompt": "With <<<image_1>>>, <<<image_2>>>:  they\r\ndance "},
    },
    "shots": {
        "digest": "b42d9126694227d0a9020d5db752724746799c2f81bc905ee0f89b2c16b4621e",
        "prompt": " She turns ",
        "request": {"multi_prompt": BLANK_SHOTS},
    },
    "no watermark": {
        "digest": "d022629e1171e43fa31278b8f75d75f1c6b77b2cebf27e71ea8a4e76784a2501",
        "prompt": "slow zoom",
        "request": {"watermark_info": {"enabled": False}},
    },
    "unseen": {
        "digest": "318135be0ebfef43f23d83a183e32c7644edcbee28b272bfbbc9c4d04788b581",
        "prompt": "a cafe\u0301 \u200bat\x00 night",
        "request": {
            "prompt": "a cafe\u0301 \u200bat\x00 night",
            "negative_prompt": "fo\u200bg",
        },
    },
}
"""What earlier versions wrote for the requests with blanks: they did not tidy texts."""


async def make_earlier(folder: Path, name: str) -> None:
    """Turn the row of the plain request into the one that an earlier version wrote."""
    earlier = EARLIER_ROWS[name]
    ledger = Ledger(folder / "home")
    (row,) = await ledger.page(limit=9, offset=0)
    values = (
        earlier["digest"],
        earlier["prompt"],
        json.dumps({**row.request, **earlier["request"]}),
        json.dumps({**row.arguments, **WITH_BLANKS[name]}),
    )
    await ledger._engine.alone(
        lambda db: db.execute(
            "UPDATE tasks SET digest = ?, prompt = ?, request = ?, arguments = ?", values
        )
    )
    await ledger.close()


@pytest.mark.parametrize("earlier", [False, True], ids=["now", "made by an earlier version"])
@pytest.mark.parametrize("name", sampled(PLAIN, 2))
async def test_what_cannot_change_the_video_makes_no_second_one(
    name: str, earlier: bool, tmp_path: Path
) -> None:
    tool, plain = PLAIN[name]
    blank = {**plain, **WITH_BLANKS[name]}
    async with Client(build_server(sandbox_settings(tmp_path), sleep=no_sleep)) as client:
        made = facts(await client.call_tool(tool, plain))
        if earlier:
            await make_earlier(tmp_path, name)
        dry = facts(await client.call_tool(tool, {**blank, "dry_run": True}))
        again = [facts(await client.call_tool(tool, asked)) for asked in (blank, plain, blank)]
        await client.call_tool("kling_wait_for_tasks", {"task_ids": [made["task_id"]]})
        take = facts(await client.call_tool(tool, {"another_take_of": made["task_id"]}))
        third = facts(await client.call_tool(tool, {**plain, "take": 3}))
        other = facts(await client.call_tool(tool, {**blank, "mode": "pro"}))

    assert made["task_id"] in dry["next"]
    assert {answer["task_id"] for answer in again} == {made["task_id"]}
    assert all(answer["repeated"] for answer in again)
    assert (take["take"], take.get("repeated")) == (2, None)
    assert "Differs" not in take["note"]
    assert (third["take"], third.get("repeated")) == (3, None)
    assert "repeated" not in other


async def test_no_blanks_around_a_text_are_sent(tmp_path: Path) -> None:
    rows = [
        await row_of(PLAIN[name][0], {**PLAIN[name][1], **WITH_BLANKS[name]}, tmp_path / name)
        for name in ("one picture", "several pictures", "shots")
    ]
    plain = [await row_of(*PLAIN[name], tmp_path / f"{name} plain") for name in PLAIN]

    assert [row.request for row in rows] == [row.request for row in plain[:3]]
    assert [row.digest for row in rows] == [row.digest for row in plain[:3]]
