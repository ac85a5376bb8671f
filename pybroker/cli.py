"""The command line: arguments in, exit code out. No rule of the broker stands here.

Errors go to the standard error stream as what happened, why, and what to do next; a traceback means a defect.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | the configuration was refused |
| 2 | the command line was wrong |
| 3 | the broker could not start, had to stop, or cannot be reached |
| 4 | the broker refused a command, or a check found something wrong |
| 130 | interrupted from the keyboard |
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
import structlog

import pybroker
from pybroker import log, memory
from pybroker.config.checks import can_write_below
from pybroker.config.decode import show
from pybroker.config.load import Loaded, load
from pybroker.config.render import leaves, nest, render, to_toml
from pybroker.ctl.client import Unreachable
from pybroker.ctl.groups import add_commands
from pybroker.errors import BrokerError, ConfigError, Refused

_START_BROKER = "start the broker with: pybroker serve; or name its folder with: pybroker ctl --data DIR"


class ExitCode(IntEnum):
    """What the process ends with; see the table above."""

    OK = 0
    CONFIG = 1
    USAGE = 2
    BROKER = 3
    REFUSED = 4
    INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code.

    Args:
        arguments: words behind the program's name; `None`: those of the process.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error that a user can cause is printed, not raised."""
    try:
        code = commands.main(args=arguments, prog_name="pybroker", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except ConfigError as error:
        _complain(
            f"the configuration is refused: {_count(error)}",
            error,
            "correct it, then run: pybroker check --config FILE",
        )
        return ExitCode.CONFIG
    except Unreachable as error:
        _complain("the command was not carried out", error, _START_BROKER)
        return ExitCode.BROKER
    except Refused as error:
        _complain("the command was refused", error, "correct it; what it takes: add --help")
        return ExitCode.REFUSED
    except (BrokerError, OSError) as error:
        _complain("the broker stopped", error, "remove the cause, then start it again")
        return ExitCode.BROKER
    return int(code or ExitCode.OK)


def _complain(what: str, why: Exception, next_step: str) -> None:
    click.echo(f"error: {what}", err=True)
    for line in str(why).splitlines():
        click.echo(f"  {line}", err=True)
    click.echo(f"next: {next_step}", err=True)


def _count(error: ConfigError) -> str:
    return "1 problem" if len(error.problems) == 1 else f"{len(error.problems)} problems"


def _layers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the configuration comes from."""
    options = (
        click.option("--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="TOML file to read."),
        click.option(
            "--data", metavar="DIR", help="Folder of everything that is stored; the same as --set node.data_dir."
        ),
        click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Set one key; may be repeated."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _load(file: Path | None, data: str | None, sets: Sequence[str]) -> Loaded:
    # JSON text is a TOML string, so that a folder named `1` or `"x"` stays what it is.
    own = [f"node.data_dir={json.dumps(data)}"] if data is not None else []
    return load(file, os.environ, [*sets, *own])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def commands() -> None:
    """Run and inspect the MQTT broker pybroker."""


@commands.command()
@_layers
def serve(file: Path | None, data: str | None, sets: tuple[str, ...]) -> int:
    """Run the broker until it is told to stop.

    Keys come from --set, then from variables such as PYBROKER__MQTT__MAX_INFLIGHT=64, then from the file.
    """
    memory.share_one_arena()
    loaded = _load(file, data, sets)
    with log.writing(loaded.config.log, loaded.config.node.data_dir) as writer:
        for warning in loaded.warnings:
            structlog.get_logger("pybroker.config").warning(warning)
        # Loaded here, so that the other commands do not pay for the core; by name, because nothing imports `app`.
        run_broker: Callable[..., int] = import_module("pybroker.app").serve
        return run_broker(loaded.config, writer.set_level, lambda: _load(file, data, sets).config)


@commands.command()
@_layers
def check(file: Path | None, data: str | None, sets: tuple[str, ...]) -> int:
    """Check the configuration and write nothing."""
    loaded = _load(file, data, sets)
    folder = loaded.config.node.data_dir
    if not can_write_below(folder):
        source = loaded.sources.get("node.data_dir", "default")
        raise ConfigError("node.data_dir", f"found {show(folder)}, allowed: folder that can be written", source=source)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file or 'defaults'}: ok")
    return ExitCode.OK


@commands.group("config")
def config_commands() -> None:
    """Look at the configuration."""


@config_commands.command("show")
@_layers
@click.option("--effective", is_flag=True, help="Show keys at their default too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the keys, and where each was set.")
def show_config(file: Path | None, data: str | None, sets: tuple[str, ...], effective: bool, as_json: bool) -> int:
    """Print the keys that are set and where they come from. Secrets are masked."""
    loaded = _load(file, data, sets)
    if effective:
        values = render(loaded.config, masks_secrets=True)
    else:
        values = nest(
            (path, value) for path, value in leaves(loaded.config, masks_secrets=True) if _is_set(path, loaded)
        )
    if as_json:
        click.echo(json.dumps({"config": values, "sources": loaded.sources}, indent=2))
    else:
        click.echo(to_toml(values, loaded.sources), nl=False)
    return ExitCode.OK


def _is_set(path: str, loaded: Loaded) -> bool:
    """Return whether a key was set itself or lies in a table that was set as one value."""
    return any(path == key or path.startswith(f"{key}.") for key in loaded.sources)


@commands.command()
def version() -> int:
    """Print the version of the broker and of what it runs on."""
    system = f"{platform.system()} {platform.machine()}"
    click.echo(f"pybroker {pybroker.__version__} (Python {platform.python_version()}, {system})")
    return ExitCode.OK


@commands.group("ctl")
@_layers
@click.pass_context
def ctl_commands(context: click.Context, file: Path | None, data: str | None, sets: tuple[str, ...]) -> None:
    """Look at a running broker and change it.

    Its data folder is found as `serve` finds it: --data, --config, --set and the environment.
    """
    context.obj = lambda: _load(file, data, sets).config.node.data_dir


add_commands(ctl_commands, lambda context: Path(context.obj()))
