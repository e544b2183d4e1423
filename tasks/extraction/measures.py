"""Units, currencies, percentages and words for powers of ten, as documents write them; data only."""

from __future__ import annotations

# Words for powers of ten. Not "billion": it is 10^9 in English and 10^12 in German (`SCALES_OF`).
SCALES = {
    3: "thousand tausend tsd mille mil mila duizend tys tysiące tysięcy тыс",
    5: "lakh lakhs",
    6: "mio million millions millionen millón millones milione milioni miljoen milhão milhões mln milion miliony "
    "milionów млн",
    7: "crore crores",
    9: "bn mrd mia mld milliarde milliarden milliard milliards miliardo miliardi miljard miliard miliardy miliardów "
    "млрд",
    12: "billionen biljoen bilhões billones",
}
SCALES_OF = {"en": {"billion": 9, "billions": 9, "trillion": 12, "trillions": 12}, "de": {"billion": 12}}
# One letter, only directly after the number: "$5m", "10k users".
LETTER_SCALE = "bn|Bn|mn|Md|[kKmMbB]"
LETTER_SCALES = {"k": 3, "K": 3, "m": 6, "M": 6, "b": 9, "B": 9, "bn": 9, "Bn": 9, "mn": 6, "Md": 9}

# With the currency: TEUR, k€, Mio. EUR.
CURRENCY_SCALES = {"T": 3, "k": 3, "M": 6, "Mio": 6, "Mrd": 9, "Mia": 9, "mln": 6, "mld": 9}
MAIN_CURRENCIES = r"EUR|USD|CHF|GBP|€|\$|£"

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
    "₪": "ILS",
    "₫": "VND",
    "円": "JPY",
    "元": "CNY",
    "원": "KRW",
    "zł": "PLN",
    "Kč": "CZK",
    "Ft": "HUF",
}
DOLLARS = {
    "US": "USD",
    "US-": "USD",
    "A": "AUD",
    "AU": "AUD",
    "C": "CAD",
    "CA": "CAD",
    "CAN": "CAD",
    "Can": "CAD",
    "NZ": "NZD",
    "HK": "HKD",
    "S": "SGD",
    "SG": "SGD",
    "NT": "TWD",
    "MX": "MXN",
    "R": "BRL",
}
# As patterns, in any case; the longer ones first.
CURRENCY_NAMES = {
    r"euros?": "EUR",
    r"(?:us[- ]|american )dollars?|us-dollars?|dollars? (?:américains|us)|dólares (?:estadounidenses|americanos)"
    r"|dollari (?:americani|usa)|amerikanische dollar": "USD",
    r"canadian dollars?|dollars? canadiens?|dólares canadienses|dollari canadesi|kanadische dollar": "CAD",
    r"australian dollars?|dollars? australiens?": "AUD",
    r"new zealand dollars?": "NZD",
    r"hong kong dollars?": "HKD",
    r"singapore dollars?": "SGD",
    r"dollars?|dólar(?:es)?|dollari|dollaro": "$",
    r"pounds sterling|livres sterling|libras esterlinas|sterline|pfund sterling|pond sterling": "GBP",
    r"yen": "JPY",
    r"yuan|renminbi": "CNY",
    r"schweizer franken|swiss francs?|francs? suisses?|franchi svizzeri|francos suizos|franken|franchi": "CHF",
    r"francs?": "francs",  # Swiss, or of before 2002, or of West Africa
    r"rupees?": "₹",
    r"złot(?:ych|e|y)": "PLN",
    r"рублей": "RUB",
}
# ISO 4217, those that documents have often; another word of three capitals is more likely something else. Not PHP, COP,
# RON, TRY and the like, which are programs, conferences, octane numbers and words first.
CURRENCY_CODES = (
    "USD EUR GBP JPY CHF CNY INR RUB KRW AUD CAD NZD SEK NOK DKK PLN CZK HUF BRL MXN ZAR SGD HKD UAH AED SAR THB IDR"
    " MYR ILS ISK TWD VND EGP NGN KES CLP BGN RMB"
)
# Signs of several currencies: how they look, and what in a document makes them another one than usual.
SHARED_SIGNS = {
    "$": (
        ("$", "ollar", "ólar"),
        r"\b(?:CAD|AUD|NZD|HKD|SGD|MXN|TWD|Canad\w+|Kanad\w+|Austral\w+|New Zealand|Hong Kong|Singap\w+|Mexic\w+|México"
        r"|Taiwan\w*|pesos)\b|(?<![A-Za-z])(?:CA|CAN|Can|C|A|AU|NZ|HK|S|SG|NT|MX)\$",
    ),
    "¥": (("¥",), r"\b(?:CNY|RMB|yuan|renminbi|Chin[ae]\w*|Beijing|Shanghai)\b"),
    "₹": (("₹", "upee", "Rs"), r"\b(?:PKR|LKR|NPR|MUR|Pakistan\w*|Sri Lanka\w*|Nepal\w*|Mauriti\w+)\b"),
}
# Countries whose own dollars or pesos are written "$", where the document's language names one.
DOLLAR_COUNTRIES = frozenset(("ca", "au", "nz", "sg", "hk", "mx", "ar", "cl", "co"))

