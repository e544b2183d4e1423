"""Numbers and units of the package siunitx, as it prints them by default; pure."""

from __future__ import annotations

import re

_PREFIX_PAIRS = """
quecto q ronto r yocto y zepto z atto a femto f pico p nano n micro µ milli m centi c deci d deca da hecto h kilo k
mega M giga G tera T peta P exa E
""".split()  # noqa: SIM905
_PREFIXES: dict[str, str] = dict(zip(_PREFIX_PAIRS[::2], _PREFIX_PAIRS[1::2], strict=True))
_UNITS = """
metre m meter m gram g kilogram kg second s ampere A kelvin K mole mol candela cd hertz Hz newton N pascal Pa joule J
watt W coulomb C volt V farad F ohm Ω siemens S weber Wb tesla T henry H lumen lm lux lx becquerel Bq gray Gy
sievert Sv katal kat radian rad steradian sr minute min hour h day d degree ° arcminute ′ arcsecond ″ litre L liter L
tonne t electronvolt eV dalton Da hectare ha astronomicalunit au bel B decibel dB neper Np percent % celsius °C
degreeCelsius °C angstrom Å bar bar mmHg mmHg knot kn byte B bit bit year a euro €
km km m m cm cm mm mm um µm nm nm kg kg g g mg mg ug µg s s ms ms us µs ns ns h h Hz Hz kHz kHz MHz MHz GHz GHz
N N kN kN Pa Pa kPa kPa MPa MPa J J kJ kJ kWh kWh W W kW kW MW MW V V mV mV kV kV A A mA mA K K mol mol l L ml mL L L
dB dB eV eV keV keV MeV MeV GeV GeV
""".split()  # noqa: SIM905
_SYMBOLS: dict[str, str] = dict(zip(_UNITS[::2], _UNITS[1::2], strict=True))
_POWERS: dict[str, str] = {"squared": "2", "cubed": "3"}
_POWERS_BEFORE: dict[str, str] = {"square": "2", "cubic": "3"}
_TOKEN = re.compile(r"\\([A-Za-z]+)\s*|\^\{?(-?\d+)\}?|([^\\^]+)")
_NUMBER = re.compile(r"\s*([^eEdD\\]*?)\s*(?:[eEdD]\s*([+-]?\d+))?\s*")

# Text, and the power that is raised behind it.
Part = tuple[str, str]


def number(text: str) -> list[Part]:
    """Return a number with its power of ten."""
    text = text.replace("\\pm", "±").replace("+-", "±").replace("~", " ")
    found = _NUMBER.fullmatch(text)
    if found is None:
        return [(text, "")]
    digits, exponent = found[1].strip(), found[2]
    digits = re.sub(r"\s*±\s*", " ± ", digits).replace("-", "−") if "±" in digits else digits
    if exponent is None:
        return [(digits, "")]
    return [(f"{digits} × 10" if digits else "10", exponent.lstrip("+"))]


def unit(text: str) -> list[Part]:
    """Return a unit: symbols with their prefixes and powers, apart by no-break spaces."""
    text = re.sub(r"\\(?:tothe|raiseto)\s*\{(-?\d+)\}", r"^{\1}", text)
    parts: list[Part] = []
    prefix, power, sign = "", "", ""
    for token in _TOKEN.finditer(text):
        command, raised, plain = token.groups()
        if raised:
            if parts:
                parts[-1] = (parts[-1][0], raised)
        elif plain:
            words = plain.replace("~", "\u00a0").replace(".", "\u00a0").replace("{", "").replace("}", "").strip()
            if words:
                parts.append((words, ""))
        elif command == "per":
            sign = "-"
        elif command in _PREFIXES:
            prefix = _PREFIXES[command]
        elif command in _POWERS_BEFORE:
            power = _POWERS_BEFORE[command]
        elif command in _POWERS and parts:
            parts[-1] = (parts[-1][0], ("-" if parts[-1][1].startswith("-") else "") + _POWERS[command])
        elif command in ("tothe", "raiseto", "of", "highlight"):
            continue
        else:
            raised = f"{sign}{power or ('1' if sign else '')}"
            parts.append((prefix + _SYMBOLS.get(command, command), raised))
            prefix, power, sign = "", "", ""
    blanks = ("\u00a0" if index and text[:1].isalnum() else "" for index, (text, _) in enumerate(parts))
    return [(blank + text, raised) for blank, (text, raised) in zip(blanks, parts, strict=True)]


def angle(text: str) -> str:
    """Return degrees, minutes and seconds."""
    return "".join(value.strip() + sign for value, sign in zip(text.split(";"), "°′″", strict=False) if value.strip())
