"""What stands in many documents and says nothing of this one: licences, copyright, lists of contents, navigation.

Such a sentence is no fact, and what is written in capitals in it no acronym. Owns the phrases, in seven languages, by
which it is known. They are phrases of notices and not words: a warranty of 24 months, or who holds the copyright
since 1995, are facts. Signs of navigation are links that leave no text between them, and the dots that lead to a page
number.
"""

from __future__ import annotations

import re

# A piece of which this share is links, is there to be followed and not to be read.
LINKED_SHARE = 0.6
# A longer piece that begins with a word of navigation is text.
MAX_NAVIGATION_CHARACTERS = 60

_NOTICE = re.compile(
    r"^\W{0,4}(?:portions? )?(?:copyright|©|\(c\))(?!\w)|(?:copyright|©|\(c\)) {0,2}(?:©|\(c\))? {0,2}(?:1[89]|20)\d\d"
    r"|all rights reserved|copyright (?:holders?|notice)|(?:re)?distribute it and/or modify"
    r"|redistribution and use in source"
    r"|(?:is|are) (?:licen[sc]ed|released|distributed|available) under (?:the|a|an|both)\b"
    r"|(?:the )?licen[sc]e[ds]? (?:along )?with this"
    r"|without (?:any |even )?(?:the )?(?:implied )?warrant|implied warrant|fitness for a particular purpose"
    r"|absolutely no warranty"
    r"|permission is (?:hereby )?granted|provided [\"“']?as[ -]is\b|in no event shall|in no event will the authors?"
    r"|copy of the .{0,40}licen[sc]e|general public licen[sc]e (?:for more|as published|along|v(?:ersion)?\.? ?\d)"
    r"|under the terms (?:of|and)|terms and conditions of (?:this|the) licen|public domain|creative commons"
    r"|free documentation licen|invariant sections|write to the free software|franklin st|temple place"
    r"|(?:registered )?trademarks? of |hope that it will be useful"
    r"|alle rechte vorbehalten|unter den (?:bedingungen|bestimmungen) der|weitergeben und/oder (?:ver)?ändern"
    r"|ohne (?:jede|irgendeine|jegliche) "
    r"(?:garantie|gewähr)|warenzeichen der|freies dokument|öffentlichen? lizenz"
    r"|tous droits réservés|(?:selon|sous|suivant) les termes de|sans aucune garantie|redistribuer et/ou (?:le "
    r"|la )?modifier|marques? déposées?"
    r"|todos los derechos reservados|(?:bajo|según) los términos de|sin ninguna garantía|marcas? registradas?"
    r"|tutti i diritti riservati|(?:secondo|sotto) i termini d|senza (?:alcuna|nessuna) garanzia|marchi? registrat[oi]"
    r"|alle rechten voorbehouden|onder de voorwaarden van|zonder enige garantie|wszelkie prawa zastrzeżone"
    r"|na warunkach licencji"
    r"|bez (?:żadnej|jakiejkolwiek) gwarancji",
    re.I,
)
# A text with none of these has no phrase of a notice; looking for them takes a tenth of the time.
_NOTICE_PARTS = (
    "copyright", "©", "(c)", "rights", "licen", "warrant", "redistribut", "permission", "as is", "as-is", "in no event",
    "public", "under the terms", "trademark", "hope that it", "invariant sec", "write to the", "franklin", "temple",
    "fitness for", "creative", "vorbehalten", "unter den", "weitergeben", "garantie", "warenzeichen", "freies dokument",
    "lizenz", "droits", "termes", "marque", "derechos", "términos", "garant", "marca", "diritti", "termini", "marchi",
    "rechten", "voorwaarden", "zastrze", "warunkach", "gwarancji", "distribute it",
)  # fmt: skip
_NAVIGATION = re.compile(
    r"\W{0,4}(?:next|prev(?:ious)?|up|home|contents|table of contents|back to|skip to|search|menu|edit this|weiter"
    r"|zurück|nach oben|inhalt"
    r"|startseite|suivant|précédent|sommaire|accueil|table des matières|siguiente|anterior|índice|inicio|successiv[oa]"
    r"|precedente|indice|volgende|vorige|inhoud|następn[ya]|poprzedni[ae]?|spis treści)\b",
    re.I,
)
_STAMP = re.compile(
    r"\W{0,4}(?:last (?:updated?|modified|changed|revised|edited)|updated:? (?:on )?\d{1,2}[ .]\w{1,9}[ .]{0,2}\d{4}"
    r"|\$[A-Z]\w{1,30}: \S+,v "
    r"|(?:(?:this )?(?:page|document|manual|file) )?(?:was |is )?(?:automatically )?generated (?:on|by|with|from)"
    r"|this page (?:was )?last"
    r"|built (?:on|with)|zuletzt (?:geändert|aktualisiert|bearbeitet)|letzte änderung|stand:|dernière (?:mise à jour"
    r"|modification)|última (?:actualización|modificación)"
    r"|ultim[oa] (?:aggiornamento|modifica)|laatst (?:gewijzigd|bijgewerkt)|ostatnia (?:aktualizacja|modyfikacja))",
    re.I,
)
_HEADING = re.compile(
    r"(?:[\d.]+ )?(?:(?:gnu |the )?(?:general |free documentation )?(?:public )?licen[sc]e|licensing|copying"
    r"|copyright(?: and licen[sc]e| notices?)?|legal notices?"
    r"|(?:table of )?contents|lizenz|urheberrecht|rechtliche hinweise|impressum|inhalt(?:sverzeichnis)?|licence"
    r"|droits d['’]auteur|mentions légales"
    r"|table des matières|sommaire|licencia|derechos de autor|aviso legal|índice(?: general)?|contenidos?|licenza"
    r"|diritti d['’]autore"
    r"|sommario|licentie|auteursrecht|inhoud(?:sopgave)?|licencja|prawa autorskie|spis treści)",
    re.I,
)
_LINK = re.compile(r"!?\[[^\[\]]*\](?:\([^()\s]*(?:\s[^()]*)?\)|\[[^\[\]]*\])|<https?://[^<>\s]*>")
# A title, dots and a page: "2.1 Installation . . . . . 7". One such line may as well be an amount.
_CONTENTS_LINE = re.compile(r"(?:(?: ?\.){5,}|(?: \.){3,}|…{2,}) *(?:\d{1,4}|[ivxlc]{1,6})?(?= *(?:$|\n|[\d.]+ [A-Z]))")
MIN_CONTENTS_LINES = 2
_LETTER = re.compile(r"[^\W\d_]")


