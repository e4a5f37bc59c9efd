"""The settings: from the command line, the environment, a named file, and partly from a `.env`.

`kling-mcp --help` shows them all, from the descriptions below.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from kling_mcp.settings.environment import (
    ENV_FILE,
    LOCAL,
    Environment,
    Remark,
    cleaned,
    read_environment,
)
from kling_tools.errors import NotConfigured
from kling_tools.requests.host_habits import LONGEST_WAIT_S
from kling_tools.requests.times import zone_named

__all__ = ["Settings", "environment_name", "known_folders", "load_settings", "validated"]

APP = "kling-mcp"

CAPS = ("KLING_MCP_MAX_", "KLING_MCP_CONFIRM_")
"""Prefixes of the settings that limit spending."""

Some = TypeVar("Some", bound=BaseModel)

HELP = "kling-mcp --help describes every setting."

LEVELS = {level: level for level in ("DEBUG", "INFO", "WARNING", "ERROR")} | {
    "TRACE": "DEBUG",
    "WARN": "WARNING",
    "FATAL": "ERROR",
    "CRITICAL": "ERROR",
}
"""Log levels, including the words of other programs."""


class Settings(BaseModel):
    """All settings; `load_settings` makes them.

    Keys are secrets: `repr` hides them, and they cannot be options. A field is read by its alias
    only; by its own name, `home` would read the shell's HOME.
    """

    _environment: Environment = PrivateAttr(default_factory=Environment)

    provider: str = Field(
        default="",
        validation_alias="KLING_MCP_PROVIDER",
        description="Provider to use, or auto for the cheapest able one of known price; default: "
        "the one with a key, else the sandbox.",
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
        description="global, china, sandbox, or a base URL (a sandbox over HTTP, for example).",
    )
    cometapi_api_key: SecretStr | None = Field(
        default=None, validation_alias="COMETAPI_API_KEY", description="CometAPI key."
    )
    cometapi_base_url: str = Field(
        default="",
        validation_alias="COMETAPI_BASE_URL",
        description="Base URL instead of CometAPI's own, or sandbox.",
    )
    anyfast_api_key: SecretStr | None = Field(
        default=None, validation_alias="ANYFAST_API_KEY", description="AnyFast key."
    )
    anyfast_base_url: str = Field(
        default="",
        validation_alias="ANYFAST_BASE_URL",
        description="Base URL instead of AnyFast's own, or sandbox.",
    )
    powertokens_api_key: SecretStr | None = Field(
        default=None, validation_alias="POWERTOKENS_API_KEY", description="PowerTokens key."
    )
    powertokens_base_url: str = Field(
        default="",
        validation_alias="POWERTOKENS_BASE_URL",
        description="Base URL instead of PowerTokens' own, or sandbox.",
    )
    newapi_api_key: SecretStr | None = Field(
        default=None,
        validation_alias="NEWAPI_API_KEY",
        description="Key of a stock new-api gateway, with its base URL.",
    )
    newapi_base_url: str = Field(
        default="",
        validation_alias="NEWAPI_BASE_URL",
        description="Base URL of a stock new-api gateway, or sandbox.",
    )
    standard: Literal["auto", "legacy", "new"] = Field(
        default="auto",
        validation_alias="KLING_MCP_STANDARD",
        description="Standard of requests to Kling itself: legacy, new (takes an API key), or "
        "auto: legacy where it has all that a request needs; default: auto.",
    )
    providers: Path | None = Field(
        default=None,
        validation_alias="KLING_MCP_PROVIDERS",
        description="JSON or TOML file that adds or changes rows of the provider table; a row NAME "
        "takes its key from NAME_API_KEY.",
    )
    home: Path = Field(
        default_factory=lambda: _platform_folder("user_data_path"),
        validation_alias="KLING_MCP_HOME",
        description="Folder of the ledger and the sandbox; default: the user's data folder.",
    )
    database: SecretStr | None = Field(
        default=None,
        validation_alias="KLING_MCP_DATABASE",
        description="Ledger in PostgreSQL instead, for several servers: "
        "postgresql://user:password@host/name.",
    )
    output_dir: Path = Field(
        default_factory=lambda: _platform_folder("user_videos_path"),
        validation_alias="KLING_MCP_OUTPUT_DIR",
        description="Folder that videos are saved in; default: kling-mcp in the user's videos.",
    )
    save_roots: tuple[Path, ...] = Field(
        default_factory=lambda: tuple(dict.fromkeys(known_folders().values())),
        validation_alias="KLING_MCP_SAVE_ROOTS",
        description="Further folders that videos may be saved in by name, separated by "
        f"{os.pathsep!r}, or off; default: desktop, downloads, videos and pictures, and the "
        "picture's own folder.",
    )
    image_roots: tuple[Path, ...] = Field(
        default_factory=lambda: (Path.home(),),
        validation_alias="KLING_MCP_IMAGE_ROOTS",
        description=f"Folders that pictures may come from, separated by {os.pathsep!r}; "
        "default: the home folder.",
    )
    fix_images: bool = Field(
        default=True,
        validation_alias="KLING_MCP_FIX_IMAGES",
        description="Convert pictures that Kling would refuse or show differently (HEIC, WebP, too "
        "large or small, turned by EXIF, transparent); default: true.",
    )
    timezone: str = Field(
        default="",
        validation_alias="KLING_MCP_TIMEZONE",
        description="Time zone of dates, such as Europe/Berlin or +01:00; default: this "
        "computer's.",
    )
    capabilities: Path | None = Field(
        default=None,
        validation_alias="KLING_MCP_CAPABILITIES",
        description="JSON or TOML file that adds or overrides rows of the capability table.",
    )
    models_preview: bool = Field(
        default=False,
        validation_alias="KLING_MCP_MODELS_PREVIEW",
        description="Offer models that Kling has not published yet, at prices that nobody knows "
        "(kling-4.0).",
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
    max_image_units_per_task: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_IMAGE_UNITS_PER_TASK",
        description="Most image units that the pictures of one request may cost; each also counts "
        "as a fortieth of a unit.",
    )
    max_image_units_per_day: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_IMAGE_UNITS_PER_DAY",
        description="Most image units of the last 24 hours.",
    )
    max_usd_per_task: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_USD_PER_TASK",
        description="Most US dollars that one video may cost.",
    )
    max_usd_per_day: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_USD_PER_DAY",
        description="Most US dollars of the last 24 hours: what balances paid, and units at their "
        "price.",
    )
    queue_hours: float = Field(
        default=24.0,
        gt=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_QUEUE_HOURS",
        description="Hours that a request waits here for a free slot before it is withdrawn.",
    )
    confirm_above_units: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_CONFIRM_ABOVE_UNITS",
        description="Ask the person before a video that costs more units than this.",
    )
    save: bool = Field(
        default=True,
        validation_alias="KLING_MCP_SAVE",
        description="Save each finished video automatically; default: true, and false for "
        "serve --http.",
    )
    tools: tuple[str, ...] = Field(
        default=("all",),
        validation_alias="KLING_MCP_TOOLS",
        description="Tools that are offered: all, core, edit, images, film, assets, or names of "
        "tools, separated by commas.",
    )
    read_only: bool = Field(
        default=False,
        validation_alias="KLING_MCP_READ_ONLY",
        description="Offer no tool that spends money.",
    )
    wait_s: int | None = Field(
        default=None,
        ge=1,
        le=LONGEST_WAIT_S,
        validation_alias="KLING_MCP_WAIT_S",
        description="Most seconds of one wait; default: 900 in Claude Code, else 50 unless the "
        "caller asks for more.",
    )
    poster: bool = Field(
        default=False,
        validation_alias="KLING_MCP_POSTER",
        description="Answers about a saved video carry a small picture of it (60 kB) and a link.",
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
    sandbox_side_px: int = Field(
        default=2160,
        ge=2,
        multiple_of=2,
        validation_alias="KLING_MCP_SANDBOX_SIDE_PX",
        description="Most pixels of the shorter side of a sandbox video; with 300, one is made "
        "five times as fast.",
    )
    sandbox_slots: int = Field(
        default=20,
        ge=1,
        validation_alias="KLING_MCP_SANDBOX_SLOTS",
        description="Tasks that the embedded sandbox runs at once before it answers 1303.",
    )
    sandbox_faults: tuple[str, ...] = Field(
        default=(),
        validation_alias="KLING_MCP_SANDBOX_FAULTS",
        description="Faults of the embedded sandbox, separated by commas (see sandbox --help).",
    )
    env_file: Path | None = Field(
        default=None,
        validation_alias="KLING_MCP_ENV_FILE",
        description="File of trusted settings, one NAME=value per line; default: .env in the "
        "working folder, which may set only a few (docs/settings.md).",
    )
    log_level: str = Field(
        default="WARNING",
        validation_alias="KLING_MCP_LOG_LEVEL",
        description="DEBUG, INFO, WARNING or ERROR; the log goes to standard error.",
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone_named(value)
        return value

    @field_validator("image_roots", "save_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "save_roots" and str(value).strip().lower() == "off":
            return ()
        if isinstance(value, str):
            return tuple(Path(part.strip()) for part in value.split(os.pathsep) if part.strip())
        return value

    @field_validator("sandbox_faults", "tools", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "kling_api_key",
        "kling_access_key",
        "kling_secret_key",
        "cometapi_api_key",
        "anyfast_api_key",
        "powertokens_api_key",
        "newapi_api_key",
    )
    @classmethod
    def _one_word(cls, value: SecretStr | None) -> SecretStr | None:
        key = _bare_key(value.get_secret_value()) if value else ""
        return SecretStr(key) if key else None

    @field_validator("home", "output_dir", "capabilities", "providers")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return _at_home(value) if value else value

    @field_validator("image_roots", "save_roots")
    @classmethod
    def _expand_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(_at_home(path) for path in value)

    @field_validator("sandbox_faults")
    @classmethod
    def _known_faults(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            from kling_sandbox import parse_faults

            parse_faults(value)
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        level = LEVELS.get(value.strip().upper())
        if level is None:
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return level

    @field_validator("provider", "standard", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() if isinstance(value, str) else value

    def key_of(self, variable: str) -> str | None:
        """The API key in this variable; None when it is not set. Also reads the variable of a
        provider that the user has added.

        Raises NotConfigured for a key that cannot be sent.
        """
        known = getattr(self, variable.lower(), None)
        if isinstance(known, SecretStr):
            return known.get_secret_value()
        if variable.lower() in type(self).model_fields:
            return None
        try:
            return _bare_key(self.variable(variable)) or None
        except ValueError as error:
            raise _unusable(f"{variable}: {error}") from None

    def base_url_of(self, variable: str) -> str:
        """The base URL in this variable; empty when it is not set."""
        name = variable.lower()
        if name in type(self).model_fields:
            return str(getattr(self, name)).strip()
        return self.variable(variable)

    def variable(self, variable: str) -> str:
        """The cleaned value of a variable, from the environment or the file; empty when not set."""
        return self._environment.values.get(variable, "")

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What was left out of our variables, and why."""
        return tuple(
            remark
            for remark in self._environment.remarks
            if remark.variable.lower() in ("", *type(self).model_fields)
            or remark.variable.startswith("KLING_")
        )

    def remarks_on(self, *variables: str) -> tuple[Remark, ...]:
        """What was left out of these variables, including those of a provider that the user has
        added."""
        return tuple(r for r in self._environment.remarks if r.variable in variables)

    def origin_of(self, variable: str) -> str:
        """The origin of a variable: "the environment", the path of a file, or ""."""
        return self._environment.origins.get(variable, "")


