"""The types of documents that Waybill reads, as one table; pure.

A type here has a reader (`tasks.conversion.readers`). Media types are those that the conversion library knows, for the
types that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "pdf",
    "office",
    "book",
    "mail",
    "web",
    "notebook",
    "markup",
    "markdown",
    "text",
    "table",
    "code",
    "database",
    "image",
]


@dataclass(frozen=True, kw_only=True)
class FileType:
    """The type of a file. `extension` is the usual one without a dot; `family` decides which converter reads it."""

    media_type: str
    extension: str
    family: Family
    label: str


_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"

_ROWS: tuple[tuple[str, str, Family, str], ...] = (
    ("pdf", "application/pdf", "pdf", "PDF document"),
    # Office Open XML
    ("docx", f"{_OOXML}.wordprocessingml.document", "office", "Word document"),
    ("dotx", f"{_OOXML}.wordprocessingml.template", "office", "Word template"),
    ("docm", "application/vnd.ms-word.document.macroEnabled.12", "office", "Word document with macros"),
    ("dotm", "application/vnd.ms-word.template.macroEnabled.12", "office", "Word template with macros"),
    ("pptx", f"{_OOXML}.presentationml.presentation", "office", "PowerPoint presentation"),
    ("ppsx", f"{_OOXML}.presentationml.slideshow", "office", "PowerPoint slide show"),
    ("potx", f"{_OOXML}.presentationml.template", "office", "PowerPoint template"),
    ("pptm", "application/vnd.ms-powerpoint.presentation.macroEnabled.12", "office", "PowerPoint file with macros"),
    ("potm", "application/vnd.ms-powerpoint.template.macroEnabled.12", "office", "PowerPoint template with macros"),
    ("xlsx", f"{_OOXML}.spreadsheetml.sheet", "office", "Excel workbook"),
    ("xltx", f"{_OOXML}.spreadsheetml.template", "office", "Excel template"),
    ("xlsm", "application/vnd.ms-excel.sheet.macroEnabled.12", "office", "Excel workbook with macros"),
    ("xltm", "application/vnd.ms-excel.template.macroEnabled.12", "office", "Excel template with macros"),
    ("xlam", "application/vnd.ms-excel.addin.macroEnabled.12", "office", "Excel add-in"),
    ("xlsb", "application/vnd.ms-excel.sheet.binary.macroEnabled.12", "office", "Excel binary workbook"),
    # Office 97-2003 and other compound files
    ("doc", "application/msword", "office", "Word 97-2003 document"),
    ("xls", "application/vnd.ms-excel", "office", "Excel 97-2003 workbook"),
    ("ppt", "application/vnd.ms-powerpoint", "office", "PowerPoint 97-2003 presentation"),
    ("msg", "application/vnd.ms-outlook", "office", "Outlook message"),
    ("hwp", "application/x-hwp", "office", "Hangul document"),
    # OpenDocument and other packages
    ("odt", f"{_ODF}.text", "office", "OpenDocument text"),
    ("ods", f"{_ODF}.spreadsheet", "office", "OpenDocument spreadsheet"),
    ("odp", f"{_ODF}.presentation", "office", "OpenDocument presentation"),
    ("hwpx", "application/haansofthwpx", "office", "Hangul document (XML)"),
    ("pages", "application/x-iwork-pages-sffpages", "office", "Pages document"),
    ("numbers", "application/x-iwork-numbers-sffnumbers", "office", "Numbers spreadsheet"),
    ("key", "application/x-iwork-keynote-sffkey", "office", "Keynote presentation"),
    ("wpd", "application/vnd.wordperfect", "office", "WordPerfect document"),
    ("rtf", "application/rtf", "office", "RTF document"),
    ("epub", "application/epub+zip", "book", "EPUB book"),
    ("fb2", "application/x-fictionbook+xml", "book", "FictionBook"),
    ("eml", "message/rfc822", "mail", "e-mail message"),
    ("html", "text/html", "web", "HTML page"),
    ("xhtml", "application/xhtml+xml", "web", "XHTML page"),
    ("ipynb", "application/x-ipynb+json", "notebook", "Jupyter notebook"),
    # Markup that is converted
    ("rst", "text/prs.fallenstein.rst", "markup", "reStructuredText"),
    ("org", "text/org", "markup", "Org document"),
    ("adoc", "text/asciidoc", "markup", "AsciiDoc document"),
    ("tex", "application/x-latex", "markup", "LaTeX document"),
    ("typ", "text/vnd.typst", "markup", "Typst document"),
    ("dj", "text/x-djot", "markup", "Djot document"),
    ("dbk", "application/docbook+xml", "markup", "DocBook document"),
    ("jats", "application/x-jats+xml", "markup", "JATS article"),
    ("opml", "application/xml+opml", "markup", "OPML outline"),
    ("vtt", "text/vtt", "markup", "WebVTT subtitles"),
    # Text that is kept
    ("md", "text/markdown", "markdown", "Markdown"),
    ("txt", "text/plain", "text", "plain text"),
    ("csv", "text/csv", "table", "CSV table"),
    ("tsv", "text/tab-separated-values", "table", "TSV table"),
    ("json", "application/json", "code", "JSON"),
    ("jsonl", "application/x-ndjson", "code", "JSON lines"),
    ("yaml", "application/yaml", "code", "YAML"),
    ("toml", "application/toml", "code", "TOML"),
    ("xml", "application/xml", "code", "XML"),
    ("svg", "image/svg+xml", "code", "SVG image"),
    ("kml", "application/vnd.google-earth.kml+xml", "code", "KML places"),
    ("geojson", "application/geo+json", "code", "GeoJSON"),
    ("bib", "application/x-bibtex", "code", "BibTeX references"),
    ("ris", "application/x-research-info-systems", "code", "RIS references"),
    ("nbib", "application/x-pubmed", "code", "PubMed references"),
    # Databases
    ("sqlite", "application/vnd.sqlite3", "database", "SQLite database"),
    ("dbf", "application/vnd.dbf", "database", "dBase table"),
    # Images: recognised, so that the refusal can name OCR, which reading them needs
    ("png", "image/png", "image", "PNG image"),
    ("jpg", "image/jpeg", "image", "JPEG image"),
    ("gif", "image/gif", "image", "GIF image"),
    ("bmp", "image/bmp", "image", "BMP image"),
    ("tiff", "image/tiff", "image", "TIFF image"),
    ("webp", "image/webp", "image", "WebP image"),
    ("heic", "image/heic", "image", "HEIC image"),
    ("avif", "image/avif", "image", "AVIF image"),
    ("jp2", "image/jp2", "image", "JPEG 2000 image"),
)

TYPES: dict[str, FileType] = {
    extension: FileType(media_type=media_type, extension=extension, family=family, label=label)
    for extension, media_type, family, label in _ROWS
}

# Other spellings of an extension. They count only where content alone does not decide (between text types).
_SPELLINGS = {
    "html": "htm",
    "xhtml": "xht",
    "md": "markdown mdown mkd mdx qmd rmd commonmark",
    "txt": "text log srt",
    "tsv": "tab",
    "jsonl": "ndjson",
    "yaml": "yml",
    "adoc": "asciidoc asc",
    "tex": "latex ltx",
    "typ": "typst",
    "dj": "djot",
    "dbk": "docbook",
    "jats": "nxml",
    "eml": "mht mhtml",
}
ALIASES = {alias: extension for extension, aliases in _SPELLINGS.items() for alias in aliases.split()}

# Source code is kept unchanged in a code block: as prose, its comments would become headings. The extensions by the
# info string of the block.
_LANGUAGES = {
    "python": "py",
    "javascript": "js mjs",
    "typescript": "ts",
    "tsx": "tsx",
    "jsx": "jsx",
    "java": "java",
    "kotlin": "kt",
    "scala": "scala",
    "c": "c h",
    "cpp": "cc cpp hpp",
    "csharp": "cs",
    "go": "go",
    "rust": "rs",
    "ruby": "rb",
    "php": "php",
    "perl": "pl",
    "lua": "lua",
    "swift": "swift",
    "r": "r",
    "julia": "jl",
    "sql": "sql",
    "sh": "sh",
    "bash": "bash",
    "powershell": "ps1",
    "bat": "bat",
    "css": "css",
    "scss": "scss",
    "ini": "ini cfg conf",
    "diff": "diff patch",
    "proto": "proto",
    "graphql": "graphql",
    "terraform": "tf",
}
SOURCE_CODE = {extension: language for language, extensions in _LANGUAGES.items() for extension in extensions.split()}


def source_code(extension: str) -> FileType:
    """Return the type of a source file; its media type is plain text, its extension names the language."""
    return FileType(media_type="text/plain", extension=extension, family="code", label="source code")


def by_extension(extension: str) -> FileType | None:
    """Return the type that an extension (lower case, no dot) claims; the content decides."""
    if extension in SOURCE_CODE:
        return source_code(extension)
    return TYPES.get(ALIASES.get(extension, extension))


def supported_summary() -> str:
    """Return the list of what can be read, for error messages."""
    return (
        "PDF, Word, PowerPoint, Excel, OpenDocument, Pages, Numbers, Keynote, RTF, EPUB, FictionBook, HTML, e-mail "
        "(eml, msg), Jupyter notebooks, Markdown, reStructuredText, AsciiDoc, LaTeX, Org, plain text, CSV, JSON, YAML, "
        "XML, source code, SQLite and dBase"
    )
