"""Who is compared: how each is installed, started, set up, and asked for a video.

Each has the settings that its own documents give for such a use, and its list of tools as it is
published. What each is asked for is the nearest that it has to this: a video of a picture that lies
at an https address, submitted without waiting for its end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.conversation import Conversation
from benchmarks.peers.provider import Address
from kling_mcp.version import __version__

__all__ = ["CONTENDERS", "OURS", "Contender", "Place", "filled"]

OURS = "kling-mcp"
PICTURE = "https://pictures.example/photo.jpg"


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is: the folder of the installed packages, and Node."""

    folder: Path
    node: str


@dataclass(frozen=True, slots=True)
class Contender:
    """One server. `settings` has the base URL as `{url}` (`{secured}` is the HTTPS one, whose
    certificate `{authority}` vouches for) and a folder of its own as `{folder}`; `program` is the
    installed program below the place's folder, `extra` the part of the package that makes it a
    server, and `python` the oldest version that it starts with, where that is newer than 3.11;
    `submit` and `wait` are tools with their arguments, `{prompt}` and `{task}` being filled
    in."""

    name: str
    version: str
    registry: str
    dialect: str
    program: str
    settings: Mapping[str, str]
    submit: tuple[str, Mapping[str, Any]]
    wait: tuple[str, Mapping[str, Any]]
    waits: str
    extra: str = ""
    python: str = ""

    def command(self, place: Place) -> list[str]:
        """The words that start it."""
        if self.name == OURS:
            return [sys.executable, "-m", "kling_mcp"]
        program = str(place.folder / self.program)
        return [place.node, program] if self.registry == "npm" else [program]

    def environment(self, address: Address, folder: Path) -> dict[str, str]:
        """Its settings, for a provider at this address and a folder of its own."""
        filled = {
            "url": f"{address.plain}/{self.dialect}",
            "secured": address.secured,
            "authority": address.authority,
            "folder": str(folder),
        }
        return {name: value.format(**filled) for name, value in self.settings.items()}

    def start(self, place: Place, address: Address, folder: Path) -> Conversation:
        """Start it against the provider at this address, with a part of the folder to itself."""
        own = folder / self.dialect
        own.mkdir(parents=True, exist_ok=True)
        return Conversation(self.command(place), self.environment(address, own), own)


def filled(call: tuple[str, Mapping[str, Any]], **words: str) -> tuple[str, dict[str, Any]]:
    """A tool and its arguments with the words put in."""
    tool, arguments = call
    return tool, {name: _put(value, words) for name, value in arguments.items()}


def _put(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _put(item, words) for name, item in value.items()}
    if isinstance(value, list):
        return [_put(item, words) for item in value]
    return value.format(**words) if isinstance(value, str) else value


CONTENDERS = (
    Contender(
        name=OURS,
        version=__version__,
        registry="this tree",
        dialect="kling",
        program="",
        settings={
            "KLING_API_KEY": "x",
            "KLING_BASE_URL": "{url}",
            "KLING_MCP_HOME": "{folder}/home",
            "KLING_MCP_OUTPUT_DIR": "{folder}/videos",
        },
        submit=("kling_image_to_video", {"image": PICTURE, "prompt": "{prompt}"}),
        wait=("kling_wait_for_tasks", {"task_ids": ["{task}"]}),
        waits="kling_wait_for_tasks",
    ),
    Contender(
        name="mcp-kling",
        version="2026.10.24.0",
        registry="PyPI",
        dialect="ace",
        program="mcp-kling/bin/mcp-kling",
        settings={"ACEDATACLOUD_API_TOKEN": "x", "ACEDATACLOUD_API_BASE_URL": "{url}"},
        submit=(
            "kling_generate_video_from_image",
            {"start_image_url": PICTURE, "prompt": "{prompt}", "model": "kling-v2-5-turbo"},
        ),
        wait=("kling_get_task", {"task_id": "{task}"}),
        waits="",
    ),
    Contender(
        name="minimax-mcp",
        version="0.0.19",
        registry="PyPI",
        dialect="minimax",
        program="minimax-mcp/bin/minimax-mcp",
        settings={
            "MINIMAX_API_KEY": "x",
            "MINIMAX_API_HOST": "{url}",
            "MINIMAX_MCP_BASE_PATH": "{folder}",
        },
        submit=(
            "generate_video",
            {
                "model": "I2V-01",
                "first_frame_image": PICTURE,
                "prompt": "{prompt}",
                "async_mode": True,
            },
        ),
        wait=("generate_video", {"model": "T2V-01", "prompt": "{prompt}"}),
        waits="generate_video without async_mode",
    ),
    Contender(
        name="@felores/kie-ai-mcp-server",
        version="5.0.0",
        registry="npm",
        dialect="kie",
        program="kie/node_modules/@felores/kie-ai-mcp-server/dist/index.js",
        settings={
            "KIE_AI_API_KEY": "x",
            "KIE_AI_BASE_URL": "{url}",
            "KIE_AI_DB_PATH": "{folder}/tasks.db",
            "KIE_AI_ALLOW_DIRECT_GENERATION": "true",
        },
        submit=("kling_video", {"image_urls": [PICTURE], "prompt": "{prompt}"}),
        wait=("wait_for_task", {"task_id": "{task}"}),
        waits="wait_for_task",
    ),
    Contender(
        name="sanzaru",
        version="0.14.1",
        registry="PyPI",
        extra="all",
        python="3.12",
        dialect="higgsfield",
        program="sanzaru/bin/sanzaru",
        settings={
            "OPENAI_API_KEY": "x",
            "HF_KEY": "x:x",
            "HIGGSFIELD_BASE_URL": "{url}",
            "SANZARU_MEDIA_PATH": "{folder}/media",
        },
        submit=(
            "create_video",
            {
                "model": "kling-video/v3.0/std/image-to-video",
                "prompt": "{prompt}",
                "extra": {"image_url": PICTURE},
            },
        ),
        wait=("wait_for", {"ids": ["hf_{task}"]}),
        waits="wait_for",
    ),
    Contender(
        name="hoobnn-minimax-mcp",
        version="0.3.0",
        registry="PyPI",
        dialect="minimax-h3",
        program="hoobnn-minimax-mcp/bin/hoobnn-minimax-mcp",
        settings={
            "MINIMAX_API_KEY": "x",
            "MINIMAX_API_HOST": "{secured}",
            "MINIMAX_OUT_DIR": "{folder}/videos",
            "MINIMAX_JOB_DIR": "{folder}/jobs",
            "SSL_CERT_FILE": "{authority}",
        },
        submit=("generate_video", {"first_frame": PICTURE, "prompt": "{prompt}"}),
        wait=("get_job", {"task_id": "{task}", "wait": 90}),
        waits="get_job",
    ),
)
