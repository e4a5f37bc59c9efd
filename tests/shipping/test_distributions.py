"""What lies in the wheel and in the sdist."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from kling_mcp.version import __version__

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "kling_mcp": ROOT / "server",
    "kling_sandbox": ROOT / "server",
    "kling_tools": ROOT / "tools",
}
ABOUT = f"kling_mcp-{__version__}.dist-info"
PICTURE = "kling_mcp/pictures/astronaut.png"
SKILL = ("plugin/skills", "kling_mcp/skills")
"""The folder of the skill in the project, and in the wheel."""
NEEDED = {
    "kling_mcp/py.typed",
    "kling_mcp/providers/providers.json",
    "kling_mcp/protocol/player/page.html",
    "kling_mcp/protocol/player/main.js",
    "kling_sandbox/__init__.py",
    "kling_sandbox/py.typed",
    "kling_tools/py.typed",
    "kling_tools/rules/capabilities.json",
    "kling_mcp/skills/kling-video/SKILL.md",
    PICTURE,
}
WHEEL_LIMIT_BYTES = 2_000_000


def tracked(*folders: str) -> set[str]:
    """Files of the project below the folders, as git would take them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a clone")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_both_packages_whole_and_nothing_else(wheel: Path) -> None:
    own = {
        str((ROOT / name).relative_to(source))
        for package, source in SOURCES.items()
        for name in tracked(f"{source.name}/{package}")
    }
    about = {f"{ABOUT}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}

    skill = {name.replace(*SKILL) for name in tracked(SKILL[0])}

    assert contents(wheel) == own | about | skill | {PICTURE, f"{ABOUT}/licenses/LICENSE"}


def test_the_image_is_built_with_all_that_the_wheel_takes_from_elsewhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    copied = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")

    assert [name for name in taken if f"\nCOPY {name} {name}\n" not in copied] == []


def test_the_wheel_holds_the_data_that_is_read_at_run_time_and_is_small(wheel: Path) -> None:
    assert contents(wheel) >= NEEDED
    assert wheel.stat().st_size <= WHEEL_LIMIT_BYTES


def test_the_wheel_says_who_made_it_and_how_it_is_started(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        about = message_from_bytes(archive.read(f"{ABOUT}/METADATA"))
        starts = archive.read(f"{ABOUT}/entry_points.txt").decode()

    assert (about["Name"], about["Version"]) == ("kling-mcp", __version__)
    assert about["License-Expression"] == "MIT"
    assert about["Requires-Python"] == ">=3.11"
    assert "kling-mcp = kling_mcp.cli.main:main" in starts


def test_the_sdist_holds_what_the_project_holds(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    elsewhere = {".ci/run"}

    assert found == (tracked() - elsewhere) | {"PKG-INFO"}


def test_the_wheel_that_is_built_from_the_sdist_is_the_same(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert contents(wheel) == contents(again)
        assert all(one.read(name) == other.read(name) for name in contents(wheel))


@pytest.mark.campaign
def test_the_tests_in_the_sdist_run(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tools"]
    own = os.pathsep.join((str(source / "server"), str(source / "tools")))
    ran = subprocess.run(
        command,
        cwd=source,
        env={**os.environ, "PYTHONPATH": own, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout
