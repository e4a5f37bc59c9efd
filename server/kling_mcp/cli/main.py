"""The command `kling-mcp`: the server over stdio, and the other commands.

`--version` and `--help` answer before the SDK is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from kling_mcp.cli.terminal import abandoned, guarded_output
from kling_mcp.version import __version__
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    import argparse

    from pydantic.fields import FieldInfo

    from kling_mcp.cli.tool_options import CommandParser
    from kling_mcp.settings.settings import Settings

__all__ = ["main"]

DESCRIPTION = """\
An MCP server that lets an assistant make Kling AI videos in conversation.
Without a command it serves MCP over standard input and output, as hosts start it; video and its
siblings call the same tools from a shell."""

COLLECTED_AT = 10_000
"""New objects that may be garbage, before they are looked through."""

INTERRUPTED, UNREAD = 130, 141
"""The exit codes after Ctrl-C, and when nobody reads the output any more: 128 and the signal."""


def _interrupted(words: Sequence[str]) -> int:
    """What Ctrl-C leaves before a command calls its tool: one object where --json asks for it."""
    import json
    import shlex

    from kling_mcp.cli.tool_commands import COMMANDS

    if words[0] in COMMANDS and "--json" in words:
        print(json.dumps({"goes_on": shlex.join(["kling-mcp", *words])}, ensure_ascii=False))
    return INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted,
    141 when what reads the output has ended (`| head`).

    A failure is printed in one line; `--debug` shows its traceback.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words:
        return _served(cast("argparse.Namespace", SimpleNamespace(run=_serve_stdio)))
    try:
        with guarded_output():
            try:
                arguments = _parse(words)
                if arguments.run not in (_serve_stdio, _serve_http):
                    return _run(arguments)
            finally:
                if sys.stdout:
                    sys.stdout.flush()
    except KeyboardInterrupt:
        return _interrupted(words)
    except BrokenPipeError:
        abandoned(sys.stdout)
        return UNREAD
    return _served(arguments)


def _served(arguments: argparse.Namespace) -> int:
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        from kling_mcp.settings.environment import UnusableEnvFile

        if getattr(arguments, "debug", False):
            raise
        with guarded_output():
            print(f"kling-mcp: {_in_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, UnusableEnvFile) else 1
    return code


def _in_words(error: Exception) -> str:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, KlingError):
        return f"{error.message} {error.advice}".rstrip()
    said = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {said} (--debug shows where)"


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    arguments, unknown = parser.parse_known_args(_with_values(words))
    arguments.words = words
    late = [name for name in _settings() if _option(name) in _options(unknown)]
    for name in filter(_is_secret, late):
        _refuse_secret(parser, name)
    if arguments.run not in (_serve_stdio, _serve_http):
        from kling_mcp.settings.settings import environment_name

        for name in [*_given_settings(arguments), *late]:
            parser.error(
                f"{_option(name)} is for the server; for this command, set {environment_name(name)}"
            )
    for name in late:
        parser.error(
            f"{_option(name)} comes before the command: kling-mcp {' '.join(unknown)} "
            f"{arguments.command}"
        )
    if unknown:
        hint = " (a prompt of several words stands in quotes)" if _is_prompt(arguments) else ""
        of_command = getattr(arguments, "parser", parser)
        of_command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return arguments


def _is_prompt(arguments: argparse.Namespace) -> bool:
    return arguments.run is _call and arguments.tool_command.makes


def _options(words: Sequence[str]) -> set[str]:
    """The options among words, without their values."""
    return {word.partition("=")[0] for word in words if word.startswith("-")}


SWITCHED = frozenset(["true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"])
"""The values of a switch, as pydantic reads them."""


def _with_values(words: Sequence[str]) -> list[str]:
    """The words, in which each switch before the command has its value: `--read-only` alone, and
    also before a command, is `--read-only=true`."""
    switches = {_option(name) for name in _settings() if _is_switch(name)}
    given = [*words]
    place = 0
    while place < len(given) and given[place].startswith("-"):
        word, after = given[place], (given[place + 1 : place + 2] or [""])[0]
        if word in switches and after.lower() not in SWITCHED:
            given[place] = f"{word}=true"
        elif "=" not in word and word not in ("-h", "--help", "--version", "--debug"):
            place += 1
        place += 1
    return given


def _parser() -> argparse.ArgumentParser:
    import argparse

    from kling_mcp.cli import demo, doctor
    from kling_mcp.cli import install as clients
    from kling_mcp.cli import serve as serve_command
    from kling_mcp.cli import tasks as tasks_command
    from kling_mcp.cli import tokens as tokens_command
    from kling_mcp.cli.tool_commands import COMMANDS
    from kling_mcp.cli.tool_options import CommandParser
    from kling_sandbox import cli as sandbox

    parser = argparse.ArgumentParser(
        prog="kling-mcp",
        usage="kling-mcp [SETTING ...] [COMMAND] [OPTION ...]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_settings_help(),
        allow_abbrev=False,  # it would see abbreviations of settings in the options of commands
    )
    parser.add_argument("--version", action="version", version=f"kling-mcp {__version__}")
    parser.add_argument("--debug", **DEBUG)
    _add_settings(parser)
    parser.set_defaults(run=_serve_stdio)
    commands = parser.add_subparsers(
        title="commands",
        metavar="COMMAND",
        dest="command",
        prog="kling-mcp",
        parser_class=CommandParser,
    )
    for calling in COMMANDS.values():
        command = _add_command(commands, calling.name, calling.text, _call)
        command.tool_command = calling
        command.set_defaults(tool_command=calling)
    serving = commands.add_parser(
        "serve",
        help="serve MCP over HTTP, on this machine or to a team",
        description="Serve MCP over HTTP. Settings come before the command. Any address but this "
        "machine's requires a login (docs/deploy.md).",
    )
    serve_command.add_arguments(serving)
    serving.set_defaults(run=_serve_http)
    for name, add_arguments, run, text in (
        (
            "demo",
            demo.add_arguments,
            demo.run_from,
            "make a video from a photograph, as an MCP client, without a key",
        ),
        (
            "doctor",
            doctor.add_arguments,
            doctor.run_from,
            "find out what is wrong: key, network, clock, folders",
        ),
        (
            "install",
            clients.add_install_arguments,
            clients.install,
            "add this server to the configuration of an MCP client",
        ),
        (
            "uninstall",
            clients.add_arguments,
            clients.uninstall,
            "remove this server from a client's configuration",
        ),
        (
            "tasks",
            tasks_command.add_arguments,
            tasks_command.run_from,
            "show what was made, when, its cost and its file",
        ),
        (
            "tokens",
            tokens_command.add_arguments,
            tokens_command.run_from,
            "manage logins for a server that a team shares",
        ),
        (
            "sandbox",
            sandbox.add_arguments,
            _run_sandbox,
            "serve Kling's HTTP on this machine, for any Kling client",
        ),
    ):
        command = _add_command(commands, name, text, run)
        add_arguments(command)
        if name == "sandbox":
            command.set_defaults(home=None)
    return parser


DEBUG: Mapping[str, Any] = {
    "action": "store_true",
    "help": "show where in the program a failure happened",
}


def _add_command(
    commands: argparse._SubParsersAction[CommandParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
) -> CommandParser:
    import argparse

    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--debug", default=argparse.SUPPRESS, **DEBUG)
    parser.set_defaults(run=run, parser=parser)
    return parser


def _call(arguments: argparse.Namespace) -> int:
    from kling_mcp.cli.calling import run_from

    return run_from(arguments)


def _run_sandbox(arguments: argparse.Namespace) -> int:
    """The sandbox reads no settings of the server, but its tasks lie beside the ledger."""
    from kling_mcp.settings.environment import read_environment
    from kling_sandbox import cli as sandbox

    if arguments.home is None:
        home = read_environment().values.get("KLING_MCP_HOME")
        arguments.home = Path(home).expanduser() / "sandbox" if home else sandbox.default_home()
    return sandbox.run_from(arguments)


SETTING = "setting_"
"""Prefix of the server's settings, since a command may have an option of the same name."""


