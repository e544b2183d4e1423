"""Places in the Markdown are found by letters and digits alone, and only where they are certain."""

from __future__ import annotations

from tasks.conversion.pdf.placement import Condensed, Edits, condense


def test_blanks_markup_and_compatibility_forms_do_not_count() -> None:
    assert condense("**Of\ufb01ce** 10 m\u00b2,\n| x |") == "Office10m2x"


def test_a_piece_is_found_between_its_contexts() -> None:
    markdown = "The range of **10- 15** kilometres was closed."
    piece = Condensed(markdown).between("range of 10", "15 kilometres was")
    assert piece is not None
    assert markdown[slice(*piece)] == "- "


def test_equal_places_are_given_out_one_after_another() -> None:
    line = "The keeper walked ten kilo- metres along the shore of the lake. "
    condensed = Condensed(line * 2)
    first = condensed.between("The keeper walked ten kilo", "metres along the shore of the lake")
    second = condensed.between("The keeper walked ten kilo", "metres along the shore of the lake")
    assert first is not None
    assert second is not None
    assert second[0] - first[0] == len(line)


def test_too_little_context_and_ambiguous_ends_are_no_place() -> None:
    assert Condensed("a 1 b 2").between("a", "1") is None
    assert Condensed("The end of it. The end of it.").end_of("end of it") is None
    assert Condensed("7 notes, 17 notes").whole("7 notes") == (0, 7)


def test_edits_do_not_overlap_and_insertions_keep_their_order() -> None:
    edits = Edits("0123456789")
    edits.replace(2, 5, "x")
    edits.replace(3, 4, "y")
    edits.insert(8, "a")
    edits.insert(8, "b")
    assert edits.result() == "01x567ab89"
