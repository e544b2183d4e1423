"""Raised signs of a long document: every page keeps its place, its text and the document's properties."""

from __future__ import annotations

from pathlib import Path

from tests.unit import conversion_samples as samples


def test_pages_are_replaced_in_their_places(tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "long.pdf"), invariant=1)
    canvas.setTitle("The basin")
    for number in range(1, 46):
        text = canvas.beginText(72, 760)
        text.setFont("Helvetica", 11)
        text.textOut(f"In basin {number} of the harbour there are 10")
        if number % 7:  # some pages have nothing to be put on its line
            text.setRise(4)
            text.setFont("Helvetica", 7)
            text.textOut("3")
            text.setRise(0)
            text.setFont("Helvetica", 11)
        text.textOut(" cubic metres of water.")
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()

    header, body = samples.split(samples.convert(tmp_path / "long.pdf"))
    wanted = [
        f"In basin {number} of the harbour there are 10{'^3^' if number % 7 else ''} cubic metres of water."
        for number in range(1, 46)
    ]
    assert [line for line in body.split("\n") if line] == wanted
    assert header["title"] == "The basin"
    assert header["pages"] == 45