def _given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        name.removeprefix(SETTING): value
        for name, value in vars(arguments).items()
        if name.startswith(SETTING) and value is not None
    }


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _settings() -> Mapping[str, FieldInfo]:
    from kling_mcp.settings.settings import Settings

    return Settings.model_fields


def _is_switch(name: str) -> bool:
    return _settings()[name].annotation is bool


def _is_secret(name: str) -> bool:
    return name.endswith("_key") or name == "database"


def _refuse_secret(parser: argparse.ArgumentParser, name: str) -> NoReturn:
    from kling_mcp.settings.settings import environment_name

    parser.error(f"a secret cannot be an option; set {environment_name(name)} in the environment")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    import argparse

    class OnlyFromEnvironment(argparse.Action):
        """Refuses a key as an option: other users of the machine, and logs, would see it."""

        def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
            _refuse_secret(parser, self.dest.removeprefix(SETTING))

    group = parser.add_argument_group(
        "settings of the server (other commands take them from the environment)"
    )
    for name, field in _settings().items():
        if _is_secret(name):
            group.add_argument(
                _option(name),
                dest=SETTING + name,
                action=OnlyFromEnvironment,
                help=argparse.SUPPRESS,
            )
            continue
        group.add_argument(
            _option(name),
            dest=SETTING + name,
            metavar="[true|false]" if _is_switch(name) else "VALUE",
            help=(field.description or "").replace("%", "%%"),
        )


def _settings_help() -> str:
    from kling_mcp.settings.settings import environment_name

    lines = ["environment, or the file that KLING_MCP_ENV_FILE names (the only places for keys):"]
    for name, field in _settings().items():
        what = field.description if _is_secret(name) else _option(name)
        lines.append(f"  {environment_name(name):<30} {what}")
    return "\n".join(lines)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings of this process; given options override the environment."""
    from kling_mcp.settings.settings import load_settings

    return load_settings(**_given_settings(arguments))


def _serve_http(arguments: argparse.Namespace) -> int:
    from kling_mcp.cli.serve import serve

    return serve(settings_from(arguments), arguments.host, arguments.port)


def _serve_stdio(arguments: argparse.Namespace) -> int:
    """Serve until standard input ends. Ctrl-C ends the process at once, since the SDK would wait
    for more input; the ledger is on disk, so nothing is lost.

    Imported objects live until the end. Garbage collection during the imports would cost a tenth of
    the start, and examining them later a little of each collection; a collection in each second
    call, a part of its time.
    """
    gc.disable()
    settings = settings_from(arguments)
    from kling_mcp.protocol.server import build_server

    server = build_server(settings)
    gc.freeze()
    gc.set_threshold(COLLECTED_AT)
    gc.enable()
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    server.run("stdio")
    return 0
