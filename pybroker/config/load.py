"""Reading the configuration: `--set` over environment over file over defaults, with the source of every key.

Nothing is opened for writing. Errors of all layers are collected and raised together.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pybroker.config.checks import find_problems
from pybroker.config.decode import Decoder, Given, Tree, grow, merge
from pybroker.config.inert import inert_keys
from pybroker.config.schema import Config
from pybroker.errors import ConfigError

ENVIRONMENT_PREFIX = "PYBROKER__"
"""Beginning of the variables that set keys: `PYBROKER__MQTT__MAX_INFLIGHT=64`."""

PROFILE_VARIABLE = "PYBROKER_SECURITY_PROFILE"
"""Variable that sets `security_profile`, as EMQX's does."""

SET_OPTION = "--set"
"""Source of keys that the command line sets."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration and how it came about.

    Args:
        config: checked as a whole.
        sources: where each key that is not at its default was set: a file name, a variable, or `--set`.
        warnings: what is odd but no error, for people.
    """

    config: Config
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(file: str | Path | None = None, env: Mapping[str, str] | None = None, sets: Sequence[str] = ()) -> Loaded:
    """Read and check the whole configuration.

    Args:
        file: TOML file; `None`: no file, only defaults and the layers above.
        env: environment; variables that do not begin with `PYBROKER__` are left alone. `None`: none.
        sets: `KEY=VALUE` texts; a later one wins.

    Raises:
        ConfigError: everything that is wrong, in `problems`; a file that cannot be read or parsed ends the search.
    """
    tree: Tree = {}
    problems: list[ConfigError] = []
    if file is not None:
        tree = _read_file(Path(file))
    for variable, text in sorted((env or {}).items()):
        tree = merge(tree, _from_variable(variable, text, problems))
    for text in sets:
        tree = merge(tree, _from_option(text, problems))
    decoder = Decoder()
    config = decoder.section(Config, tree, Config())
    problems += decoder.problems
    if isinstance(config, Config) and not problems:
        problems += [_with_source(problem, decoder.sources) for problem in find_problems(config)]
    if problems or not isinstance(config, Config):
        raise ConfigError.join(problems)
    return Loaded(config=config, sources=decoder.sources, warnings=tuple(_warnings(config, decoder.sources)))


def _read_file(file: Path) -> Tree:
    try:
        return grow(tomllib.loads(file.read_text(encoding="utf-8")), str(file))
    except OSError as error:
        raise ConfigError("", f"cannot be read: {(error.strerror or str(error)).lower()}", source=str(file)) from None
    except UnicodeDecodeError as error:
        raise ConfigError("", f"is not UTF-8 at byte {error.start}", source=str(file)) from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError("", f"is not TOML: {message[:1].lower()}{message[1:]}", source=str(file)) from None


def _from_variable(variable: str, text: str, problems: list[ConfigError]) -> Tree:
    if variable == PROFILE_VARIABLE:
        return {"security_profile": Given(text, variable)}
    if not variable.startswith(ENVIRONMENT_PREFIX):
        return {}
    names = variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")
    if not all(names):
        problems.append(
            ConfigError(variable, "found an empty name, allowed: PYBROKER__SECTION__KEY", source="environment")
        )
        return {}
    return _nest(names, Given(text, variable, is_text=True))


def _from_option(text: str, problems: list[ConfigError]) -> Tree:
    path, equals, value = text.partition("=")
    try:
        names = _names(tomllib.loads(f"{path} = 0")) if equals and "\n" not in path else []
    except tomllib.TOMLDecodeError:
        names = []
    if not names:
        problems.append(
            ConfigError(text, "found no key, allowed: KEY=VALUE such as mqtt.max_inflight=64", source=SET_OPTION)
        )
        return {}
    return _nest(names, Given(value.strip(), SET_OPTION, is_text=True))


def _names(table: Mapping[str, object]) -> list[str]:
    """Return the names on the way to the only value of nested tables."""
    name, value = next(iter(table.items()))
    return [name, *_names(value)] if isinstance(value, Mapping) else [name]


def _nest(names: Sequence[str], given: Given) -> Tree:
    tree: Tree = {names[-1]: given}
    for name in reversed(names[:-1]):
        tree = {name: tree}
    return tree


def _with_source(problem: ConfigError, sources: Mapping[str, str]) -> ConfigError:
    """Return the problem with the file or variable that set its key, or that set anything near it."""
    path = problem.path
    while path:
        near = [source for key, source in sources.items() if key == path or key.startswith((f"{path}.", f"{path}["))]
        if near:
            return ConfigError(problem.path, problem.message, source=near[0])
        path = path.rpartition(".")[0]
    return problem


def _warnings(config: Config, sources: Mapping[str, str]) -> list[str]:
    """Return one line with all keys that were set away from their defaults though they do nothing."""
    keys = [f"{path} ({_source_of(path, sources)})" for path in inert_keys(config)]
    return [f"accepted for compatibility, without effect: {', '.join(keys)}"] if keys else []


def _source_of(path: str, sources: Mapping[str, str]) -> str:
    """Return what has set a key, or the list that it stands in."""
    return sources.get(path) or sources.get(path.partition("[")[0], "default")
