"""Reads and cleans the variables and files of settings.

Spaces, line ends and quotation marks around a value are removed. A placeholder that nobody replaced
(`null`, `${env:KLING_API_KEY}`, `your-api-key-here`) counts as not set. Only a regular file of at
most 100 kB is read: a named pipe would wait for its writer.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_tools.rules.capabilities import Capabilities

__all__ = [
    "ENV_FILE",
    "LOCAL",
    "LOCAL_MAY_SET",
    "EnvFileFault",
    "Environment",
    "Remark",
    "RowFileFault",
    "UnusableEnvFile",
    "cleaned",
    "read_capabilities",
    "read_env_file",
    "read_environment",
    "read_row_file",
]


LOCAL = Path(".env")
"""In the working folder, which may belong to another program or to a stranger."""

LIMIT_BYTES = 100_000

ENCODING = "utf-8-sig"
"""UTF-8, with or without the mark that Notepad writes first."""


class EnvFileFault(Exception):
    """A file cannot be read. The text completes a sentence that begins "the file …"."""


def read_env_file(path: Path, *, fill_in: bool = False) -> Mapping[str, str]:
    """The variables of a file. With `fill_in`, `${NAME}` is replaced from the environment. Raises
    EnvFileFault, and FileNotFoundError when the file does not exist."""
    try:
        text = _bytes_of(path).decode(ENCODING)
    except UnicodeDecodeError:
        raise EnvFileFault("is not UTF-8 text") from None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise EnvFileFault(f"cannot be read ({getattr(error, 'strerror', error)})") from None
    from dotenv import dotenv_values

    found = dotenv_values(stream=io.StringIO(text), interpolate=fill_in)
    return {name: value or "" for name, value in found.items()}


def _bytes_of(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise EnvFileFault("is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise EnvFileFault("is not a regular file")
        data = file.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise EnvFileFault("has more than 100 kB")
    return data


ENV_FILE = "KLING_MCP_ENV_FILE"

LOCAL_MAY_SET = frozenset(
    {
        "KLING_MCP_CONFIRM_ABOVE_UNITS",
        "KLING_MCP_FIX_IMAGES",
        "KLING_MCP_LOG_LEVEL",
        "KLING_MCP_MAX_IMAGE_UNITS_PER_DAY",
        "KLING_MCP_MAX_IMAGE_UNITS_PER_TASK",
        "KLING_MCP_MAX_UNITS_PER_DAY",
        "KLING_MCP_MAX_UNITS_PER_TASK",
        "KLING_MCP_MAX_USD_PER_DAY",
        "KLING_MCP_MAX_USD_PER_TASK",
        "KLING_MCP_POSTER",
        "KLING_MCP_SANDBOX_FAULTS",
        "KLING_MCP_SANDBOX_QUEUE_S",
        "KLING_MCP_SANDBOX_RENDER_S",
        "KLING_MCP_SANDBOX_SIDE_PX",
        "KLING_MCP_SANDBOX_SLOTS",
        "KLING_MCP_SAVE",
    }
)
"""The settings that a `.env` in the working folder may set. None decides where data goes, which
provider is used, or which files may be read. A cap counts only when no other is set, so it can only
lower spending."""

LOCAL_PROVIDER = ("KLING_MCP_PROVIDER", "sandbox")
"""The only provider that it may name: nothing leaves the machine and nothing is spent."""

SEPARATORS = {
    "KLING_MCP_IMAGE_ROOTS": os.pathsep,
    "KLING_MCP_SAVE_ROOTS": os.pathsep,
    "KLING_MCP_SANDBOX_FAULTS": ",",
    "KLING_MCP_ALLOWED_HOSTS": ",",
    "KLING_MCP_ALLOWED_ORIGINS": ",",
    "KLING_MCP_TRUSTED_PROXIES": ",",
}
"""Settings that are lists. Items that are placeholders are left out."""

NONE_IS_A_VALUE = {"KLING_MCP_TOOLS": ("none", "nil")}
"""Words that stand for "not set" elsewhere. In a list of what is allowed they mean that nothing is,
so they are refused like any unknown name."""

_PLACEHOLDER = re.compile(
    r"""null | none | nil | undefined | todo | tbd
      | <[^<>]*> | \[[A-Za-z][\w .-]*\]
      | (?:https?://|sk-)? (?:your|insert|enter|paste|put)
        (?=[-_ .].*(?:key|token|secret|here|gateway|host)) [\w .,:/-]*
      | [\w -]*[-_ ]here
      | (?:sk-)? (?: x{3,} | \*{3,} | \.{3,} | … )
      | (?:change|replace)[-_ ]?(?:me|this)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_VARIABLE = re.compile(r"\$\{[^{}]*\}|\{\{[^{}]*\}\}|^(?:\$[A-Za-z_]\w*|%[A-Za-z_]\w*%)(?:$|[/\\])")
SPACES, QUOTATION_MARKS = "spaces", "quotation marks"
_AROUND = "\ufeff\u200b"
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”"}
_TEXT_LIMIT = 200
"""Most characters of a placeholder."""


class UnusableEnvFile(NotConfigured):
    """For whoever runs the server: the named file of settings cannot be read."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What was left out of a variable ("" for a whole file), in sentences without values;
    `harmless` when the variable is still used."""

    variable: str
    text: str
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """Cleaned `values` by upper-case name, the `origins` of each, and `remarks` about what was left
    out."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


def read_environment(named: str | Path = "") -> Environment:
    """The variables of the process, then those of a file. A file that is `named`, or that
    KLING_MCP_ENV_FILE names, may set everything; otherwise the `.env` of the working folder may set
    LOCAL_MAY_SET. Raises UnusableEnvFile when a named file cannot be read.
    """
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    remarks: list[Remark] = []

    def take(variables: Mapping[str, str], origin: str) -> None:
        for name, text in sorted(variables.items()):
            upper = name.upper()
            if not _is_setting(upper) or upper in values:
                continue
            value, left_out = cleaned(upper, text)
            if value:
                values[upper], origins[upper] = value, origin
            if left_out in (SPACES, QUOTATION_MARKS):
                text = f"{upper} has {left_out} around it, which are ignored."
                remarks.append(Remark(upper, text, harmless=True))
            elif left_out:
                rest = "the rest of it is used" if value else "it counts as not set"
                remarks.append(Remark(upper, f"{upper} contains {left_out} ({origin}): {rest}."))

    take(os.environ, "the environment")
    file = str(named) or values.get(ENV_FILE, "")
    if file:
        take(_named_file(file), str(Path(file).expanduser().absolute()))
        return Environment(values, origins, tuple(remarks))
    try:
        local = {name.upper(): text for name, text in read_env_file(LOCAL).items()}
    except FileNotFoundError:
        local = {}
    except EnvFileFault as fault:
        local = {}
        text = f".env in the working folder {fault}, so it is ignored."
        remarks.append(Remark("", text))
    refused = {
        name
        for name, text in local.items()
        if _is_setting(name) and cleaned(name, text)[0] and not _may_be_local(name, text)
    }
    take({name: local[name] for name in local.keys() - refused}, str(LOCAL.absolute()))
    remarks += [
        Remark(
            name,
            f".env in the working folder may not set {name}, so it is ignored. Set it in the "
            f"environment, or set {ENV_FILE} to the file's path.",
        )
        for name in sorted(refused - values.keys())
    ]
    return Environment(values, origins, tuple(remarks))


def cleaned(name: str, text: str) -> tuple[str, str]:
    """The cleaned value (empty for not set), and a description of what was left out."""
    value = text.strip().strip(_AROUND).strip()
    left_out = SPACES if value != text and value else ""
    while len(value) > 1 and _QUOTES.get(value[0]) == value[-1]:
        value, left_out = value[1:-1].strip(), QUOTATION_MARKS
    separator = SEPARATORS.get(name)
    if value.lower() in NONE_IS_A_VALUE.get(name, ()):
        return value, left_out
    if separator is None:
        placeholder = _placeholder(value)
        return ("", placeholder) if placeholder else (value, left_out if value else "")
    pattern = rf"(?:\$\{{[^{{}}]*\}}|[^{re.escape(separator)}])+"
    parts = [part for part in map(str.strip, re.findall(pattern, value)) if part]
    kept = [part for part in parts if not _placeholder(part)]
    dropped = next(filter(None, map(_placeholder, parts)), "")
    return separator.join(kept), dropped or (left_out if kept else "")


def _placeholder(text: str) -> str:
    """A description of a placeholder; empty for a real value."""
    if len(text) > _TEXT_LIMIT:
        return ""
    if _VARIABLE.search(text):
        return "the name of a variable that nobody filled in"
    return "a placeholder" if _PLACEHOLDER.fullmatch(text) else ""


def _is_setting(name: str) -> bool:
    return name.startswith("KLING_") or name.endswith(("_API_KEY", "_BASE_URL"))


def _may_be_local(name: str, text: str) -> bool:
    return name in LOCAL_MAY_SET or (name, cleaned(name, text)[0].lower()) == LOCAL_PROVIDER


def _named_file(file: str) -> Mapping[str, str]:
    try:
        return read_env_file(Path(file).expanduser(), fill_in=True)
    except FileNotFoundError:
        fault = "does not exist"
    except EnvFileFault as error:
        fault = str(error)
    except RuntimeError:
        fault = "lies in a home folder that does not exist"
    raise UnusableEnvFile(
        f"KLING_MCP_ENV_FILE names {file}, which {fault}.",
        advice="It must be a UTF-8 text file with one line NAME=value per setting.",
    )


class RowFileFault(Exception):
    """The file cannot be used; the text says why."""


def read_row_file(path: Path) -> Mapping[str, Any]:
    """The table in a file: TOML when its name ends in .toml, else JSON.

    Raises RowFileFault when the file cannot be read or contains no table.
    """
    import tomllib

    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise RowFileFault(str(error)) from error
    if not isinstance(rows, Mapping):
        raise RowFileFault("it contains no table")
    return rows


def read_capabilities(path: Path | None, *, previews: bool = False) -> Capabilities:
    """The built-in table with the rows of the user's JSON or TOML file; raises NotConfigured. It
    turns on all `previews`, or those that the file names."""
    from kling_tools.rules.capabilities import built_in_capabilities

    table = built_in_capabilities().with_previews(None if previews else ())
    if path is None:
        return table
    try:
        rows = read_row_file(path)
        named = rows.get("models")
        table = table.with_previews(named if isinstance(named, Mapping) else ())
        return table.overridden(rows)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
        ]
        reason = "; ".join(faults)
    except RowFileFault as fault:
        reason = str(fault)
    raise NotConfigured(
        f"KLING_MCP_CAPABILITIES names {path}, which cannot be used: {reason}.",
        advice="It has the shape of kling_tools/rules/capabilities.json; name only what differs.",
    )
