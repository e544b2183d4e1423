"""Command groups that import a command's module when that command is run, not before.

`waybill --help` lists names and summaries from a table, so that no command pays for the libraries of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.main import get_command

from blocks.runtime.quick_imports import quick_imports


@dataclass(frozen=True)
class LazyCommand:
    """One command: the module and the name of its function, and the summary that the list of commands shows."""

    module: str
    function: str
    summary: str

    def load(self, name: str) -> TyperCommand:
        """Import the module and build the command."""
        app = _plain_typer()
        with quick_imports():
            module = import_module(self.module)
        app.command(name, cls=_Command)(getattr(module, self.function))
        return cast("TyperCommand", get_command(app))


@dataclass(frozen=True)
class LazyCommands:
    """A group of commands below another one."""

    summary: str
    commands: Mapping[str, LazyCommand]

    def load(self, name: str) -> TyperGroup:
        """Build the group; its commands stay unloaded."""
        app = _plain_typer(name=name, help=self.summary, no_args_is_help=True, cls=lazy_group(self.commands))
        app.callback()(lambda: None)
        return cast("TyperGroup", get_command(app))


def lazy_group(entries: Mapping[str, LazyCommand | LazyCommands]) -> type[TyperGroup]:
    """Return a class for ``typer.Typer(cls=...)`` whose commands are *entries*, in their order."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = cast("MutableMapping[str, Any]", _LoadedOnUse(entries))

        def get_params(self, ctx: Any) -> list[Any]:
            return _unvalidated(super().get_params(ctx))

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            """Write the list of commands from the table: Typer's own would load each of them for its summary."""
            with formatter.section("Commands"):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])

    return LazyGroup


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return [_in_words(parameter) for parameter in _unvalidated(super().get_params(ctx))]


def _in_words(parameter: Any) -> Any:
    """Let *parameter* show what a person types: ``SOURCE...``, ``--limit NUMBER``.

    Typer shows the types of Python (``<int range>``), and puts braces around an argument that is needed.
    """
    if isinstance(parameter, TyperArgument):
        name = (parameter.metavar or str(parameter.name).upper()).strip("[].")
        several = f"{name}..." if parameter.nargs != 1 else name
        shown = several if parameter.required else f"[{several}]"
        setattr(parameter, "get_usage_pieces", partial(_constant, [shown]))  # noqa: B010 - as `process_value` above
        setattr(parameter, "display_type_rich", partial(_constant, ""))  # noqa: B010
    elif parameter.metavar is None and not parameter.is_flag:
        parameter.display_type_rich = partial(_what_to_type, parameter.display_type_rich)
    return parameter


def _constant(value: Any, ctx: Any) -> Any:
    del ctx
    return value


def _what_to_type(label: Callable[..., str], ctx: Any) -> str:
    plain = label(ctx=ctx).strip("<>")
    if plain.startswith(("int", "float")):
        return "NUMBER"
    return "TEXT" if plain == "str" else plain.upper()


def _unvalidated(parameters: list[Any]) -> list[Any]:
    """Let *parameters* take texts and missing values as they are.

    Typer builds a pydantic validator for each parameter, also for one that was not given, and importing pydantic takes
    as long as all the rest of a light command.
    """
    for parameter in parameters:
        if "process_value" not in vars(parameter):
            parameter.process_value = partial(_process_value, parameter, parameter.process_value)
    return parameters


def _process_value(parameter: Any, validate: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    if value is None and not parameter.required:
        return value
    annotation = parameter.type_descriptor.annotation
    if annotation == list[str] and isinstance(value, tuple) and value:
        return list(cast("tuple[str, ...]", value))
    is_single = parameter.nargs == 1 and not getattr(parameter, "multiple", False)
    if is_single and value is not None and (value == parameter.default or annotation is str):
        return cast("Any", value)
    return validate(ctx, value)


class _LoadedOnUse(Mapping[str, "TyperCommand | TyperGroup"]):
    """Typer's mapping from names to commands; reading an item imports it, listing the names imports nothing."""

    def __init__(self, entries: Mapping[str, LazyCommand | LazyCommands]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return self._entries[name].load(name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _plain_typer(**options: Any) -> typer.Typer:
    # Without Rich: help and errors are plain text, which pipes and screen readers take as it is.
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)
