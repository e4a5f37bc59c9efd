"""The table of MCP clients, one row each, and the machine that they run on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = [
    "CLIENTS",
    "ClientRow",
    "FormatName",
    "KeyPlace",
    "Machine",
    "find_client",
    "this_machine",
]


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer: `platform` is a value of `sys.platform`, `home` the user's home folder."""

    platform: str
    home: Path
    environment: Mapping[str, str]

    @property
    def system(self) -> str:
        """`mac`, `windows` or `linux` (also for all other systems)."""
        return {"darwin": "mac", "win32": "windows"}.get(self.platform, "linux")

    def place(self, template: str) -> Path:
        """The path for a template with `{home}`, `{appdata}` (Windows' roaming folder) or
        `{config}` (XDG_CONFIG_HOME, else ~/.config)."""
        home = self.home
        appdata = self.environment.get("APPDATA")
        config = self.environment.get("XDG_CONFIG_HOME") if self.system == "linux" else None
        return Path(
            template.format(
                home=home,
                appdata=appdata or home / "AppData" / "Roaming",
                config=config or home / ".config",
            )
        )


def this_machine() -> Machine:
    """The machine of this process. Raises RuntimeError when the home folder is unknown."""
    return Machine(sys.platform, Path.home(), os.environ)


FormatName = Literal["json", "toml", "yaml"]

KeyPlace = Literal["reference", "forwarded", "keyring", "asked", "none"]
"""How a key reaches the server without being in the file. `reference`: `env` refers to a variable,
in the client's own syntax. `forwarded`: the file lists variables that the client passes on.
`keyring`: the file lists keys in the system's keyring. `asked`: the client asks once and stores
it. `none`: the client has no such way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """One client. `files` are path templates by system (`Machine.place`). `folder` is a
    variable with a folder's path, and the file's name in it. `servers` is the path of keys to the
    entries. `fields` are an entry's fields beside the command. `spelling` is the reference to a
    variable `{name}`. `then` tells the person what to do next."""

    name: str
    title: str
    files: Mapping[str, str]
    format: FormatName = "json"
    servers: tuple[str, ...] = ("mcpServers",)
    fields: Mapping[str, object] = field(default_factory=dict)
    folder: tuple[str, str] | None = None
    keys: KeyPlace = "none"
    spelling: str = ""
    then: str
    source: str
    date: str


def _everywhere(template: str) -> dict[str, str]:
    return dict.fromkeys(("mac", "windows", "linux"), template)


_ROWS = (
    ClientRow(
        name="claude-desktop",
        title="Claude Desktop",
        files={
            "mac": "{home}/Library/Application Support/Claude/claude_desktop_config.json",
            "windows": "{appdata}/Claude/claude_desktop_config.json",
            "linux": "{config}/Claude/claude_desktop_config.json",
        },
        then="Quit Claude Desktop, not only its window, and start it again.",
        source="https://modelcontextprotocol.io/quickstart/user (no Linux there: by its builds)",
        date="2026-11-21",
    ),
    ClientRow(
        name="claude-code",
        title="Claude Code",
        files=_everywhere("{home}/.claude.json"),
        folder=("CLAUDE_CONFIG_DIR", ".claude.json"),
        fields={"type": "stdio"},
        keys="reference",
        spelling="${{{name}:-}}",
        then="Start Claude Code again; /mcp shows the server.",
        source="https://code.claude.com/docs/en/mcp (${VAR:-default} in env)",
        date="2026-09-22",
    ),
    ClientRow(
        name="cursor",
        title="Cursor",
        files=_everywhere("{home}/.cursor/mcp.json"),
        keys="reference",
        spelling="${{env:{name}}}",
        then="Start Cursor again, from where the variable is set.",
        source="https://cursor.com/docs/mcp (${env:NAME} in env)",
        date="2026-10-22",
    ),
    ClientRow(
        name="vscode",
        title="VS Code",
        files={
            "mac": "{home}/Library/Application Support/Code/User/mcp.json",
            "windows": "{appdata}/Code/User/mcp.json",
            "linux": "{config}/Code/User/mcp.json",
        },
        servers=("servers",),
        fields={"type": "stdio"},
        keys="asked",
        spelling="${{input:{name}}}",
        then="VS Code asks for the key when the server starts, and keeps it in its secret store.",
        source="https://code.visualstudio.com/docs/agents/reference/mcp-configuration (inputs)",
        date="2026-11-21",
    ),
    ClientRow(
        name="gemini",
        title="Gemini CLI",
        files=_everywhere("{home}/.gemini/settings.json"),
        keys="reference",
        spelling="${{{name}}}",
        then="Start gemini again, from where the variable is set; /mcp shows the server.",
        source="https://github.com/google-gemini/gemini-cli/blob/main/docs/tools/mcp-server.md",
        date="2026-11-21",
    ),
    ClientRow(
        name="codex",
        title="Codex",
        files=_everywhere("{home}/.codex/config.toml"),
        format="toml",
        servers=("mcp_servers",),
        folder=("CODEX_HOME", "config.toml"),
        keys="forwarded",
        then="Start codex again, from where the variable is set; /mcp shows the server.",
        source="https://developers.openai.com/codex/mcp and openai/codex#5246 (env_vars)",
        date="2026-09-08",
    ),
    ClientRow(
        name="goose",
        title="Goose",
        files={
            "mac": "{home}/.config/goose/config.yaml",
            "windows": "{appdata}/Block/goose/config/config.yaml",
            "linux": "{config}/goose/config.yaml",
        },
        format="yaml",
        servers=("extensions",),
        fields={"type": "stdio", "enabled": True, "timeout": 300},
        keys="keyring",
        then="Goose takes the key from the environment, else from its keyring: `goose configure` "
        "puts it there.",
        source="https://block.github.io/goose/docs/guides/config-files (env_keys)",
        date="2026-11-21",
    ),
    ClientRow(
        name="windsurf",
        title="Windsurf",
        files=_everywhere("{home}/.codeium/windsurf/mcp_config.json"),
        keys="reference",
        spelling="${{env:{name}}}",
        then="Press refresh in Windsurf's MCP panel, or start it again where the variable is set.",
        source="https://docs.windsurf.com/windsurf/cascade/mcp (${env:NAME} in env)",
        date="2026-11-21",
    ),
    ClientRow(
        name="zed",
        title="Zed",
        files={
            "mac": "{home}/.config/zed/settings.json",
            "windows": "{appdata}/Zed/settings.json",
            "linux": "{config}/zed/settings.json",
        },
        servers=("context_servers",),
        then="Zed starts the server by itself; Settings, AI, MCP Servers shows it.",
        source="https://zed.dev/docs/ai/mcp and zed-industries/zed#60459 (no variables)",
        date="2026-07-06",
    ),
    ClientRow(
        name="lm-studio",
        title="LM Studio",
        files=_everywhere("{home}/.lmstudio/mcp.json"),
        then="Switch the server on in LM Studio's Program tab.",
        source="https://lmstudio.ai/docs/app/mcp (Cursor's notation; variables not mentioned)",
        date="2026-11-21",
    ),
)

CLIENTS: Mapping[str, ClientRow] = {row.name: row for row in _ROWS}
"""The clients by the name that a person types."""


def find_client(name: str) -> ClientRow | None:
    """The row of a client in any spelling: `Claude Desktop`, `claude_desktop`, `VSCode`."""
    spelling = _plain(name)
    return next(
        (row for row in _ROWS if spelling in (_plain(row.name), _plain(row.title))),
        None,
    )


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
