"""The settings of a server for a team; `serve --http` reads them beside the others."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from kling_mcp.settings.environment import read_environment
from kling_mcp.settings.settings import validated

__all__ = ["HostSettings", "is_private_way", "is_this_machine", "load_host_settings"]

SECRET_LENGTH = 32

USUAL_PORTS = {"https": 443, "http": 80}


class HostSettings(BaseModel):
    """The team's settings. Each has a default; by default the server serves this machine alone.
    They come from the environment or a named file, never from a `.env` in the working folder."""

    public_url: str = Field(
        default="",
        validation_alias="KLING_MCP_PUBLIC_URL",
        description="Where others reach the server, such as https://videos.example. Required for "
        "any address but this machine's, for callbacks and for links.",
    )
    auth_issuer: str = Field(
        default="",
        validation_alias="KLING_MCP_AUTH_ISSUER",
        description="The login service (OAuth or OIDC issuer) whose tokens are accepted.",
    )
    auth_audience: str = Field(
        default="",
        validation_alias="KLING_MCP_AUTH_AUDIENCE",
        description="The audience that tokens must be for; default: KLING_MCP_PUBLIC_URL/mcp.",
    )
    auth_jwks_url: str = Field(
        default="",
        validation_alias="KLING_MCP_AUTH_JWKS_URL",
        description="Where the issuer's keys are; default: the address in the issuer's metadata.",
    )
    tokens: Path | None = Field(
        default=None,
        validation_alias="KLING_MCP_TOKENS",
        description="File of the tokens that `kling-mcp tokens` issues, for small teams.",
    )
    sign_in: bool = Field(
        default=True,
        validation_alias="KLING_MCP_SIGN_IN",
        description="Whether programs such as claude.ai get a login by the server's URL: a person "
        "signs in on a page of the server with a token of KLING_MCP_TOKENS. Not with "
        "KLING_MCP_AUTH_ISSUER; default: true.",
    )
    rate_per_minute: int = Field(
        default=120,
        ge=0,
        validation_alias="KLING_MCP_RATE_PER_MINUTE",
        description="Most requests of one login a minute; 0 sets no limit.",
    )
    max_units_per_day_user: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_UNITS_PER_DAY_USER",
        description="Most units of one login in 24 hours.",
    )
    max_image_units_per_day_user: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_IMAGE_UNITS_PER_DAY_USER",
        description="Most image units of one login in 24 hours.",
    )
    max_usd_per_day_user: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        validation_alias="KLING_MCP_MAX_USD_PER_DAY_USER",
        description="Most US dollars of one login in 24 hours.",
    )
    callback_secret: SecretStr | None = Field(
        default=None,
        validation_alias="KLING_MCP_CALLBACK_SECRET",
        description="Secret (whsec_…) that callbacks must be signed with (Standard Webhooks).",
    )
    secret: SecretStr | None = Field(
        default=None,
        validation_alias="KLING_MCP_SECRET",
        description=f"At least {SECRET_LENGTH} characters that sign links and questions, the same "
        "for all servers of a team; default: new ones with every start.",
    )
    storage: str = Field(
        default="",
        validation_alias="KLING_MCP_STORAGE",
        description="s3://bucket/prefix for videos; default: the output folder.",
    )
    link_s: int = Field(
        default=3600,
        ge=60,
        validation_alias="KLING_MCP_LINK_S",
        description="Seconds that a link to a video is valid.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        validation_alias="KLING_MCP_ALLOWED_HOSTS",
        description="Further host names of the server, separated by commas.",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        validation_alias="KLING_MCP_ALLOWED_ORIGINS",
        description="Web pages that may use the server, such as https://chat.example.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=("127.0.0.1", "::1"),
        validation_alias="KLING_MCP_TRUSTED_PROXIES",
        description="Addresses of proxies that may say where a request comes from; default: this "
        "machine's.",
    )
    log_format: str = Field(
        default="text",
        pattern="^(text|json)$",
        validation_alias="KLING_MCP_LOG_FORMAT",
        description="text, or json with one line per call.",
    )

    @field_validator("allowed_hosts", "allowed_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _as_browsers_write_it(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin.lower().rstrip("/") for origin in value)

    @field_validator("tokens")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        try:
            return value.expanduser() if value else value
        except RuntimeError:
            raise ValueError("the home folder does not exist") from None

    @field_validator("public_url", "auth_issuer", "auth_jwks_url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value:
            return value
        if not is_private_way(value):
            raise ValueError("must be an https URL (http only on this machine)")
        parts = urlsplit(value)
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have no user, query or fragment")
        return value

    @field_validator("public_url")
    @classmethod
    def _as_clients_write_it(cls, value: str) -> str:
        """As Host and Origin headers are: lower case, without the usual port."""
        parts = urlsplit(value)
        if parts.path.strip("/"):
            raise ValueError("must have no path")
        netloc = parts.netloc.lower().removesuffix(f":{USUAL_PORTS.get(parts.scheme)}")
        return f"{parts.scheme}://{netloc}" if value else value

    @field_validator("secret")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value()) < SECRET_LENGTH:
            raise ValueError(f"must have at least {SECRET_LENGTH} characters")
        return value

    @field_validator("storage")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if value and (urlsplit(value).scheme != "s3" or not urlsplit(value).netloc):
            raise ValueError("must be s3://bucket or s3://bucket/prefix")
        return value

    @model_validator(mode="after")
    def _fits(self) -> HostSettings:
        if self.login and not self.public_url:
            raise ValueError(
                "KLING_MCP_TOKENS and KLING_MCP_AUTH_ISSUER require KLING_MCP_PUBLIC_URL, the URL "
                "at which others reach the server"
            )
        return self

    @property
    def login(self) -> bool:
        """Whether callers must log in."""
        return bool(self.auth_issuer or self.tokens)

    @property
    def signs_in(self) -> bool:
        """Whether the server is its own login service."""
        return bool(self.tokens and self.sign_in and not self.auth_issuer)

    @property
    def resource(self) -> str:
        """The public URL of the MCP endpoint."""
        return f"{self.public_url}/mcp"

    @property
    def audience(self) -> str:
        """The audience that a token must name."""
        return self.auth_audience or self.resource


def is_private_way(url: str) -> bool:
    """Whether nobody on the way can read or change the traffic: https, or http on this machine.

    Raises ValueError for a malformed URL."""
    parts = urlsplit(url)
    near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    usable = bool(parts.hostname) and parts.port != 0
    return usable and (parts.scheme == "https" or (parts.scheme == "http" and near))


def is_this_machine(host: str) -> bool:
    """Whether a host name or address always means the machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_host_settings(env_file: Path | None = None, **options: Any) -> HostSettings:
    """The settings. `options`, by field name, override everything else.

    Raises NotConfigured, which names every unusable setting and never shows a secret.
    """
    fields = HostSettings.model_fields
    known = {str(field.validation_alias) for field in fields.values()}
    values = read_environment(env_file or "").values
    own: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    given = {str(fields[name].validation_alias): value for name, value in options.items()}
    return validated(HostSettings, own | given, "docs/settings.md describes every setting.")
