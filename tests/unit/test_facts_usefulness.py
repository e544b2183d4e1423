"""What a reader sees first: names that are names, facts that say something, the best first, and no boilerplate."""

from __future__ import annotations

import pytest

from tasks.extraction.boilerplate import is_boilerplate, is_navigation
from tasks.extraction.definitions import defined_subject
from tasks.extraction.evidence import Fact
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.passages import Passage
from tasks.extraction.rules import find_mentions, select_facts
from tasks.text.key_phrases import key_phrases


def passage(text: str, *headings: str) -> Passage:
    return Passage(id="1", ordinal=0, start=0, text=text, tokens=0, heading_path=headings)


def entities(text: str, language: str = "en") -> set[tuple[str, str]]:
    return {(one.mention.type, one.quote) for one in find_mentions([passage(text)], language, Gazetteer({}))}


def facts(text: str, language: str = "en", *headings: str) -> list[Fact]:
    passages = [passage(text, *headings)]
    found = find_mentions(passages, language, Gazetteer({}))
    return select_facts(passages, found, key_phrases(text, language, 20), language, 100)


def statements(text: str, language: str = "en", *headings: str) -> list[str]:
    return [fact.statement for fact in facts(text, language, *headings)]


@pytest.mark.parametrize(
    "text",
    [
        'The key words "MUST", "SHALL NOT", "SHOULD" and "MAY" are to be read as in the standard.',
        "Files are NOT removed, but ANY user may read the README first.",
        "The server is RUNNING or IDLE, and the buffer is RECOMMENDED.",
        "Die Pumpe darf NICHT laufen.",
        "Il ne faut JAMAIS ouvrir la vanne.",
    ],
)
def test_words_in_capitals_for_emphasis_are_no_acronyms(text: str) -> None:
    assert {kind for kind, _ in entities(text)} & {"acronym"} == set()


def test_a_word_that_the_document_also_writes_small_is_no_acronym() -> None:
    text = "The valve is set to TRAKLE. A trakle is a state of rest. The MIME type is kept, as the BBC says."
    assert {quote for kind, quote in entities(text) if kind == "acronym"} == {"MIME", "BBC"}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("- Fixed the pump.\n- Fixed the valve.\n- Added a lamp.\n- Added a bell.", "en"),
        ("* **Returned**: nothing.\n* **Returned**: a list.", "en"),
        ("Historically it was used. Historically it was kept.", "en"),
        ("The Store holds items. A store is a shelf. The Store is full, the store is empty.", "en"),
        ("Weitere Informationen finden Sie oben. Weitere Informationen gibt es hier.", "de"),
        ("Chapitre 3 et Chapitre 4, voir Chapitre 5 et le Chapitre 6.", "fr"),
        ("- Simplified Application Development\n- Single Documents\n- Simplified Application Development", "en"),
        ("Stellen Sie die Pumpe ab. Stellen Sie sie an. In Ihrem Netzwerk. In Ihrem Netzwerk.", "de"),
    ],
)
def test_a_capital_of_a_sentence_an_item_or_a_title_makes_no_name(text: str, language: str) -> None:
    assert {kind for kind, _ in entities(text, language)} & {"name", "person", "organisation"} == set()


@pytest.mark.parametrize(
    ("text", "language", "person"),
    [
        ("The project was begun by Ian Murdock in 1993.", "en", "Ian Murdock"),
        ("Copyright © 2001, 2002 Joey Hess", "en", "Joey Hess"),
        ("written by Ville Koskinen and others", "en", "Ville Koskinen"),
        ("Send it to Yoshioka Tsuneo (tsuneo@example.org), please.", "en", "Yoshioka Tsuneo"),
        ("Thanks to Jean-loup Gailly for the library.", "en", "Jean-loup Gailly"),
        ("as D. J. Wheeler showed", "en", "D. J. Wheeler"),
        ("Debian wurde von Ian Murdock gegründet.", "de", "Ian Murdock"),
        ("Le projet a été créé par Clément Varaz.", "fr", "Clément Varaz"),
        ("El informe es de Carlos Robleda.", "es", "Carlos Robleda"),
        ("Il disegno è di Giuseppe Tarvallo.", "it", "Giuseppe Tarvallo"),
        ("Het plan is van Pieter Zandhuis.", "nl", "Pieter Zandhuis"),
        ("Autorem jest Krzysztof Zdrowy.", "pl", "Krzysztof Zdrowy"),
    ],
)
def test_people_are_found_by_given_names_initials_and_addresses(text: str, language: str, person: str) -> None:
    assert ("person", person) in entities(text, language)