PERCENT_POINTS = (
    r"percentage[- ]points?|prozentpunkten?|points? de pourcentage|puntos? porcentual(?:es)?|punt[oi] percentual[ei]"
    r"|procentpunt(?:en)?|punkt(?:y|ów|u)? procentow(?:e|ych|ego)|%[- ]?punkten?|%[- ]points?"
    r"|basis[- ]points?|basispunkten?|points? de base|puntos? básicos?|punt[oi] base|basispunt(?:en)?"
)
PERCENT = r"percent|per cent|prozent|pour cent|por ciento|per cento|procent|процент\w{0,3}"

# SI, IEC 80000-13 and what is written for them. Case matters here: "mW" is not "MW". Without what is more often a
# word, a resolution or a channel: in, a, B, pm, TV, G.
UNIT_SYMBOLS = """
mph m cm mm dm µm μm nm km mi ft yd kg g mg µg μg ng t kt lb lbs oz l L ml mL dl cl hl ha s ms µs μs ns h hr hrs min
Hz kHz MHz GHz THz W mW kW MW GW TW Wh kWh MWh GWh TWh V kV mV µV A mA µA kA Ah mAh J kJ MJ GJ kcal N kN MN mN Nm
kNm Pa kPa MPa GPa hPa bar mbar psi mol mmol K °C °F ° ℃ dB dBA lx lm cd bit bits byte bytes kB KB MB GB TB PB KiB
MiB GiB TiB kbit Mbit Gbit Mbps Gbps kbps px dpi rpm ppm ppb fps VA kVA MVA Ω kΩ MΩ mΩ µF μF nF pF mH µH hp PS kp Bq
kBq mSv µSv Gy
"""
# Of one language each; elsewhere they are something else ("5 Mo", "5 PS").
UNITS_OF = {
    "de": "Std Min Sek Stunde Minute Meile Zoll",
    "fr": "Go Mo Ko To octets",
    "it": "mq mc kmq",
}
_TIME_WORDS = r"""
seconds? minutes? hours? days? weeks? months? years? decades? sekunden? minuten? stunden? tag(?:e|en)? wochen?
monat(?:e|en)? jahr(?:e|en)? secondes? heures? jours? semaines? mois an(?:s|nées)? segundos? minutos? horas? días?
semanas? mes(?:es)? años? second[io] minut[io] or[ae] giorn[io] settiman[ae] mes[ei] ann[io] seconden? dag(?:en)?
weken? maanden? ja(?:ar|ren) sekund(?:y)? minut(?:y)? godzin(?:y|a)? dni tygodni(?:e)? miesi(?:ęcy|ące|ąc) lat дней
лет месяцев
"""
_MEASURE_WORDS = r"""
(?:square|cubic|sq\.?|cu\.?)\s(?:kilo|centi|milli)?(?:met(?:er|re)s?|feet|ft|inch(?:es)?|miles?|yards?|m)
(?:quadrat|kubik)(?:kilo|zenti|milli)?metern? m[èe]tres?\s(?:carrés?|cubes?) metri\s(?:quadrat|cub)i
metros\s(?:cuadrados|cúbicos) (?:vierkante|kubieke)\smeter metrów\s(?:kwadratowych|sześciennych)
(?:kilo|centi|milli)?met(?:er|re)s? (?:kilo|zenti|milli)?metern? (?:kilo|centi|milli)?mètres?
(?:chilo|centi|milli)?metr[io] (?:kil[óo]|cent[íi]|mil[íi])?metros? (?:kilo|centy|mili)?metr(?:ów|y|a) inch(?:es)?
feet foot miles? meilen yards? acres? hectares? hektar ettari hectáreas kilograms? kilogramm kilogrammes?
chilogrammi kilogramos grams? gramm grammes? grammi gramos gramów kilogramów tonn?es? tonnen tons? tonnellate
toneladas lit(?:er|re|ern)s? litri litros litrów gallons? degrees?(?:\s(?:celsius|fahrenheit))? degrés?
grad(?:\scelsius)? grad[oi] grados graden stopni kilobytes? megabytes? gigabytes? terabytes? watts? volts? ampere?s?
newton hertz joules?
"""
# People, and what of documents and data is counted.
COUNTED = r"""
people persons employees users? customers? passengers? riders? visitors? inhabitants? residents? members? menschen
personen mitarbeiter(?:n|innen)? kunden einwohnern? fahrgästen? besuchern? mitgliedern? personnes employés clients
voyageurs passagers habitants? visiteurs membres personas empleados clientes pasajeros habitantes visitantes
miembros persone clienti passeggeri abitanti visitatori soci personen medewerkers klanten inwoners reizigers
bezoekers leden osób osoby mieszkańców pasażerów человек pages? documents? files? items? rows? records? times?
copies seiten páginas pagine pagina's
"""
TIME_WORDS = _TIME_WORDS
UNIT_WORDS = _TIME_WORDS + _MEASURE_WORDS
# Whole units that have no factors to be read one by one.
UNITS_AS_THEY_ARE = r"U/min|tr/min|giri/min|obr/min|1/min|min⁻¹|dB\(A\)|dB\(C\)|l/100\s?km|L/100\s?km"