def is_boilerplate(statement: str) -> bool:
    """Return whether a sentence or a line, as plain words, is a notice, a date of the page or navigation."""
    if (may_have_notices(statement) and is_notice(statement)) or _STAMP.match(statement):
        return True
    return (
        len(statement) <= MAX_NAVIGATION_CHARACTERS and bool(_NAVIGATION.match(statement)) and statement[-1] not in ".!"
    )


def is_notice(text: str) -> bool:
    """Return whether a piece of text has a phrase of a licence or a copyright notice."""
    return _NOTICE.search(" ".join(text.split())) is not None


def may_have_notices(text: str) -> bool:
    """Return whether looking for notices in *text* is worth its time: it has a part of one."""
    lowered = text.lower()
    return any(part in lowered for part in _NOTICE_PARTS)


def is_boilerplate_section(heading_path: tuple[str, ...]) -> bool:
    """Return whether the section below these headings holds a licence or a list of contents."""
    return bool(heading_path) and _HEADING.fullmatch(heading_path[-1].strip(" #*_:.")) is not None


def is_navigation(piece: str) -> bool:
    """Return whether a piece of Markdown is there to lead elsewhere: links, or lines of a list of contents."""
    if len(_CONTENTS_LINE.findall(piece)) >= MIN_CONTENTS_LINES:
        return True
    if "](" not in piece and "<http" not in piece:
        return False
    if len(_LINK.findall(piece)) > 1 and _NAVIGATION.match(_texts(piece)):
        return True
    rest = _LINK.sub("", piece)
    letters = len(_LETTER.findall(piece))
    return letters > 0 and len(_LETTER.findall(rest)) < (1 - LINKED_SHARE) * len(_LETTER.findall(_texts(piece)))


def _texts(piece: str) -> str:
    """Return *piece* with its links as their text alone."""
    return _LINK.sub(lambda link: link[0].partition("](")[0] or link[0], piece)
