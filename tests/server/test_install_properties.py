"""Whatever a configuration looks like: the entry comes in, all else stays, and it goes again."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kling_mcp.installing.change import FORMATS, plan_install, plan_uninstall, write
from kling_mcp.installing.edits import Edit, ListItem, NotEditable, Put
from kling_mcp.installing.jsonc import JSONC
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


PLAIN = st.text("abc xyz-_#:'\"{}", max_size=6)
toml_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), PLAIN),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(PLAIN, inner, max_size=2)),
    max_leaves=4,
)
tables = st.dictionaries(
    st.one_of(st.just("servers"), PLAIN),
    st.dictionaries(PLAIN, toml_values, max_size=3),
    max_size=3,
)


@settings(deadline=None)
@given(value=tables, inline=st.booleans(), newline=st.sampled_from(["\n", "\r\n"]))
def test_toml_keeps_all_else_or_is_left_alone(
    value: dict[str, Any], inline: bool, newline: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shown = tomlkit.document()
    for key, inner in value.items():
        table = tomlkit.inline_table() if inline else tomlkit.table()
        table.update(inner)
        table.comment("c")
        shown.append(key, table)
    text = shown.as_string().replace("\n", newline)
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_bytes(text.encode())

    try:
        write(plan_install(path, "toml", [EDIT]))
    except KlingError:
        assert inline
        assert path.read_bytes() == text.encode()
        return

    assert tomllib.loads(path.read_text()) == with_entry(value, EDIT)
    assert path.read_bytes().startswith(text.encode()) or "kling" in value.get("servers", {})
    change, _ = plan_uninstall(path, "toml", [EDIT], lambda _: [])
    write(change)
    assert path.read_bytes() == text.encode()


yaml_names = st.text("abc xyz-_#'\"{}", max_size=6)
"""Without colons: ruamel.yaml writes some of them so that it cannot read them again."""

yaml_values = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), yaml_names),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(yaml_names, inner, max_size=2)
    ),
    max_leaves=4,
)
yaml_documents = st.dictionaries(
    st.one_of(st.just("servers"), yaml_names),
    st.dictionaries(yaml_names, yaml_values, max_size=3),
    max_size=3,
)


@settings(deadline=None)
@given(
    value=yaml_documents,
    flow=st.booleans(),
    step=st.integers(1, 4),
    head=st.sampled_from(["", "# mine\n", "---\n"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_yaml_keeps_all_else_or_is_left_alone(
    value: dict[str, Any],
    flow: bool,
    step: int,
    head: str,
    newline: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None if flow else False
    yaml.indent = step
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    with path.open("w", newline="") as file:
        yaml.dump(value, file)
    text = (head + path.read_text()).replace("\n", newline)
    path.write_bytes(text.encode())
    assert (FORMATS["yaml"].read(text) or {}) == value

    try:
        write(plan_install(path, "yaml", [EDIT]))
    except KlingError:
        assert text.lstrip("-# mine\r\n").startswith("{")
        assert path.read_bytes() == text.encode()
        return

    assert FORMATS["yaml"].read(path.read_bytes().decode()) == with_entry(value, EDIT)
    gone = FORMATS["yaml"].take(path.read_bytes().decode(), EDIT)
    assert {k: v for k, v in FORMATS["yaml"].read(gone).items() if v} == {
        k: v for k, v in value.items() if v
    }
    change, _ = plan_uninstall(path, "yaml", [EDIT], lambda _: [])
    write(change)
    assert path.read_bytes() == text.encode()


def test_a_file_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    change = plan_install(path, "json", [EDIT])
    path.write_text('{"other": 1}')

    with pytest.raises(KlingError, match="changed meanwhile"):
        write(change)
    assert path.read_text() == '{"other": 1}'
