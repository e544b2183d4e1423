"""Mails and notebooks that make a careless pattern take hours are read in proportion to their size."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.unit import conversion_samples as samples

HEAD = "From: a@b.example\nSubject: x\n"
VERSIONS = (
    HEAD + 'Content-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: text/plain\n\nwords here\n'
    "--b\nContent-Type: text/html\n\n<p>words</p>{}\n--b--\n"
)
OUTPUT = {"output_type": "stream", "name": "stdout", "text": "a\rb" + "x" * 1_000_000}
CASES = {
    "open-elements.eml": VERSIONS.format("<style " * 100_000),
    "open-comments.eml": VERSIONS.format("<!--<style>" * 100_000),
    "open-images.eml": VERSIONS.format("<img " * 100_000),
    "signed-without-end.eml": f"{HEAD}\n" + "-----BEGIN PGP SIGNED MESSAGE-----\n" * 30_000,
    "files-without-end.eml": f"{HEAD}\n" + "begin 644 a\nM\n" * 30_000,
    "open-parameters.eml": f"{HEAD}Content-Type: text/enriched\n\nwords" + "<param>" * 100_000,
    "encoded-words.eml": f"{HEAD}To: {'=?utf-8?Q?a?= ' * 2_000}\n\nwords\n",
    "overwritten-line.ipynb": json.dumps(
        {"nbformat": 4, "cells": [{"cell_type": "code", "source": "show()", "outputs": [OUTPUT]}]}
    ),
    "quotes.csv": 'a, "b\n' * 20_000,
    "gaps.csv": "a,b\n" + "T,1,2\n\n3,4\n" * 30_000,
}


@pytest.mark.parametrize("name", list(CASES))
def test_it_takes_time_in_proportion(tmp_path: Path, name: str) -> None:
    path = samples.write(tmp_path / name, CASES[name])
    started = time.thread_time()
    samples.convert(path)
    assert time.thread_time() - started < 20
