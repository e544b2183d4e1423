"""The options of the conversion to Markdown."""

from __future__ import annotations

from pydantic import Field, field_validator

from tasks.contract import StageOptions
from tasks.conversion.ocr.pages import Mode, Ocr
from tasks.conversion.plain.encodings import codec_of


class ConvertOptions(StageOptions):
    """Options of the conversion to Markdown."""

    exclude_selectors: tuple[str, ...] = Field(
        default=("nav", "footer", "aside"),
        max_length=50,
        description="HTML pages and HTML mails: CSS selectors of elements to leave out. Scripts and styles always are.",
    )
    include_speaker_notes: bool = Field(
        default=True, description="Presentations: put the speaker notes below their slide."
    )
    encoding: str | None = Field(
        default=None,
        max_length=40,
        description="Text, Markdown, code and CSV: the character encoding (utf-8, cp1252, shift_jis ...). "
        "Empty: detected.",
    )
    csv_delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="CSV: the character between two cells. Empty: detected.",
    )

    ocr: Mode = Field(
        default="auto",
        description="PDF pages and images without text: read them by OCR. auto: if the extra `ocr` is installed; "
        "require: fail if it is not.",
    )
    ocr_max_pages: int = Field(
        default=12,
        ge=1,
        le=10_000,
        description="How many pages of a document are read by OCR, from the first; the others get a warning. "
        "A page takes up to 7 s of the time limit.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and codec_of(value) is None:
            raise ValueError(
                "it is no known character encoding; use a name such as utf-8, cp1252 or shift_jis, or leave it empty"
            )
        return value

    @field_validator("csv_delimiter")
    @classmethod
    def _can_delimit(cls, value: str | None) -> str | None:
        if value is not None and value in '"\r\n\0':
            raise ValueError("a line end or the quotation mark cannot stand between two cells; use another character")
        return value

    def ocr_use(self) -> Ocr:
        """Return what the options say about OCR."""
        return Ocr(mode=self.ocr, max_pages=self.ocr_max_pages)
