"""What `waybill search` prints of a hit: title, similarity, place, and the sentence with its marks."""

from __future__ import annotations

import io
import sys

import pytest

from blocks.search_index import SearchHit
from waybill.commands.search import _nothing, _print_hit


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def hit(
    text: str, sentence: tuple[int, int], marks: list[tuple[int, int]], similarity: float | None = 0.7123
) -> SearchHit:
    return SearchHit(
        sha256="0" * 64,
        title="Lamp rules",
        source="rules.md",
        media_type="text/markdown",
        language="en",
        chunk_id="c0",
        ordinal=0,
        heading_path=["Lamp rules", "Night"],
        text=text,
        start=0,
        end=len(text),
        score=0.1,
        found_by=["words"],
        similarity=similarity,
        sentence=sentence,
        marks=marks,
    )


TEXT = "It is old. A lamp\nburns all [night]. \x1b[2J"


def test_a_pipe_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    _print_hit(1, hit(TEXT, (11, 36), [(0, 2), (13, 17), (29, 34)]))
    assert capsys.readouterr().out == "1. Lamp rules  (rules.md)  0.71\n   Night\n   A lamp burns all [night].\n\n"


def test_a_terminal_shows_the_words_of_the_question_in_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    _print_hit(2, hit(TEXT, (11, len(TEXT)), [(13, 17)], None))
    head, place, sentence, *_ = terminal.getvalue().splitlines()
    assert (head, place) == ("2. Lamp rules  (rules.md)", "   Night")
    assert sentence == "   A \x1b[1mlamp\x1b[0m burns all [night]. \\x1b[2J"


def test_a_sentence_is_shown_without_the_signs_of_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    text = "# Rules\n\nA [**lamp**](https://lamp.example) burns `all night`."
    place = text.index("lamp")
    _print_hit(1, hit(text, (9, len(text)), [(place, place + 4), (place + 18, place + 22)]))
    assert terminal.getvalue().splitlines()[2] == "   A \x1b[1mlamp\x1b[0m burns all night."


def test_of_a_long_row_the_part_with_the_words_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    row = "| " + "cell | " * 200 + "lamp |" + " cell |" * 200
    place = row.index("lamp")
    _print_hit(1, hit(row, (0, len(row)), [(place, place + 4)]))
    shown = capsys.readouterr().out.splitlines()[2]
    assert "lamp" in shown
    assert len(shown) <= 410
    assert shown.startswith("   …") and shown.endswith("…")


def test_without_a_passage_the_filters_are_named_only_where_there_are_any() -> None:
    assert _nothing(filters=[None, None], show_all=False).startswith("nothing close to this question is indexed; --all")
    assert "--type" in _nothing(filters=[None, "pdf"], show_all=False)
    assert _nothing(filters=[None, "pdf"], show_all=True).startswith("there is no passage in the documents that")
    assert _nothing(filters=[None], show_all=True).startswith("nothing is indexed")
