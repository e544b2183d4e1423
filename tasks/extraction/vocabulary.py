"""Words that the rules go by, in the languages that documents are most often in; data only.

Words of several languages stand together where they cannot be mistaken. A further language is further words here.
"""

from __future__ import annotations

# Languages that write a decimal point; most others write a comma (Unicode CLDR, symbols-decimal).
POINT_LANGUAGES = frozenset("en zh ja ko th he hi bn ta ms".split())  # noqa: SIM905

# What stands before a number that is a name and no amount: "clause 4", "No. 7", "p. 12", "Version 2".
LABELS = (
    r"(?i:§{1,2}|#|№|nos?\.|nrn?\.?|n[°ºr]\.?|n\.[°º]?|nº|núm\.?|num\.|numéro|número|numero|nummer|number|numer|art\.?|artikel"
    r"|articles?|artículo|articolo|abs\.?|absatz|para\.|paragraph|ziff\.?|ziffer|kap\.?|kapitel|chapter|chapitre"
    r"|capítulo|capitolo|hoofdstuk|sec\.|sections?|clauses?|fig\.?|figures?|abb\.?|abbildung|tab\.|tables?|tabelle|eq\."
    r"|pp?\.|pgs?\.|pag\.|pág\.|s\.|seite|page|página|pagina|blz\.?|str\.|vol\.|ver\.|versions?|versión|versione|versie"
    r"|wersja|release|rev\.|rn\.|rz\.|anm\.|app\.|annexe?|appendix|anhang|anlage|ust\.?|lid|al\.|bd\.|tel\.?|fax|iban|isbn"
    r"|issn|port|python|windows|model|modell|modello|modelo|serial|room|raum|zimmer|salle|sala|zaal|gate|platform|flight|seat|row|exhibit"
    r"|invoice|rechnung|facture|fattura|factura|factuur)|No|Nos|DIN|ISO|EN|IEC|NF|UNE|UNI|NEN|PHP|PO"
)
# What counts cars and pages: between it and two groups of digits ("car 31 520 kg") nothing is sure.
_COUNTERS = """
car cars wagon wagons wagen zug train bus bay lot part step zone unit block week day line track lane voiture quai
voie carro coche vagone carrozza binario rijtuig spoor kamer no nr nos year years
"""
COUNTERS = frozenset(_COUNTERS.split())
# Next to these an amount in brackets may be negative.
ACCOUNTS = (
    r"loss|losses|lost|deficit|income|profit|results?|earnings|ebitda?|cash flow|balance|surplus|equity|credit"
    r"|verlust|ergebnis|gewinn|saldo|fehlbetrag|überschuss|gutschrift|perte|résultat|bénéfice|déficit|solde|perdita"
    r"|risultato|utile|disavanzo|pérdida|resultado|beneficio|verlies|resultaat|winst|tekort|strata|wynik|zysk"
)

# After a year, in small letters: words that no number counts.
_AFTER_YEARS = """
and or but to the a an at on in of by with for from was is has its his this as it he she they we when while who
which that because if after before until although were are had will would does et ou mais le la les des du un une
dans sans sous nous vous ses sur pour par avec plus lors puis mais y e o los las sus unos unas más pues tras es ha
son fue i gli il lo gli con per un uno una si sono en of de het een en met voor w na r roku
"""
AFTER_YEARS = frozenset(_AFTER_YEARS.split())
# Titles that stand before a person's name.
PERSON_TITLES = (
    r"Mr|Mrs|Ms|Mx|Dr|Prof|Sir|Dame|Lord|Lady|Rev|Hon|Judge|Justice|President|Senator|Professor|Doctor|Herr|Frau|Mme|Mlle"
    r"|M|Monsieur|Madame|Sr|Sra|Señor|Señora|Signor|Signora|Dott|Ing"
)
# What ends the name of a company or an institution.
ORGANISATION_ENDS = (
    r"Inc|Incorporated|Corp|Corporation|Co|Company|Ltd|Limited|LLC|LLP|PLC|plc|GmbH|AG|KG|SE|eG|e\.V|S\.A|SA|SARL|SAS|SpA"
    r"|S\.p\.A|B\.V|BV|N\.V|NV|AB|Oy|A/S|Group|Holdings?|Bank|University|Universität|Université|Universidad|Institute"
    r"|Institut|College|School|Foundation|Stiftung|Association|Verein|Society|Agency|Ministry|Ministerium|Department"
    r"|Committee|Commission|Council|Authority|Organi[sz]ation|Laboratory|Laboratories|Labs|Museum|Hospital|Court|Party"
)
# What begins the name of an institution: "University of Oxford", "Ministère de la Santé".
ORGANISATION_BEGINS = (
    r"University|Ministry|Department|Institute|Bank|Bureau|Office|Court|Council|Commission|Université|Ministère|Universidad"
    r"|Ministerio|Universität|Bundesamt|Bundesministerium|Technische Universität"
)
# Words inside a name that are not capitalised. No "and" and no "for": they stand between two
# names as often as inside one.
NAME_PARTICLES = r"of|the|de|la|le|du|des|del|di|da|van|von|der|den|zu"

# Capitalised because they begin a sentence or a calendar entry, not because they are names.
_NOT_NAMES = """
a an the this that these those it its he she they we you i his her their our my your if when while where what who how
why which there here in on at by for from to of with without as and or but not no yes all any some each every both
most more many few new first last next after before during since until under over between also however thus hence
therefore moreover although because so such than then once note see table figure chapter section appendix page january
february march april may june july august september october november december monday tuesday wednesday thursday friday
saturday sunday der die das ein eine einer im am zum zur und oder nicht mit von für bei nach aus auf le la les un une
des du et ou dans sur pour par avec el los las una y o en con por para il lo gli e di da nel
chapitre annexe partie tableau kapitel abschnitt anhang teil tabelle abbildung capítulo sección parte tabla capitolo
sezione tabella hoofdstuk bijlage tabel rozdział tabela version part weitere nähere siehe voir véase zie
sie ihr ihre ihren ihrem ihrer ihnen neben wenn nos nr nrn núm
"""
NOT_NAMES = frozenset(_NOT_NAMES.split())

# "X is a Y" and the like: sentences that say what something is.
DEFINITIONS = (
    r"\bis (?:an?|the|one of)\b|\bare (?:the|a kind of|an?)\b|\brefers? to\b|\bmeans\b|\bis (?:defined|known) as\b"
    r"|\bstands for\b|\bconsists? of\b|\bist (?:ein|eine|der|die|das)\b|\bbezeichnet\b|\bbedeutet\b|\bbesteht aus\b"
    r"|\best (?:un|une|le|la)\b|\bdésigne\b|\bsignifie\b|\bes (?:un|una|el|la)\b|\bsignifica\b|\bse define como\b"
    r"|\bè (?:un|una|il|la)\b|\bé (?:um|uma|o|a)\b|\bis een\b|是一[个種种]|とは"
)
