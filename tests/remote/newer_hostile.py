"""The hostile stage of a later version."""

from __future__ import annotations

from dataclasses import replace

from tests.stages.hostile import HOSTILE as EARLIER

HOSTILE = replace(EARLIER, version="2")
