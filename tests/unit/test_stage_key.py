"""The stage key: it changes with everything that decides an output, and with nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.contract import SOURCE, Read, Services, Stage, StageInput, StageOptions, StageOutput
from tasks.stage_key import stage_key


class Options(StageOptions):
    size: int = 256
    ratio: float = 0.5
    name: str = "x"
    labels: frozenset[str] = frozenset({"alpha", "beta", "gamma", "delta"})
    nested: dict[str, frozenset[int]] = {"b": frozenset({3, 1, 2}), "a": frozenset()}  # noqa: RUF012


def run(given: StageInput, options: Options) -> StageOutput:
    raise NotImplementedError


STAGE: Stage[Options] = Stage(
    number=3,
    name="chunker",
    version="1",
    suffix=".chunks.json",
    media_type="application/json",
    reads=(Read(any_of=(SOURCE,)),),
    options=Options,
    run=run,
)
SERVICES = Services(home=Path("/home"))
INPUTS = {SOURCE: "a" * 64, "markdown-conversion": "b" * 64}


def key(
    stage: Stage[Any] = STAGE, options: Options | None = None, inputs: dict[str, str] | None = None, **services: Any
) -> str:
    return stage_key(
        stage, options or Options(), dataclasses.replace(SERVICES, **services), INPUTS if inputs is None else inputs
    )


def identified_by(**facts: str) -> Stage[Any]:
    return dataclasses.replace(STAGE, identity=lambda _options, _services: facts)


@pytest.mark.parametrize(
    "other",
    [
        key(dataclasses.replace(STAGE, name="chunker2")),
        key(dataclasses.replace(STAGE, version="2")),
        key(options=Options(size=257)),
        key(options=Options(ratio=0.25)),
        key(options=Options(name="y")),
        key(options=Options(labels=frozenset({"alpha"}))),
        key(options=Options(nested={"b": frozenset({1, 2}), "a": frozenset()})),
        key(identified_by(model="m1")),
        key(inputs={SOURCE: "c" * 64, "markdown-conversion": "b" * 64}),
        key(inputs={SOURCE: "b" * 64, "markdown-conversion": "a" * 64}),
        key(inputs={SOURCE: "a" * 64, "markdown-optimizer": "b" * 64}),
        key(inputs={SOURCE: "a" * 64}),
    ],
)
def test_the_key_changes_with_each_ingredient(other: str) -> None:
    assert other != key()


def test_the_key_changes_with_what_the_stage_says_it_depends_on() -> None:
    keys = {key(identified_by(model="m1")), key(identified_by(model="m2")), key(identified_by(server="m1"))}
    assert len(keys) == 3


def test_the_key_does_not_change_with_what_decides_nothing() -> None:
    same = [
        key(dataclasses.replace(STAGE, number=4, suffix=".json", media_type="text/plain")),
        key(options=Options(size=256, labels=frozenset({"delta", "gamma", "beta", "alpha"}))),
        key(inputs=dict(reversed(INPUTS.items()))),
        key(home=Path("/elsewhere"), database_url="postgresql://other"),
    ]
    assert set(same) == {key()}


def test_the_key_is_64_hex_digits() -> None:
    assert len(key()) == 64
    int(key(), 16)


def test_the_key_is_the_same_in_every_process() -> None:
    program = "from tests.unit.test_stage_key import key; print(key())"
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd()), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == key()
