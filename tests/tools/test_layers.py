"""The contract stands on its own: it can be read and used without the machine."""

import subprocess
import sys
from pathlib import Path

import kling_tools

ROOT = Path(kling_tools.__file__).parent
MODULES = sorted(ROOT.glob("**/*.py"))


def test_importing_the_contract_does_not_load_the_machine() -> None:
    code = "import sys, kling_tools.tools.toolset; print('kling_mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_every_public_name_exists_and_the_lists_are_sorted() -> None:
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        dotted = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        module = __import__(dotted, fromlist=["__all__"])
        names = list(module.__all__)

        assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)), (
            path.name
        )
        assert [n for n in names if not hasattr(module, n)] == [], path.name
