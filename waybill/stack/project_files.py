"""Prefect's settings files in the working directory: they are for another server than the one that the stack starts.

Prefect reads ``.env``, ``prefect.toml`` and ``pyproject.toml`` of the working directory each time it makes settings,
and a broken one ends the import. There is no setting against it, so its readers are replaced, in this process only.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = (".env", "prefect.toml", "pyproject.toml")


def ignore_project_files(neutral: Path) -> None:
    """Import Prefect in the folder *neutral* and let it read no settings file of a working directory from then on.

    Does nothing where there is no such file, so that commands which may not need Prefect do not import it.
    """
    if not any(os.path.lexists(name) and not _is_foreign_pyproject(Path(name)) for name in _NAMES):
        return
    with _working_in(neutral):
        from prefect.settings import base, sources

        _leave_out_env_files(base.PrefectBaseSettings)
        read = sources._read_toml_file  # pyright: ignore[reportPrivateUsage]
        # Profiles have absolute paths; the files of a working directory are named relative to it.
        sources._read_toml_file = lambda path: read(path) if path.is_absolute() else {}  # pyright: ignore[reportPrivateUsage]
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _is_foreign_pyproject(path: Path) -> bool:
    """Whether it says nothing to Prefect, like that of most projects."""
    try:
        return path.name == "pyproject.toml" and b"prefect" not in path.read_bytes()
    except OSError:
        return False


def _leave_out_env_files(settings: Any) -> None:
    settings.model_config["env_file"] = None
    for derived in settings.__subclasses__():
        _leave_out_env_files(derived)


@contextmanager
def _working_in(folder: Path) -> Generator[None]:
    # By a descriptor: the caller's directory may have no path any more.
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
