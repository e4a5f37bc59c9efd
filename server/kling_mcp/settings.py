"""The settings: environment, then `.env` in the working folder, then the command line.

`kling-mcp --help` shows them all, from the descriptions below.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kling_mcp.providers import BASE_URLS, PROVIDERS, SANDBOX
from kling_tools.errors import NotConfigured

__all__ = ["Settings", "environment_name", "load_settings"]

APP = "kling-mcp"


class Settings(BaseSettings):
    """All settings; `load_settings` makes them.

    Keys are secrets: they do not show in `repr` and cannot be given as options. A field is filled
    by its alias only: by their own names `home` would be the shell's HOME, and so on.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8-sig", extra="ignore", env_ignore_empty=True
    )

    provider: str = Field(
        default="",
        validation_alias="KLING_MCP_PROVIDER",
        description="Provider to use; default: the one with a key, else the sandbox.",
    )
    kling_api_key: SecretStr | None = Field(
        default=None, validation_alias="KLING_API_KEY", description="Kling API key."
    )
    kling_access_key: SecretStr | None = Field(
        default=None,
        validation_alias="KLING_ACCESS_KEY",
        description="Kling access key, together with the secret key instead of an API key.",
    )
    kling_secret_key: SecretStr | None = Field(
        default=None, validation_alias="KLING_SECRET_KEY", description="Kling secret key."
    )
    kling_base_url: str = Field(
        default="global",
        validation_alias="KLING_BASE_URL",
        description="global, china, or a base URL (a sandbox over HTTP, for example).",
    )
    home: Path = Field(
        default_factory=lambda: _platform_folder("user_data_path"),
        validation_alias="KLING_MCP_HOME",
        description="Folder of the ledger and the sandbox; default: the user's data folder.",
    )
    output_dir: Path = Field(
        default_factory=lambda: _platform_folder("user_videos_path"),
        validation_alias="KLING_MCP_OUTPUT_DIR",
        description="Folder that videos are saved in; default: kling-mcp in the user's videos.",
    )
    image_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=lambda: (Path.home(),),
        validation_alias="KLING_MCP_IMAGE_ROOTS",
        description=f"Folders that pictures may come from, separated by {os.pathsep!r}; "
        "default: the home folder.",
    )
    fix_images: bool = Field(
        default=False,
        validation_alias="KLING_MCP_FIX_IMAGES",
        description="Convert pictures that Kling would refuse (WebP, HEIC, too large or small).",
    )
    capabilities: Path | None = Field(
        default=None,
        validation_alias="KLING_MCP_CAPABILITIES",
        description="JSON or TOML file that adds or overrides rows of the capability table.",
    )
    max_units_per_task: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_UNITS_PER_TASK",
        description="Most units that one video may cost.",
    )
    max_units_per_day: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_UNITS_PER_DAY",
        description="Most units of the last 24 hours.",
    )
    sandbox_queue_s: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_SANDBOX_QUEUE_S",
        description="Seconds that a sandbox task is queued.",
    )
    sandbox_render_s: float = Field(
        default=3.0,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_SANDBOX_RENDER_S",
        description="Seconds that a sandbox task is processed.",
    )
    sandbox_faults: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        validation_alias="KLING_MCP_SANDBOX_FAULTS",
        description="Faults of the embedded sandbox, separated by commas (see sandbox --help).",
    )
    log_level: str = Field(
        default="WARNING",
        validation_alias="KLING_MCP_LOG_LEVEL",
        description="DEBUG, INFO, WARNING or ERROR; the log goes to standard error.",
    )

    @field_validator("image_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(Path(part.strip()) for part in value.split(os.pathsep) if part.strip())
        return value

    @field_validator("sandbox_faults", mode="before")
    @classmethod
    def _split_faults(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("kling_api_key", "kling_access_key", "kling_secret_key")
    @classmethod
    def _one_word(cls, value: SecretStr | None) -> SecretStr | None:
        key = value.get_secret_value().strip() if value else ""
        if not all("!" <= character <= "~" for character in key):
            raise ValueError("must be the bare key: one word of ASCII characters")
        return SecretStr(key) if key else None

    @field_validator("home", "output_dir", "capabilities")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return _at_home(value) if value else value

    @field_validator("image_roots")
    @classmethod
    def _expand_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(_at_home(path) for path in value)

    @field_validator("sandbox_faults")
    @classmethod
    def _known_faults(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            from kling_mcp.sandbox import parse_faults

            parse_faults(value)
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("kling_base_url")
    @classmethod
    def _region_or_url(cls, value: str) -> str:
        url = BASE_URLS.get(value.strip().lower(), value.strip()).rstrip("/")
        if not _is_base_url(url):
            raise ValueError(
                f"must be {', '.join(BASE_URLS)} or an http(s) URL without user, query or fragment"
            )
        return url

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        name = value.strip().lower()
        if name and name not in PROVIDERS:
            raise ValueError(f"must be one of {', '.join(PROVIDERS)}")
        return name

    def has_key(self) -> bool:
        """Whether there is a key for Kling's official API."""
        return bool(self.kling_api_key or (self.kling_access_key and self.kling_secret_key))

    def chosen_provider(self) -> str:
        """The provider of this process.

        Raises NotConfigured when it needs a key that is missing.
        """
        if self.provider == SANDBOX:
            return SANDBOX
        if (self.kling_access_key is None) is not (self.kling_secret_key is None):
            missing = "KLING_SECRET_KEY" if self.kling_access_key else "KLING_ACCESS_KEY"
            if not self.kling_api_key:
                raise NotConfigured(
                    f"{missing} is missing: the access key and the secret key work as a pair.",
                    advice="Set both, or KLING_API_KEY, or KLING_MCP_PROVIDER=sandbox to try "
                    "everything without a key.",
                )
        if self.has_key():
            return "kling"
        if self.provider:
            raise NotConfigured(
                f"KLING_MCP_PROVIDER is {self.provider}, and there is no key for it.",
                advice="Set KLING_API_KEY (or KLING_ACCESS_KEY and KLING_SECRET_KEY), or leave "
                "KLING_MCP_PROVIDER out to try everything in the sandbox.",
            )
        return SANDBOX


def load_settings(**options: Any) -> Settings:
    """The settings; `options`, by the names of the fields, win over all else.

    Raises NotConfigured, naming every setting that cannot be used, never a secret.
    """
    given = {environment_name(name): value for name, value in options.items()}
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = "; ".join(
            f"{detail['loc'][0]}: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_input=False, include_url=False)
        )
    except UnicodeDecodeError:
        faults = ".env: is not UTF-8 text"
    except (OSError, RuntimeError) as error:
        faults = str(error)
    raise NotConfigured(
        f"Settings that cannot be used: {faults}.",
        advice="kling-mcp --help describes every setting.",
    )


def environment_name(name: str) -> str:
    """The variable that a field of `Settings` is read from; KeyError for any other name."""
    return str(Settings.model_fields[name].validation_alias)


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder {path.parts[0]}") from None


def _is_base_url(url: str) -> bool:
    """Whether paths can be added to it and it can be put on the wire."""
    try:
        parts = urlsplit(url)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        known = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return False
    return known and plain and bool(parts.hostname) and not any(c.isspace() for c in url)


def _platform_folder(kind: str) -> Path:
    import platformdirs

    if kind == "user_videos_path":
        return platformdirs.user_videos_path() / APP
    return platformdirs.user_data_path(APP, appauthor=False)
