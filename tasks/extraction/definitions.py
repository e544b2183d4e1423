"""Which sentences say what something is: "A mule is the offspring of ...", "Ein Viadukt ist eine Brücke, ...".

Owns the verbs of definitions in seven languages and what may stand before them. A definition names what it defines:
"This is a problem", "Another point is the price" and "In that case each user is a member of it" define nothing.
"""

from __future__ import annotations

import re
from functools import cache

from tasks.extraction import vocabulary

# Longer subjects are clauses.
MAX_SUBJECT_WORDS = 7

_VERBS = {
    "en": r"(?:is|are|was|were) (?:an?|the|one of)|refers? to|means|stands for|is (?:defined|known) as|consists? of",
    "de": r"(?:ist|sind|war|waren) (?:eine?[rs]?|der|die|das)|bezeichnet|bedeutet|besteht aus|steht für",
    "fr": r"(?:est|sont|était|étaient|fut) (?:une?|des|les?|la)|(?:est|était) l['’]\w+|désigne|signifie|se compose de",
    "es": r"(?:es|son|era|fue) (?:una?|el|la|los|las)|significa|se define como|consiste en",
    "it": r"(?:è|sono|era) (?:una?|uno|il|la|lo|gli)|(?:è|era) (?:l|un)['’]\w+|significa|indica",
    "nl": r"(?:is|zijn|was|waren) (?:een|het|de)|betekent|verwijst naar|bestaat uit",
    "pl": r"(?:jest|to|to jest|był|była|było) [^\W\d_]+(?:em|ą|ym|im|ami)|oznacza|składa się z",
    "pt": r"(?:é|são|era|foi) (?:uma?|os?|as?)|significa|consiste em",
}
_DENSE = re.compile(r"是一[个種种]|とは")
_ARTICLE = re.compile(
    r"(?:an?|the|der|die|das|eine?|les?|la|l['’]|une?|el|los|las|una?|il|lo|gli|uno|de|het|een)(?:\b"
    r"|(?<=['’]))[ \u00a0]*",
    re.I,
)
# What begins a subject that names nothing, or a clause.
_VAGUE_WORDS = """
this that these those it its he she they we you i there here what which who whose when where while if although since
because as in on at for from with by to of after before until once during under each every all any some many most few
another other one two no not both such so thus then however but and or also only even first second third next last
result reason problem point idea goal purpose question answer thing way case example note same following main dies
diese dieser dieses das es sie er wir ich ihr man hier dort was wer wenn als da weil obwohl während im am auf bei für
von mit nach jeder jede jedes alle einige viele andere ein eines eine auch aber und oder nur grund ziel frage ce cet
cette ces il elle ils elles nous vous je qui que quand si lorsque comme dans en sur pour par avec chaque tous toutes
certains autre c'est ici là mais et ou donc esto este esta estos ese eso él ella ellos yo nosotros cuando como para
por con cada todos algunos otro questo questa questi quello ciò esso lui lei noi voi chi che quando se come per ogni
tutti alcuni altro dit deze die dat hij zij ze wij ik wat wie toen op voor met elk elke ta ten te ona ono oni my wy ja
co kto gdy jeśli w na do z każdy wszystkie how why being wo warum comment pourquoi cómo hoe jak
"""
_VAGUE = frozenset(_VAGUE_WORDS.split())
_PRONOUNS = frozenset(
    [
        "it",
        "this",
        "that",
        "they",
        "he",
        "she",
        "you",
        "we",
        "i",
        "there",
        "which",
        "who",
        "es",
        "sie",
        "er",
        "wir",
        "ich",
        "il",
        "elle",
        "nous",
        "vous",
        "on",
        "qui",
        "que",
    ]
)
_WEAK = re.compile(vocabulary.DEFINITIONS, re.I)


def is_weak_definition(statement: str) -> bool:
    """Return whether a sentence has the verb of a definition anywhere."""
    return _WEAK.search(statement) is not None


@cache
def _pattern(language: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<subject>[^:;?!]{{2,90}}?) (?:{_VERBS.get(language, _VERBS['en'])})(?!\w| (?:dit|dat|dies|das|es)\b)"
    )


def defined_subject(statement: str, language: str) -> str:
    """Return what a sentence defines, without its article; empty if it is no definition."""
    if found := _DENSE.search(statement):
        return statement[: found.start()]
    found = _pattern(language).match(statement)
    if found is None:
        return ""
    subject = found["subject"].strip("\"'“”„«» ")
    article = _ARTICLE.match(subject)
    words = subject[article.end() if article else 0 :].split()
    if any(word.lower() in _PRONOUNS for word in words):
        return ""
    if not 1 <= len(words) <= MAX_SUBJECT_WORDS or words[0].lower().strip("\"'“„«,") in _VAGUE:
        return ""
    if article is None and not subject[0].isupper() and not any(map(str.isdigit, words[0])):
        return ""
    return " ".join(words)