def load_settings(**options: Any) -> Settings:
    """The settings. `options`, by field name, override everything else.

    Raises NotConfigured, which names every unusable setting and never shows a secret.
    """
    given = {environment_name(name): value for name, value in options.items()}
    for name, value in [*given.items()]:
        if isinstance(value, str):
            given[name] = cleaned(name, value)[0]
            if not given[name]:
                del given[name]
    environment = read_environment(given.get(ENV_FILE) or "")
    known = {environment_name(name) for name in Settings.model_fields}
    own = {name: value for name, value in environment.values.items() if name in known}
    unusable = sorted(name for name in own if _is_stray(name, environment) and not _fits(name, own))
    remarks = [
        Remark(name, f"{name} in .env of the working folder cannot be used, so it is ignored.")
        for name in unusable
    ]
    environment = replace(environment, remarks=(*environment.remarks, *remarks))
    usable = {name: value for name, value in own.items() if name not in unusable}
    settings = validated(Settings, usable | given)
    settings._environment = environment
    return settings


def _is_stray(name: str, environment: Environment) -> bool:
    """Whether the variable comes from the .env of the working folder and is no cap. Anybody may
    have put that file there, so a wrong value in it must not stop the server; a wrong cap must."""
    return environment.origins.get(name) == str(LOCAL.absolute()) and not name.startswith(CAPS)


