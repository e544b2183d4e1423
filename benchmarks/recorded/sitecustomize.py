"""Measuring hooks for the processes of a benchmark; Python imports this file at its start where it is on PYTHONPATH.

- `BENCH_FSYNCS`: a file that grows by one byte with each fsync of these processes.
- `BENCH_REQUESTS`: the same for requests to an object store.
- `BENCH_RECORD`: a folder; each stage's output is kept there as well, by stage and by the document's sha256.
- `BENCH_REPLAY`: such a folder; each stage returns its recorded output and computes nothing.

Works in any checkout of the project, so that two can be compared.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import importlib.abc
import importlib.util
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


def _counted(function: Callable[..., Any], file: str) -> Callable[..., Any]:
    # Appending one byte is atomic, so processes count together, and one that is killed has counted too.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def count_and_call(*arguments: Any, **named: Any) -> Any:
        os.write(descriptor, b".")
        return function(*arguments, **named)

    return count_and_call


def _count_requests(module: ModuleType) -> None:
    client: Any = module.AioBaseClient
    client._make_api_call = _counted(client._make_api_call, os.environ["BENCH_REQUESTS"])


def _replace_stages(registry: Any) -> None:
    registry.BUILT_IN = tuple(map(_recording if "BENCH_RECORD" in os.environ else _replaying, registry.BUILT_IN))


def _recording(stage: Any) -> Any:
    def run(given: Any, options: Any) -> Any:
        output = stage.run(given, options)
        kept = (output.content, dict(output.metadata), output.warnings)
        _place(os.environ["BENCH_RECORD"], stage.name, given).write_bytes(pickle.dumps(kept))
        return output

    return _with_run(stage, run)


def _replaying(stage: Any) -> Any:
    def run(given: Any, options: Any) -> Any:
        from tasks.contract import StageOutput

        del options
        kept = _place(os.environ["BENCH_REPLAY"], stage.name, given).read_bytes()
        content, metadata, warnings = pickle.loads(kept)  # noqa: S301 (written by this benchmark)
        return StageOutput(content=content, metadata=metadata, warnings=warnings)

    return replace(_with_run(stage, run), has_effect=None)


def _with_run(stage: Any, run: Callable[..., Any]) -> Any:
    # A checkout that runs several documents together has a function of its own for that.
    together = {"run_together": None} if "run_together" in {one.name for one in fields(stage)} else {}
    return replace(stage, run=run, **together)


def _place(folder: str, stage: str, given: Any) -> Path:
    return Path(folder) / f"{stage}-{given.document.sha256}.pickle"


class _AfterImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls a function with a module when it has been imported; imports nothing by itself."""

    def __init__(self, name: str, act: Callable[[ModuleType], None]) -> None:
        self._name, self._act = name, act
        self._loader: Any = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != self._name or self._loader is not None:
            return None
        self._loader = False  # the search below must not end here
        spec = importlib.util.find_spec(fullname)
        if spec is None:
            return None
        self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._act(module)


if "BENCH_FSYNCS" in os.environ:
    os.fsync = _counted(os.fsync, os.environ["BENCH_FSYNCS"])
    os.fdatasync = _counted(os.fdatasync, os.environ["BENCH_FSYNCS"])
if "BENCH_REQUESTS" in os.environ:
    sys.meta_path.insert(0, _AfterImport("aiobotocore.client", _count_requests))
if "BENCH_RECORD" in os.environ or "BENCH_REPLAY" in os.environ:
    sys.meta_path.insert(0, _AfterImport("tasks.registry", _replace_stages))
