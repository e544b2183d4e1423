"""The folder whose home and settings file a command uses: the current one, or the nearest above that has either."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.settings.settings_file import FILE_NAME

HOME_NAME = ".waybill"


def project_folder(start: Path) -> Path:
    """Return *start*, or the nearest folder above it that holds a home or a settings file; *start* if none does.

    What another account has put into a folder above is not used: it could name any program's storage or database.
    """
    for folder in (start, *start.parents):
        if any(os.path.lexists(folder / name) for name in (HOME_NAME, FILE_NAME)) and (
            folder == start or _is_ours(folder)
        ):
            return folder
    return start


def _is_ours(folder: Path) -> bool:
    account = os.geteuid()
    home, file = _owner(folder / HOME_NAME), _owner(folder / FILE_NAME)
    # A settings file of the administrator is as good as one's own.
    return home in {None, account} and file in {None, account, 0}


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None