def _fits(name: str, values: Mapping[str, str]) -> bool:
    try:
        Settings.model_validate({name: values[name]})
    except ValidationError:
        return False
    return True


def validated(model: type[Some], values: Mapping[str, Any], advice: str = HELP) -> Some:
    """The model with these values. Raises NotConfigured with the name of each unusable value and
    the reason. Neither the error nor its cause contains the value."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            ": ".join([*map(str, detail["loc"][:1]), detail["msg"].removeprefix("Value error, ")])
            for detail in error.errors(include_input=False, include_url=False)
        )
    except (OSError, RuntimeError) as error:
        faults = str(error)
    raise _unusable(faults, advice)


def _unusable(faults: str, advice: str = HELP) -> NotConfigured:
    return NotConfigured(f"These settings cannot be used: {faults}.", advice=advice)


def _bare_key(text: str) -> str:
    key = text.strip()
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("must be the bare key: one word of ASCII characters")
    return key


def environment_name(name: str) -> str:
    """The environment variable of a field of `Settings`. Raises KeyError for any other name."""
    return str(Settings.model_fields[name].validation_alias)


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"the home folder {path.parts[0]} does not exist") from None


FOLDER_WORDS = {
    "user_desktop_path": ("desktop", "desk"),
    "user_downloads_path": ("downloads", "download"),
    "user_videos_path": ("videos", "movies"),
    "user_pictures_path": ("pictures", "photos"),
}
"""The words for a person's own folders, besides the folders' own names."""


def known_folders() -> dict[str, Path]:
    """The folders of the person for desktop, downloads, videos and pictures, by each word for them
    in lower case. They need not exist."""
    import platformdirs

    folders: dict[str, Path] = {}
    for kind, words in FOLDER_WORDS.items():
        folder: Path = getattr(platformdirs, kind)()
        for word in (*words, folder.name.casefold()):
            folders.setdefault(word, folder)
    return folders


def _platform_folder(kind: str) -> Path:
    import platformdirs

    if kind == "user_videos_path":
        return platformdirs.user_videos_path() / APP
    return platformdirs.user_data_path(APP, appauthor=False)
