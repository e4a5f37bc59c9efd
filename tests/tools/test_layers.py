"""The contract stands on its own: it can be read and used without the machine."""

import ast
import subprocess
import sys
from pathlib import Path

import kling_tools

ROOT = Path(kling_tools.__file__).parent
MODULES = sorted(ROOT.glob("**/*.py"))

MACHINERY = {"kling_mcp", "httpx", "sqlite3", "dotenv", "starlette", "PIL", "av"}


def imported_by(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_kling_tools_imports_neither_the_machine_nor_its_libraries() -> None:
    assert {m.name: imported_by(m) & MACHINERY for m in MODULES if imported_by(m) & MACHINERY} == {}


def test_importing_the_contract_does_not_load_the_machine() -> None:
    code = "import sys, kling_tools.tools.toolset; print('kling_mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_only_two_modules_of_the_machine_speak_http() -> None:
    import kling_mcp

    modules = Path(kling_mcp.__file__).parent.glob("*.py")
    users = {module.name for module in modules if "httpx" in imported_by(module)}

    assert users == {"client.py", "transport.py"}


def test_every_public_name_exists_and_the_lists_are_sorted() -> None:
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        dotted = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        module = __import__(dotted, fromlist=["__all__"])
        names = list(module.__all__)

        assert names == sorted(names), path.name
        assert [n for n in names if not hasattr(module, n)] == [], path.name
