"""A prompt of this server: what a person fills in becomes a text that leads through the tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.prompts.base import Message, PromptArgument, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import BaseModel, Field

from kling_tools.drafts import read_draft
from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault, sentences

__all__ = ["KlingPrompt", "Script"]

Script = Callable[[Any], str]
"""Writes the text from the arguments. Raises InvalidRequest for what no video can be."""


class KlingPrompt(Prompt):
    """A prompt: an arguments class, which of them are required, and a script."""

    reading: type[BaseModel] = Field(exclude=True)
    script: Script = Field(exclude=True)

    @classmethod
    def of(
        cls,
        script: Script,
        *,
        name: str,
        title: str,
        description: str,
        arguments: type[BaseModel],
        required: Sequence[str],
    ) -> KlingPrompt:
        """Make the prompt; the required arguments are listed first."""
        names = [*required, *(n for n in arguments.model_fields if n not in required)]
        return cls(
            fn=script,
            name=name,
            title=title,
            description=" ".join(cleandoc(description).split()),
            arguments=[
                PromptArgument(
                    name=name,
                    description=arguments.model_fields[name].description,
                    required=name in required,
                )
                for name in names
            ],
            context_kwarg=None,
            reading=arguments,
            script=script,
        )

    async def render(
        self, arguments: dict[str, Any] | None, context: Context[Any, Any]
    ) -> list[Message]:
        """The text, as one message of the user. An empty argument counts as left out: hosts send
        the whole form.

        Raises MCPError (-32602), naming every fault, for arguments that cannot be used.
        """
        given = {
            name: value
            for name, value in (arguments or {}).items()
            if not isinstance(value, str) or value.strip()
        }
        required = [argument.name for argument in self.arguments or () if argument.required]
        draft = read_draft(self.reading, given)
        faults = [
            *draft.verdict.faults,
            *(Fault(n, "missing", "is required.") for n in required if n not in given),
        ]
        if faults:
            raise self._refusal(faults)
        try:
            return [UserMessage(self.script(draft.arguments))]
        except InvalidRequest as error:
            raise self._refusal(error.faults) from error

    def _refusal(self, faults: Sequence[Fault]) -> MCPError:
        return MCPError(code=INVALID_PARAMS, message=f"{self.name}: {sentences(faults)}")
