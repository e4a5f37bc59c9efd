"""CONTRIBUTING.md's example of a product, applied to a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.blocks import ROOT, blocks
from tests.docs.test_snippets import FILES
from tests.server.serving import picture

PARTS = ("server", "tools", "bundle", "docs", "plugin", "README.md", "README.zh-CN.md")
"""What the example changes."""

TESTS = ("tests", "benchmarks", "examples", "pyproject.toml")
"""What the tests of the contract read besides."""

SANDBOX = (
    "tests/server/sandbox/test_sandbox_dialects.py",
    "tests/server/sandbox/test_sandbox_tasks.py",
)

READMES = ("tests/test_readme.py", "tests/test_readme_zh.py")

JUNK = shutil.ignore_patterns("__pycache__", "node_modules", ".*cache")
WITH_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="requires git")
PATCHES = [block.text for block in blocks("diff") if block.page == "CONTRIBUTING.md"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project with the example's patch."""
    folder = tmp_path / "project"
    for name in PARTS:
        copy_into(folder, name)
    (tmp_path / "loop.patch").write_text("".join(PATCHES), encoding="utf-8")
    run(folder, "git", "apply", "--recount", "../loop.patch")
    return folder


def copy_into(folder: Path, name: str) -> None:
    source, target = ROOT / name, folder / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=JUNK)
    else:
        shutil.copy(source, target)


def run(folder: Path, *command: str) -> None:
    """Run a command there, with the packages of the copy; it must succeed."""
    paths = os.pathsep.join([str(folder), str(folder / "server"), str(folder / "tools")])
    ran = subprocess.run(
        command,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": paths,
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "KLING_MCP_HOME": str(folder.parent / "home"),
            "KLING_MCP_IMAGE_ROOTS": str(folder),
            "KLING_MCP_OUTPUT_DIR": str(folder.parent / "videos"),
            "KLING_MCP_SANDBOX_QUEUE_S": "0",
            "KLING_MCP_SANDBOX_RENDER_S": "0",
            "KLING_MCP_SANDBOX_SIDE_PX": "300",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@WITH_GIT
@pytest.mark.campaign
def test_the_example_of_a_product_makes_a_video(copy: Path) -> None:
    page, language, word = FILES["try_product.py"]
    (program,) = [b for b in blocks(language) if b.page == page and word in b.text]
    (copy / "try_product.py").write_text(program.text, encoding="utf-8")
    picture(copy)

    run(copy, sys.executable, "try_product.py")

    (video,) = (copy.parent / "videos").rglob("*.mp4")
    assert video.stat().st_size > 0
    shown = json.loads((copy / "bundle/manifest.json").read_text(encoding="utf-8"))
    assert "kling_loop" in [tool["name"] for tool in shown["tools"]]


@WITH_GIT
@pytest.mark.campaign
def test_the_example_of_a_product_leaves_nothing_out(copy: Path) -> None:
    for name in (*TESTS, *(page.name for page in ROOT.glob("*.md") if page.name not in PARTS)):
        copy_into(copy, name)
    pages, texts = "tests/docs/test_made_pages.py", "tests/tools/test_toolset.py"
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider")

    run(copy, *pytest_, texts, pages, "--update-snapshots")
    run(copy, *pytest_, "tests/tools", pages, *READMES, *SANDBOX)
