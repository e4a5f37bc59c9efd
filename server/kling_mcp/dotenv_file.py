"""The `.env` of the working folder, and what it must not decide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from kling_tools.errors import NotConfigured

__all__ = ["ENV_ENCODING", "dotenv", "refuse_led_astray"]

ENV_ENCODING = "utf-8-sig"
"""UTF-8, with or without the mark that Notepad writes first."""


def dotenv() -> Mapping[str, str | None]:
    """What the file sets; nothing when there is none. Raises OSError and UnicodeDecodeError."""
    from dotenv import dotenv_values

    return dotenv_values(".env", encoding=ENV_ENCODING)


def refuse_led_astray(given: Mapping[str, Any]) -> None:
    """A `.env` lies in whatever folder a host starts the server in, so it must not decide where a
    key goes that is not its own: also where it sets that key too, since the environment wins."""
    try:
        local = _set(dotenv())
    except (OSError, UnicodeDecodeError):
        return
    elsewhere = _set({**os.environ, **given})
    if "KLING_MCP_DATABASE" in local - elsewhere:
        raise NotConfigured(
            ".env in the working folder sets KLING_MCP_DATABASE.",
            advice="Set it in the environment: otherwise any folder could send all that is asked "
            "for away.",
        )
    keys = {name for name in elsewhere if name.endswith("_API_KEY") or name in PAIR}
    for name in sorted(local - elsewhere):
        if name.endswith("_BASE_URL"):
            owner = name.removesuffix("BASE_URL")
            astray = [key for key in keys if key.startswith(owner)]
        else:
            astray = [*keys] if name == "KLING_MCP_PROVIDERS" else []
        if astray:
            raise NotConfigured(
                f".env in the working folder sets {name}, and {min(astray)} does not come from it.",
                advice="Set both in the same place: otherwise any folder could send the key away.",
            )


PAIR = ("KLING_ACCESS_KEY", "KLING_SECRET_KEY")


def _set(variables: Mapping[str, Any]) -> set[str]:
    """The names of those that are not empty; settings are read in any case of letters."""
    return {name.upper() for name, value in variables.items() if value not in (None, "")}
