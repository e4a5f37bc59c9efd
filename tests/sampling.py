"""A sample of many like cases for the quick run; the campaign has them all."""

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["sampled"]


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """The cases, of which only the first of `every` so many is quick. A tuple has one value for
    each argument; of a product each value stays quick where its sides do not divide by `every`."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[pytest.mark.campaign] if number % every else [],
        )
        for number, case in enumerate(cases)
    ]
