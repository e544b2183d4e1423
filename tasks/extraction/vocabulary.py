"""Words that the rules go by, in the languages that documents are most often in; data only.

Words of several languages stand together where they cannot be mistaken. A further language is further words here.
"""

from __future__ import annotations

# Languages that write a decimal point; most others write a comma (Unicode CLDR, symbols-decimal).
POINT_LANGUAGES = frozenset("en zh ja ko th he hi bn ta ms".split())  # noqa: SIM905

# Words for powers of ten. "billion" is the short scale's; "Billionen" is German for what English calls a trillion.
SCALES = {
    3: "k thousand tausend tsd mille mil duizend тыс",
    6: "m mio million millions millionen millón millones milione milioni miljoen milhão milhões млн",
    9: "bn b mrd billion billions milliarde milliarden milliard milliards miliardo miliardi miljard млрд",
    12: "trillion trillions billionen",
}

CURRENCY_SYMBOLS = {
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₽": "RUB",
    "₩": "KRW",
    "₺": "TRY",
    "₴": "UAH",
    "円": "JPY",
    "元": "CNY",
    "원": "KRW",
}
CURRENCY_NAMES = {
    "euro": "EUR",
    "euros": "EUR",
    "dollar": "USD",
    "dollars": "USD",
    "yen": "JPY",
    "yuan": "CNY",
    "franken": "CHF",
    "francs": "francs",  # Swiss, or of before 2002, or of West Africa
    "рублей": "RUB",
}
# ISO 4217, those that documents hold often; another word of three capitals is more likely something else.
CURRENCY_CODES = "USD EUR GBP JPY CHF CNY INR RUB KRW AUD CAD NZD SEK NOK DKK PLN CZK HUF BRL MXN ZAR SGD HKD UAH"

PERCENT = r"percent|per cent|percentage points?|prozent|pour cent|por ciento|per cento|procent|процент\w{0,3}"

# SI, IEC 80000-13 and what is written for them. Case matters here: "mW" is not "MW".
UNIT_SYMBOLS = """
km/h m/s mph km m cm mm µm μm nm mi ft kg g mg µg μg t lb lbs oz l L ml mL dl cl m² m2 km² km2 m³ m3 ha s ms µs μs ns h
hr hrs min Hz kHz MHz GHz W mW kW MW GW Wh kWh MWh GWh TWh V kV mV A mA J kJ MJ N kN Pa kPa MPa hPa bar mol K °C °F °
dB lx lm bit bits byte bytes B kB KB MB GB TB PB KiB MiB GiB TiB kbit/s Mbit/s Gbit/s Mbps Gbps px dpi rpm ppm fps
"""
# What people count and measure, as patterns; in any case.
UNIT_WORDS = r"""
seconds? minutes? hours? days? weeks? months? years? decades? sekunden? minuten? stunden? tagen? woche woche monaten?
jahren? secondes? heures? jours? semaines? mois années? segundos? minutos? horas? días? semanas? meses años? giorni ore
settimane mesi anni дней лет месяцев people persons employees users? customers? menschen personen mitarbeiter kunden
personnes employés clients personas empleados человек pages? documents? files? items? rows? records? times? copies
seiten páginas (?:kilo|centi|milli)?met(?:er|re)s? mètres miles? feet inches kilograms? grams? tonn?es? pounds?
lit(?:er|re)s? degrees? kilobytes? megabytes? gigabytes? terabytes? watts? volts?
"""

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
"""
NOT_NAMES = frozenset(_NOT_NAMES.split())

# "X is a Y" and the like: sentences that say what something is.
DEFINITIONS = (
    r"\bis (?:an?|the|one of)\b|\bare (?:the|a kind of|an?)\b|\brefers? to\b|\bmeans\b|\bis (?:defined|known) as\b"
    r"|\bstands for\b|\bconsists? of\b|\bist (?:ein|eine|der|die|das)\b|\bbezeichnet\b|\bbedeutet\b|\bbesteht aus\b"
    r"|\best (?:un|une|le|la)\b|\bdésigne\b|\bsignifie\b|\bes (?:un|una|el|la)\b|\bsignifica\b|\bse define como\b"
    r"|\bè (?:un|una|il|la)\b|\bé (?:um|uma|o|a)\b|\bis een\b|是一[个種种]|とは"
)