@pytest.mark.parametrize("text", ["51 Franklin Street, Fifth Floor", "the Grace Period of a loan; a period is a time"])
def test_a_given_name_alone_makes_no_person(text: str) -> None:
    assert "person" not in {kind for kind, _ in entities(text)}


def test_parts_of_one_name_stay_together() -> None:
    found = entities("We run Debian GNU/Linux on it. They like Debian GNU/Linux too.")
    assert ("name", "Debian GNU/Linux") in found


@pytest.mark.parametrize(
    "text",
    [
        "Copyright © 2005 David Mandelberg, all rights reserved.",
        "You should have received a copy of the GNU General Public License along with this program.",
        "This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY.",
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this software.",
        "Dieses Programm darf unter den Bedingungen der GNU GPL Version 2 weitergegeben werden.",
        "Ce programme peut être redistribué selon les termes de la licence GPL, version 2.",
        "Este programa se distribuye bajo los términos de la licencia GPL, versión 2.",
        "Last updated 2024-05-31 00:35:55 UTC by the build.",
    ],
)
def test_notices_and_stamps_are_no_facts(text: str) -> None:
    assert is_boilerplate(text) and statements(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "The warranty ends 24 months after delivery on 3 May 2024.",
        "The copyright passed to the Orvane Railway in 1995.",
        "The licence fee is EUR 3,000 a year.",
        "Public transport carried 468,500 passengers in 2024.",
    ],
)
def test_what_a_contract_says_of_its_own_is_a_fact(text: str) -> None:
    assert statements(text) == [text]


def test_a_section_with_a_licence_or_contents_has_no_facts() -> None:
    text = "Anyone may copy the text of 12 March 2024 in whole."
    assert statements(text, "en", "Guide", "Copyright Notice") == []
    assert statements(text, "en", "Guide", "Copying machines") == [text]


def test_links_and_lists_of_contents_are_navigation() -> None:
    assert is_navigation("[1.1. What is a rack railway in 2024?](a.html#x) [1.2. Who built it in 1931?](a.html#y)")
    assert is_navigation("Introduction . . . . . . . 3\nMaking a DLL . . . . . . . . 12")
    assert not is_navigation("The [rack railway](a.html) of 1931 climbs 800 m, says the [guide](b.html).")
    assert not is_navigation("Total ....... 45 EUR")


def test_a_row_of_links_is_navigation() -> None:
    links = "| [Zurück](a.html): Kapitel 8 | [Anfang](b.html) | [Weiter](c.html): Kapitel 10 |"
    rows = f"| | | |\n| --- | --- | --- |\n{links}"
    assert statements(f"{rows}\n| Länge | 40 m | |") == ["Länge; 40 m"]


@pytest.mark.parametrize(
    ("statement", "language", "subject"),
    [
        ("A web proxy is a service between browsers and servers.", "en", "web proxy"),
        ("SQLite is a relational database engine.", "en", "SQLite"),
        ("Der Viadukt ist eine Brücke aus Stein.", "de", "Viadukt"),
        ("Debian est une distribution de Linux.", "fr", "Debian"),
        ("El viaducto es un puente de piedra.", "es", "viaducto"),
        ("Il viadotto è un ponte di pietra.", "it", "viadotto"),
        ("Het viaduct is een brug van steen.", "nl", "viaduct"),
        ("Wiadukt jest mostem z kamienia.", "pl", "Wiadukt"),
        ("This is a work in progress.", "en", ""),
        ("In that system, each user is a member of the group.", "en", ""),
        ("How many bits to read is a matter of taste.", "en", ""),
        ("The intention is to save time.", "en", ""),
    ],
)
def test_a_definition_names_what_it_defines(statement: str, language: str, subject: str) -> None:
    assert defined_subject(statement, language) == subject


