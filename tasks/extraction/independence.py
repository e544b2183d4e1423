"""How well a sentence stands alone: the words by which it leans on others, points elsewhere or addresses its reader.

A sentence that begins with a pronoun ("This is"), a link to the one before ("However") or a condition ("If") says less
without its neighbours; so does one that refers to a place ("see below"), or says what to do instead of how things are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

# What a sentence is worth that begins, or that has anywhere, such words.
LEANING, LINKING, CONDITION, CHANGE = 0.45, 0.55, 0.7, 0.5
DEMONSTRATIVE, DEFINITE = 0.6, 0.6
PERSONAL, POINTING, ELSEWHERE = 0.65, 0.55, 0.7

# The beginnings of sentences that lean on what was said before.
_LEANING = {
    "en": """
        this that these those it its it's that's there's here's they their them he she his her such both neither
        there here another one the_former the_latter the_same the_other the_result the_reason the_first
        the_second the_following the_above
    """,
    "de": """
        beide beides die_kann die_können die_ist die_sind die_wird die_werden die_hat die_haben
        dies dieser diese dieses diesem diesen jener jene jenes es sie er ihr ihre ihren sein seine solche
        solcher dabei dazu damit dadurch darin darauf dafür hier dort da das
    """,
    "fr": "ce cet cette ces cela ceci c'est il ils elle elles ça leur leurs son sa ses tel telle celui celle ceux on y",
    "es": "esto este esta estos estas ese esa eso esos él ella ellos ellas su sus tal tales ahí aquí",
    "it": "questo questa questi queste quello quella esso essa essi ciò suo sua tale tali qui lì",
    "nl": "dit deze dat hij zij ze het hun zulke hier daar er",
    "pt": "isto este esta estes estas isso esse essa esses essas ele ela eles elas seu sua seus suas aqui",
    "pl": "ten ta to te tego tej on ona ono oni jego jej ich taki taka takie tu tam",
}
# What points back where it stands near the beginning of a sentence ("With this", "L'outil ajoute cette entrée"); other
# uses of the word are not listed: "such as", "dass", "ce que".
_DEMONSTRATIVE = {
    "en": "this these those",
    "de": "dies dieser diese dieses diesem diesen jener jene jenes solche solcher solchen",
    "fr": "cet cette ces cela celui celle ceux celles",
    "es": "esto este esta estos estas ese esa eso esos",
    "it": "questo questa questi queste quello quella quelli quelle",
    "nl": "dit deze",
    "pt": "isto este esta estes estas esse essa esses essas",
    "pl": "tego tej tym tych temu",
}
NEAR_BEGINNING = 8  # words
# "The file defines", "Der letzte Wert ist": which one, the sentences before say.
_DEFINITE = {
    "en": r"The(?: [a-z]+){1,2}?",
    "de": r"(?:Der|Die|Das)(?: [a-zäöü]+)?(?: [A-ZÄÖÜ][a-zäöüß]+)",
    "fr": r"(?:Le|La|Les)(?: [a-zà-ÿ]+){1,2}?|L['’][a-zà-ÿ]+(?: [a-zà-ÿ]+)?",
    "es": r"(?:El|La|Los|Las)(?: [a-zà-ÿ]+){1,2}?",
    "it": r"(?:Il|Lo|La|I|Gli|Le)(?: [a-zà-ÿ]+){1,2}?|L['’][a-zà-ÿ]+(?: [a-zà-ÿ]+)?",
    "nl": r"(?:De|Het)(?: [a-z]+){1,2}?",
    "pt": r"(?:O|A|Os|As)(?: [a-zà-ÿ]+){1,2}?",
    "pl": r"(?!)",
}
_VERB = {
    "en": "is|are|was|were|has|have|had|can|may|will|must|should|does|did|do|would|could|consists?|defines?|came|also",
    "de": "ist|sind|war|waren|hat|haben|kann|können|wird|werden|muss|müssen|soll|sollen|besteht|wurde|wurden",
    "fr": "est|sont|était|étaient|a|ont|peut|peuvent|doit|doivent|sera|seront|consiste",
    "es": "es|son|era|fue|ha|han|puede|pueden|debe|deben|está|están|consiste",
    "it": "è|sono|era|erano|ha|hanno|può|possono|deve|devono|consiste",
    "nl": "is|zijn|was|waren|heeft|hebben|kan|kunnen|wordt|worden|moet|moeten|bestaat",
    "pt": "é|são|era|foi|tem|têm|pode|podem|deve|devem|está|estão|consiste",
    "pl": "jest",
}
# Words that link a sentence to the one before it.
_LINKING = {
    "en": """
        however but and or so also then thus therefore otherwise instead hence furthermore moreover additionally
        still yet nevertheless similarly likewise finally in_addition in_fact in_particular in_other_words
        in_this in_that in_these in_those in_such for_example for_instance for_this for_that e_g i_e that_is
        as_a_result as_such as_above on_the_other_hand because_of_this due_to_this unfortunately fortunately
        of_course note nb hint tip most_importantly specifically essentially further later rather too example
        examples how what why where which who thanks
    """,
    "de": """
        hiermit erstens zweitens drittens der_zweite die_zweite das_zweite
        daher deshalb deswegen somit außerdem zudem jedoch allerdings aber und oder auch dann danach
        zum_beispiel beispielsweise z_b in_diesem in_dieser bei_diesem trotzdem dennoch hinweis leider
        beachten_sie so ebenso wie was warum wo welche beispiel
    """,
    "fr": """
        ainsi donc mais et ou aussi alors ensuite enfin cependant toutefois par_exemple par_conséquent
        par_ailleurs de_plus en_effet en_outre en_particulier en_fait dans_ce dans_cette note remarque d'accord
        comment pourquoi où quel quelle exemple
    """,
    "es": "pero sin_embargo además también así entonces por_ejemplo por_tanto por_eso y o nota",
    "it": "ma inoltre quindi tuttavia anche per_esempio ad_esempio perciò e o nota",
    "nl": "maar daarom ook bovendien echter dus bijvoorbeeld en of let_op",
    "pt": "mas porém contudo também além_disso assim então por_exemplo portanto por_isso e ou nota",
    "pl": "ale jednak dlatego również także ponadto na_przykład zatem więc i lub uwaga",
}
# Conditions and commands.
_CONDITION = {
    "en": """
        if when whenever while although though because since once unless please remember make_sure be_sure try
        consider
    """,
    "de": "wenn falls sobald obwohl bitte weil",
    "fr": "si lorsque quand lorsqu'un veuillez",
    "es": "si cuando aunque mientras",
    "it": "se quando mentre",
    "nl": "als wanneer terwijl",
    "pt": "se quando embora enquanto assim_que",
    "pl": "jeśli gdy jeżeli kiedy",
}
# Where the writer speaks of himself or to the reader.
_PERSONAL = {
    "en": "I I'm I've I'd I'll we we're we've we'll we'd our my me us you you're you've you'll you'd your let's",
    "de": "ich wir uns mein meine unser unsere unserer Sie Ihnen Ihre Ihren Ihrem Ihr du",
    "fr": "je j'ai j'en nous vous votre vos notre mon ma mes",
    "es": "yo nosotros usted ustedes nos mi mis nuestro nuestra",
    "it": "io noi voi vostro vostra nostro nostra mi vi",
    "nl": "ik wij we je jij u uw jouw ons onze mij",
    "pt": "eu nós você vocês meu minha nosso nossa",
    "pl": "ja my wy mój moja nasz nasza twój wasz mnie nas was",
}
# Where a sentence sends its reader to another place.
_POINTING = {
    "en": """
        see refer_to described_in described_at described_by documented_in listed_in listed_at available_at
        available_from found_at found_in downloaded_from obtained_from visit for_more for_further for_full
        more_information more_details feel_free check_out recommend_looking recommend_reading manual_page
        documented_at discussed_in explained_in provided_in mailing_list
    """,
    "de": "siehe finden_sie lesen_sie weitere_informationen näheres siehe_auch beschrieben_in erklärt_in lesen_in",
    "fr": "voir consultez consulter pour_plus_d reportez-vous lisez lire_le lire_la expliqué_dans décrit_dans",
    "es": "véase consulte vea",
    "it": "vedi vedere si_veda consultare",
    "nl": "zie meer_informatie",
    "pt": "veja consulte ver",
    "pl": "zobacz patrz",
}
# Where it speaks of the text around it.
_ELSEWHERE = {
    "en": """
        above below following previous_section previous_chapter next_section next_chapter this_section
        this_chapter this_page this_document this_manual this_guide this_faq this_paper this_article
        this_example this_case this_way this_option this_problem this_file described_here mentioned_earlier
    """,
    "de": """
        oben unten folgende folgenden folgender dieser_abschnitt diesem_abschnitt dieses_kapitel diesem_kapitel
        dieses_dokument
    """,
    "fr": """
        ci-dessus ci-dessous ci-après suivant suivante suivantes ce_chapitre ce_document ce_manuel cette_section
        cette_page cette_faq
    """,
    "es": "siguiente siguientes arriba abajo este_capítulo este_documento",
    "it": "seguente seguenti sopra sotto questo_capitolo questo_documento",
    "nl": "hieronder hierboven volgende",
    "pt": "seguinte seguintes acima abaixo este_capítulo este_documento",
    "pl": "poniżej powyżej następujący następujące",
}
# A line of a list of changes, in the language of most such lists.
_CHANGE = re.compile(
    r"\W{0,3}(?-i:\[[A-Z]{3,10}\])|\W{0,3}(?:fix(?:ed|es)?|add(?:ed|s|ing)?|addition|remov(?:ed|es?|al)|updat(?:ed?|es)"
    r"|chang(?:ed?|es)|improv(?:ed?|es|ements?)|correct(?:ed|s|ion|ly)?|support for|bump(?:ed)?|made|allow(?:s|ed)?"
    r"|avoid"
    r"|use|make|don['’]t|do not|no longer|renamed?|implement(?:ed)?|clean(?:ed)?|refactor(?:ed)?|deprecated?|minor"
    r"|bug ?fix(?:es)?|moved?|switch(?:ed)?|enhanced?|tweak(?:ed)?|set|check|document(?:ed)?|attempt(?:ed)?|raise"
    r"|handle"
    r"|prevent|provides?|re-?released?|ensure|revert(?:ed)?|drop(?:ped)?|restored?|various|initial|properly|extended"
    r"|behoben|hinzugefügt|entfernt|ajout|correction|suppression)(?!\w)",
    re.I,
)
# Who reported or wrote a change, of which the sentence before speaks.
_CREDIT = re.compile(r"\W{0,3}(?:[A-Z][a-z]+ed (?:and [a-z]+ed )?by|Thanks to|Patch(?:es)? (?:by|from)) ")
# "Passons en revue", "Prenons": the writer with the reader.
_FRENCH_IMPERATIVE = re.compile(r"[A-Z][a-zà-ÿ]+ons ")
# "(see below)" takes nothing from its sentence.
_ASIDE = re.compile(r"\([^()]{0,80}\)")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class _Words:
    """Single words, and phrases of several."""

    single: frozenset[str]
    phrases: tuple[str, ...]

    def begin(self, words: Sequence[str], lowered: str) -> bool:
        """Return whether a sentence begins with one of them."""
        return words[0] in self.single or lowered.startswith(self.phrases)

    def are_in(self, words: Sequence[str], lowered: str) -> bool:
        """Return whether a sentence has one of them."""
        return not self.single.isdisjoint(words) or any(phrase in lowered for phrase in self.phrases)


def independence(statement: str, language: str) -> float:
    """Return how well a sentence stands alone, 0 to 1.

    *language* is a code of two letters; where it is unknown, the rules for English hold.
    """
    language = language if language in _LEANING else "en"
    spelt = _WORD.findall(statement.replace("’", "'"))
    if not spelt:
        return 1.0
    words = [word.lower() for word in spelt]
    lowered = " ".join(words) + " "
    share = CHANGE if _CHANGE.match(statement) or _CREDIT.match(statement) else 1.0
    if not _listed(_LEANING[language]).begin(words, lowered) and not _listed(
        _DEMONSTRATIVE[language]
    ).single.isdisjoint(words[:NEAR_BEGINNING]):
        share *= DEMONSTRATIVE
    for listed, factor in ((_LEANING, LEANING), (_LINKING, LINKING), (_CONDITION, CONDITION)):
        if _listed(listed[language]).begin(words, lowered):
            share *= factor
    if not _listed(_PERSONAL[language]).single.isdisjoint(_in_either_case(spelt)) or (
        language == "fr" and _FRENCH_IMPERATIVE.match(statement)
    ):
        share *= PERSONAL
    if "(" in statement:
        words = [word.lower() for word in _WORD.findall(_ASIDE.sub("", statement))]
        lowered = " ".join(words) + " "
    for listed, factor in ((_POINTING, POINTING), (_ELSEWHERE, ELSEWHERE)):
        if _listed(listed[language]).are_in(words, lowered):
            share *= factor
    return share


def vague_subject(statement: str, language: str) -> str:
    """Return the subject of a sentence that only its article makes definite; empty if it has another."""
    found = _definite(language if language in _LEANING else "en").match(statement)
    return found["subject"].lower() if found else ""


@cache
def _definite(language: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<subject>{_DEFINITE[language]}) (?:{_VERB[language]})(?!\w)")


def _in_either_case(spelt: Sequence[str]) -> Iterator[str]:
    """Yield the words, and the first one also in small letters: "Sie" and "sie" are two words."""
    yield spelt[0].lower()
    yield from spelt[1:]


@cache
def _listed(words: str) -> _Words:
    """Return the entries of a list, in which an underscore is a blank."""
    entries = [entry.replace("_", " ") for entry in words.split()]
    return _Words(
        single=frozenset(entry for entry in entries if " " not in entry),
        phrases=tuple(f"{entry} " for entry in entries if " " in entry),
    )
