"""Whatever a configuration looks like: the entry comes in, all else stays, and it goes again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_mcp.cli.client_configs.change import plan_install, write
from kling_mcp.cli.client_configs.entries import MASK, without_secrets
from kling_mcp.cli.client_configs.jsonc import JSONC, Edit, ListItem, NotEditable, Put
from kling_tools.errors import KlingError

ENTRY = {"command": "/bin/kling-mcp", "args": [], "env": {"KLING_API_KEY": "${KLING_API_KEY}"}}
EDIT = Put(("servers", "kling"), ENTRY)
ITEM = ListItem(("inputs",), {"id": "kling-key", "type": "promptString", "password": True})
COMMENT = re.compile(r"/\*c\d+[^*]*\*/|//c\d+")

names = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8)
keys = st.one_of(st.sampled_from(["servers", "inputs", "other", "a"]), names)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-1, 1), names)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
documents = st.builds(
    lambda servers, rest, inputs: {**rest, **servers, **inputs},
    st.one_of(st.just({}), st.fixed_dictionaries({"servers": st.dictionaries(names, values)})),
    st.dictionaries(names, values, max_size=4),
    st.one_of(
        st.just({}),
        st.fixed_dictionaries({"inputs": st.lists(st.fixed_dictionaries({"id": names}))}),
    ),
)


class Scribe:
    """Writes JSON with comments, trailing commas and any layout."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._count = 0
        self._newline = draw(st.sampled_from(["\n", "\r\n"]))

    def gap(self) -> str:
        parts = self._draw(st.lists(st.sampled_from(["", " ", "\t", "\n", "/", "*"]), max_size=3))
        return "".join(map(self._part, parts))

    def _part(self, part: str) -> str:
        self._count += part in "/*" and bool(part)
        written = {"\n": self._newline, "*": f'/*c{self._count} }}, ] " */'}
        written["/"] = f'//c{self._count} {{ " ,{self._newline}'
        return written.get(part, part)

    def text(self, value: Any) -> str:
        if isinstance(value, dict):
            inner = [
                f"{json.dumps(key)}{self.gap()}:{self.gap()}{self.text(item)}"
                for key, item in value.items()
            ]
            return self._bracketed("{", inner, "}")
        if isinstance(value, list):
            return self._bracketed("[", [self.text(item) for item in value], "]")
        ascii_only = self._draw(st.booleans())
        return json.dumps(value, ensure_ascii=ascii_only)

    def _bracketed(self, opening: str, inner: list[str], closing: str) -> str:
        between = ",".join(f"{self.gap()}{one}{self.gap()}" for one in inner)
        comma = "," if inner and self._draw(st.booleans()) else ""
        return f"{opening}{between}{comma}{self.gap()}{closing}"


@st.composite
def jsonc_files(draw: Any) -> tuple[Any, str]:
    value = draw(documents)
    scribe = Scribe(draw)
    return value, scribe.gap() + scribe.text(value) + scribe.gap()


def comments(text: str) -> list[str]:
    return sorted(COMMENT.findall(text))


def with_entry(value: dict[str, Any], edit: Edit) -> dict[str, Any]:
    if isinstance(edit, ListItem):
        others = [one for one in value.get("inputs", []) if one["id"] != edit.value["id"]]
        return {**value, "inputs": [*others, edit.value]}
    return {**value, "servers": {**value.get("servers", {}), "kling": edit.value}}


@pytest.mark.parametrize("edit", [EDIT, ITEM], ids=["entry", "input"])
@settings(deadline=None)
@given(file=jsonc_files())
def test_json_keeps_values_and_comments(edit: Edit, file: tuple[Any, str]) -> None:
    value, text = file
    assert JSONC.read(text) == value

    put = JSONC.put(text, edit)

    assert JSONC.read(put) == with_entry(value, edit)
    assert comments(put) == comments(text)
    assert JSONC.put(put, edit) == put
    gone = JSONC.read(JSONC.take(put, edit))
    empty = {"servers": {}} if isinstance(edit, Put) else {}
    kept = {k: v for k, v in value.items() if k != "inputs" or v or isinstance(edit, Put)}
    assert gone == {**empty, **kept}


@settings(deadline=None)
@given(value=documents, indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]))
def test_strict_json_stays_strict(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)

    assert json.loads(JSONC.put(JSONC.put(text, ITEM), EDIT)) == with_entry(
        with_entry(value, ITEM), EDIT
    )


@settings(deadline=None)
@given(file=jsonc_files())
def test_a_text_without_secrets_reads_as_one_with_the_same_names(file: tuple[Any, str]) -> None:
    value, text = file
    hidden = {**value, "env": {"A": "hide-1", "KLING_MCP_SAVE": "no"}, "api_key": "hide-2"}

    shown = JSONC.read(without_secrets(json.dumps(hidden)))

    assert [*shown] == [*hidden]
    assert shown["env"] == {"A": MASK, "KLING_MCP_SAVE": "no"}
    assert shown["api_key"] == MASK
    assert isinstance(without_secrets(text), str)


@settings(deadline=None)
@given(text=st.text(st.sampled_from('{}[]":,/*\n ab1\\-tn'), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = JSONC.read(text)
    except NotEditable:
        return
    try:
        assert JSONC.read(JSONC.put(text, EDIT))["servers"]["kling"] == ENTRY
    except NotEditable:
        assert not isinstance(value.get("servers", {}), dict)


def test_a_file_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    change = plan_install(path, [EDIT])
    path.write_text('{"other": 1}')

    with pytest.raises(KlingError, match="Another program changed"):
        write(change)
    assert path.read_text() == '{"other": 1}'
