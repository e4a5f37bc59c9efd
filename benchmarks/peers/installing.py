"""Installing the contenders with pip and npm, as anybody would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.contenders import CONTENDERS, OURS, Contender, Place

__all__ = ["install"]


def install(place: Place) -> None:
    """Put each into a folder of its own, unless it is there. Raises CalledProcessError."""
    for contender in CONTENDERS:
        if contender.name == OURS or (place.folder / contender.program).exists():
            continue
        home = place.folder / Path(contender.program).parts[0]
        if contender.registry == "npm":
            _npm(contender, home, place.node)
        else:
            newer = shutil.which(f"python{contender.python}") if contender.python else None
            subprocess.run([newer or sys.executable, "-m", "venv", str(home)], check=True)
            extra = f"[{contender.extra}]" if contender.extra else ""
            wanted = f"{contender.name}{extra}=={contender.version}"
            subprocess.run([str(home / "bin/pip"), "install", "--quiet", wanted], check=True)


def _npm(contender: Contender, home: Path, node: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text('{"private": true}', encoding="utf-8")
    beside = Path(node).resolve().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    npm = [node, str(beside)] if beside.exists() else [shutil.which("npm") or "npm"]
    wanted = f"{contender.name}@{contender.version}"
    subprocess.run([*npm, "install", "--no-audit", "--no-fund", wanted], cwd=home, check=True)
