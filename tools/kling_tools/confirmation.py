"""Asking the person behind the host, in both protocol eras.

Until 2025-11-25 the server sends a request of its own in the middle of a call; from 2026-07-28 on
it answers the call with what it wants to know, and the client calls again with the person's word.
"""

from __future__ import annotations

import hashlib
from typing import Any

from mcp.server.mcpserver import Context
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field

from kling_tools.errors import SpendCapReached

__all__ = ["AskFirst", "confirm"]

KEY = "confirm"
ANSWERS_INSTEAD = "2026-07-28"


class Agreement(BaseModel):
    """What the person is asked to fill in."""

    agree: bool = Field(description="Spend this?")


class AskFirst(Exception):
    """The call ends here with a question; the client calls again with the answer."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("the person has to be asked first")
        self.result = result


async def confirm(context: Context[Any, Any], question: str, setting: str) -> bool:
    """Whether the person agrees.

    Raises SpendCapReached, naming the setting, when the host cannot ask, and AskFirst when it is
    to be asked by another round of the call.
    """
    capabilities = context.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        raise SpendCapReached(
            f"The person has to agree first ({setting}), and this host cannot ask them.",
            advice=f'The question is: "{question}" Have the setting raised, or choose a cheaper '
            "video.",
        )
    version = context.protocol_version
    if version is None or not is_version_at_least(version, ANSWERS_INSTEAD):
        outcome = await context.elicit(question, Agreement)
        return outcome.action == "accept" and outcome.data.agree
    state = hashlib.sha256(question.encode()).hexdigest()
    answer = (context.input_responses or {}).get(KEY)
    if isinstance(answer, ElicitResult) and context.request_state == state:
        return answer.action == "accept" and bool((answer.content or {}).get("agree"))
    schema = {
        "type": "object",
        "properties": {"agree": {"type": "boolean", "title": "Spend this?"}},
        "required": ["agree"],
    }
    request = ElicitRequest(
        params=ElicitRequestFormParams(message=question, requested_schema=schema)
    )
    raise AskFirst(InputRequiredResult(input_requests={KEY: request}, request_state=state))
