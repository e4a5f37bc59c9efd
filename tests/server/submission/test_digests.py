"""What the ledger keeps of a request: rows of earlier versions are found again by their digests."""

import base64
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.server.scripted import facts, words
from tests.server.serving import sandbox_settings

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
    """The ledger's row of this call."""
    settings = sandbox_settings(folder, image_roots=[PICTURES])
    async with Client(build_server(settings)) as client:
        answer = await client.call_tool(tool, arguments)
        assert not answer.is_error, words(answer)
    ledger = Ledger(settings.home)
    row = await ledger.find(facts(answer)["task_id"])
    await ledger.close()
    assert row is not None
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