def test_the_best_facts_come_first_and_the_score_falls() -> None:
    text = (
        "It was then moved to Tannwald by them. See the Tannwald guide for more information. "
        "The Orvane Railway is a rack railway that Odile Brac opened on 3 May 1931. "
        "However, Tannwald was not reached. Fixed a bug in Tannwald."
    )
    found = facts(text)
    assert found[0].statement.startswith("The Orvane Railway is a rack railway") and found[0].type == "definition"
    assert [fact.score for fact in found] == sorted((fact.score for fact in found), key=lambda score: -(score or 0))
    assert found[0].score == 1.0
    assert all(fact.passage.text[fact.start : fact.end] == fact.quote == fact.statement for fact in found)


def test_a_sentence_that_repeats_a_better_one_ranks_behind_it() -> None:
    gold = "Gold costs 12,000 EUR a year for a logo at the bottom of the page of Tannwald."
    other = "The viaduct of Tannwald was built of stone within three summers."
    found = statements(f"{gold} {gold.replace('Gold', 'Tin').replace('12,', '13,')} {other}")
    assert found[0] == gold and len(found) == 3


def test_keywords_do_not_overlap_and_are_no_verbs_or_units() -> None:
    text = (
        "The fourth pier is 12 metres wide. The fourth pier stands on rock, 40 square metres of it. The viaduct "
        "contains granite, and granite makes the viaduct strong. Users access the viaduct in July. "
        "The pier uses granite."
    )
    found = [phrase.text.lower() for phrase in key_phrases(text, "en", 20)]
    words = {word for phrase in found for word in phrase.split()}
    assert "granite" in words and words & {"metres", "wide", "contains", "uses", "access", "july"} == set()
    assert not any(one != other and one in other.split() for one in found for other in found)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("This is kept by Orvane of Tannwald for the whole winter.", "en"),
        ("Dies wird von der Orvane AG in Tannwald aufbewahrt.", "de"),
        ("Isto é guardado pela Orvane Ltd de Tannwald.", "pt"),
        ("National Railway Museum, Tannwald Office", "en"),
        ("--width=NUM the width of Tannwald in the Orvane report.", "en"),
    ],
)
def test_what_cannot_be_understood_alone_is_no_fact_for_its_name(text: str, language: str) -> None:
    assert statements(text, language) == []


def test_a_sentence_on_the_topic_is_a_fact_without_a_name() -> None:
    text = "Granite piers carry the viaduct. Granite piers resist frost. The piers were then painted by them."
    assert statements(text)[:2] == ["Granite piers carry the viaduct.", "Granite piers resist frost."]


def test_a_sentence_that_goes_on_in_the_next_line_of_a_layout_is_one() -> None:
    text = "```text\n--\tThe valve of Tannwald was set by the Orvane Railway in\n\tMay 1931, and it holds.\n```"
    assert "The valve of Tannwald was set by the Orvane Railway in May 1931, and it holds." in statements(text)


def test_values_of_options_and_targets_of_links_are_no_names() -> None:
    found = entities("Use --width=NUM or -C LFMT. The LFMT is a NUM. [Up](Concept-Index.html) and OpenSSH-1.2.")
    assert {quote for _, quote in found} & {"NUM", "LFMT", "Concept-Index", "OpenSSH-1"} == set()


def test_a_person_of_an_organisation_and_an_organisation_in_its_line() -> None:
    assert ("person", "Steven Varaz") in entities("It was written by Steven Varaz of LBL.")
    assert ("organisation", "Network Research Group") in entities("Network Research Group\n")
