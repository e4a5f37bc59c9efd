"""docs/settings.md: every setting, made from the classes that read them."""

from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tests.docs.pages import table

from kling_mcp.hosting.team_settings import HostSettings
from kling_mcp.settings.settings import Settings

__all__ = ["host_reference", "reference"]


def reference() -> str:
    """The settings of every server."""
    rows = [(*_row(field), _option(name, field)) for name, field in Settings.model_fields.items()]
    return "\n" + table(("variable", "what it does", "default", "option"), rows) + "\n"


def host_reference() -> str:
    """The settings that only a server for a team has."""
    rows = [_row(field) for field in HostSettings.model_fields.values()]
    return "\n" + table(("variable", "what it does", "default"), rows) + "\n"


def _row(field: FieldInfo) -> tuple[str, str, str]:
    secret = "Secret. " if _is_secret(field) else ""
    return f"`{field.validation_alias}`", secret + (field.description or ""), _default(field)


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _option(name: str, field: FieldInfo) -> str:
    return "" if _is_secret(field) else f"`--{name.replace('_', '-')}`"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value in (None, "", (), PydanticUndefined):
        return ""
    words = ", ".join(value) if isinstance(value, tuple) else f"{value}"
    return f"`{words.lower() if isinstance(value, bool) else words}`"
