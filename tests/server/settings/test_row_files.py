"""Rows of a user's own, in JSON or TOML, whatever the file holds."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kling_mcp.settings.environment import RowFileFault, read_row_file


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", '{"mine": {"poll_s": 5}}'),
        ("rows.toml", "[mine]\npoll_s = 5\n"),
        ("ROWS.TOML", "\ufeff[mine]\npoll_s = 5\n"),
    ],
)
def test_a_table_is_read_by_the_end_of_its_name(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    assert read_row_file(file) == {"mine": {"poll_s": 5}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["rows.json", "rows.toml"]), content=st.binary(max_size=60))
@example(name="rows.json", content=b"[" * 100_000)
@example(name="rows.json", content=b'{"a": ' + b"9" * 5_000 + b"}")
@example(name="rows.toml", content=b"a = " + b"9" * 5_000)
@example(name="rows.toml", content=b"a = " + b"[" * 5_000)
def test_any_file_is_a_table_or_a_fault_that_says_why(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    rows: object = None
    with suppress(RowFileFault):
        rows = read_row_file(file)

    assert rows is None or isinstance(rows, dict)
