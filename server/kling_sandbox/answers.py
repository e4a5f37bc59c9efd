"""How a provider answers: what every shape of answers can say, and which one a style asks for."""

from __future__ import annotations

from typing import Protocol

from starlette.responses import Response

from kling_sandbox.documents import KlingDocuments
from kling_sandbox.envelope_answers import EnvelopeAnswers, EnvelopeStyle
from kling_sandbox.refusals import Refusal
from kling_sandbox.task import Task
from kling_sandbox.wrapper_answers import WrapperAnswers, WrapperStyle

__all__ = ["Answers", "Style", "answers_in"]

Style = EnvelopeStyle | WrapperStyle


class Answers(Protocol):
    """One shape of answers; the only place where that shape is known."""

    def created(self, task: Task, *, nameless: bool = False) -> Response:
        """The receipt of a create; `nameless` leaves every id out."""

    def one(self, task: Task, now: float) -> Response:
        """One task as it stands at the Unix second `now`."""

    def refused(self, refusal: Refusal) -> Response:
        """A refusal."""

    def no_route(self, method: str, path: str) -> Response:
        """The answer to a path below the base URL, or a method, that does not exist."""


def answers_in(style: Style, documents: KlingDocuments) -> Answers:
    """The answers that a style asks for."""
    if isinstance(style, WrapperStyle):
        return WrapperAnswers(documents, style)
    return EnvelopeAnswers(documents, style)
