"""The skill that teaches an assistant to make videos with these tools, served by the protocol's
extension io.modelcontextprotocol/skills (SEP-2640) to those who ask for it.

Its files are those of the plugin: `plugin/skills` in the source tree, `kling_mcp/skills` in the
package.

Source: specification/stable/skills.mdx of github.com/modelcontextprotocol/ext-skills.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ResourceBinding
from mcp.server.mcpserver.resources import FunctionResource
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PaginatedRequestParams, RequestParams

from kling_mcp.protocol.middleware import LASTING, SKILL_FILES
from kling_tools.quoting import clipped

__all__ = ["SkillsExtension", "skill_extensions", "skill_folder"]

NAME = "kling-video"
MAIN = "SKILL.md"
MARKDOWN = "text/markdown"

Context = ServerRequestContext[Any, Any]


@cache
def skill_folder() -> Path | None:
    """The folder of the skill: in the package, or in its source tree; None when neither holds it,
    as where somebody copied the packages alone."""
    here = Path(__file__).resolve().parents[1]
    places = (here / "skills" / NAME, here.parents[1] / "plugin" / "skills" / NAME)
    return next((place for place in places if (place / MAIN).is_file()), None)


def skill_extensions() -> list[Extension]:
    """The extension that serves the skill, where there is one."""
    folder = skill_folder()
    return [SkillsExtension(folder)] if folder else []


class _GetParams(RequestParams):
    uri: str


class SkillsExtension(Extension):
    """Lists the skill with the digest of each of its files, which are resources."""

    identifier = "io.modelcontextprotocol/skills"

    def __init__(self, folder: Path) -> None:
        self._root = f"{SKILL_FILES}{folder.name}"
        self._files = {
            f"{self._root}/{file.relative_to(folder).as_posix()}": file
            for file in (folder / MAIN, *sorted((folder / "references").glob("*.md")))
        }

    def resources(self) -> Sequence[ResourceBinding]:
        """Each file. The name and the description of the first are those of the skill."""
        about = self._frontmatter()
        return [
            ResourceBinding(
                FunctionResource(
                    uri=uri,
                    name=file.name if place else about["name"],
                    description=None if place else about["description"],
                    mime_type=MARKDOWN,
                    fn=partial(_text, file),
                )
            )
            for place, (uri, file) in enumerate(self._files.items())
        ]

    def methods(self) -> Sequence[MethodBinding]:
        """The two methods, in both eras: a client calls them once it has seen the extension."""
        return (
            MethodBinding("skills/list", PaginatedRequestParams, self._list),
            MethodBinding("skills/get", _GetParams, self._get),
        )

    async def _list(self, _: Context, params: PaginatedRequestParams) -> HandlerResult:
        if params.cursor:
            raise MCPError(code=INVALID_PARAMS, message="skills/list has one page, no cursor.")
        return _lasting(skills=[self._entry()])

    async def _get(self, _: Context, params: _GetParams) -> HandlerResult:
        if params.uri != f"{self._root}/{MAIN}":
            raise MCPError(
                code=INVALID_PARAMS,
                message=f"There is no skill at {clipped(params.uri, 80)}. skills/list names it.",
            )
        return _lasting(skill=self._entry())

    def _entry(self) -> dict[str, Any]:
        """The skill as the extension describes it: `frontmatter`, and `resources` with the SHA-256
        and the size in bytes of each file."""
        import hashlib

        contents = {uri: file.read_bytes() for uri, file in self._files.items()}
        return {
            "uri": f"{self._root}/{MAIN}",
            "frontmatter": self._frontmatter(),
            "resources": [
                {
                    "uri": uri,
                    "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
                    "size": len(content),
                }
                for uri, content in contents.items()
            ],
        }

    def _frontmatter(self) -> dict[str, str]:
        """The head of SKILL.md, each of whose lines is a name and a plain text."""
        _, head, _ = _text(self._files[f"{self._root}/{MAIN}"]).split("---\n", 2)
        lines = (line.partition(": ") for line in head.splitlines())
        return {name: value for name, _, value in lines}


def _text(file: Path) -> str:
    """The very bytes of the file, as their digest is told, in UTF-8."""
    return file.read_bytes().decode()


def _lasting(**fields: Any) -> dict[str, Any]:
    return {
        "resultType": "complete",
        **fields,
        "ttlMs": LASTING.ttl_ms,
        "cacheScope": LASTING.scope,
    }
