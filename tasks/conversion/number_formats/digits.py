"""Numbers by the placeholders of a format: decimals, thousands, percent, fractions, scientific notation; pure.

`renderer` compiles a section once. Values are decimal numbers of at most 15 digits, which is what Excel computes and
rounds (half away from zero).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

from tasks.conversion.number_formats.format_code import Section, Token

# More than the digits of the largest double with the decimals of the longest code.
_CONTEXT = Context(prec=1_400, rounding=ROUND_HALF_UP)
_MAX_FRACTION_DIGITS = 7
# What is left of a continued fraction is then the error of a double.
_NO_REST = Fraction(1, 20_000_000)
_SHOWN = ("literal", "space", "percent", "slash", "comma", "point")

Render = Callable[[Decimal], str]
"""Returns what a number that is not negative looks like."""


def renderer(section: Section) -> Render:
    """Return the function that renders numbers by *section*."""
    tokens = section.tokens
    if section.has("exponent") and section.has("digit"):
        return _scientific(tokens)
    if (slash := _fraction_slash(tokens)) is not None:
        return _fraction(tokens, slash)
    return _plain(tokens)


def _plain(tokens: Sequence[Token]) -> Render:
    places = [index for index, token in enumerate(tokens) if token.kind == "digit"]
    percent = 2 * sum(1 for token in tokens if token.kind == "percent")
    if not places:
        text = _literal(tokens)
        return lambda _value: text
    first, last = places[0], places[-1]
    point = next((i for i, token in enumerate(tokens) if token.kind == "point" and i < last + 2), None)
    if point is not None and point < first:
        first = point
    end = max(last, point if point is not None else last) + 1
    scale = percent
    while end < len(tokens) and tokens[end].kind == "comma":
        scale -= 3
        end += 1
    whole_end = point if point is not None else last + 1
    if point is not None:  # "0,.0": a comma in front of the point scales as well
        while whole_end > first and tokens[whole_end - 1].kind == "comma":
            scale -= 3
            whole_end -= 1
    whole, decimals = tokens[first:whole_end], tokens[point + 1 : last + 1] if point is not None else ()
    before, after = _literal(tokens[:first]), _literal(tokens[end:])
    show_whole, show_decimals = _whole(whole), _decimals(decimals)
    places_after = sum(1 for token in decimals if token.kind == "digit")
    shift, unit, dot = Decimal(scale), Decimal(1).scaleb(-places_after), "." if point is not None else ""

    def render(value: Decimal) -> str:
        if scale:
            value = value.scaleb(shift, _CONTEXT)
        digits, _, rest = f"{value.quantize(unit, context=_CONTEXT):f}".partition(".")
        return f"{before}{show_whole(digits.lstrip('0'))}{dot}{show_decimals(rest)}{after}"

    return render


def _whole(tokens: Sequence[Token]) -> Callable[[str], str]:
    """Return the function that lays the digits in front of the point out; it is given none for zero."""
    marks = [token.text for token in tokens if token.kind == "digit"]
    grouped = any(token.kind == "comma" for token in tokens)
    if all(token.kind in ("digit", "comma") for token in tokens) and "?" not in marks:
        least = len(marks) - marks.index("0") if "0" in marks else 0
        width = least + max(0, least - 1) // 3

        def contiguous(digits: str) -> str:
            digits = digits.zfill(least)
            return f"{int(digits):0{width},}" if grouped and digits else digits

        return contiguous

    def spread(digits: str) -> str:
        pieces: list[str] = []
        left, used, open_places = digits, 0, len(marks)
        for token in reversed(tokens):
            if token.kind != "digit":
                pieces.append("" if token.kind == "comma" else token.text)
                continue
            open_places -= 1
            taken = (left[-1:], left) if open_places else (left, left)
            digit = taken[0] or {"0": "0", "?": " ", "#": ""}[token.text]
            left = left[:-1] if open_places else ""
            for one in reversed(digit):
                pieces.append(f"{one}," if grouped and used and not used % 3 and one.strip() else one)
                used += 1
        return "".join(reversed(pieces))

    return spread


def _decimals(tokens: Sequence[Token]) -> Callable[[str], str]:
    marks = "".join(token.text for token in tokens if token.kind == "digit")
    if not marks.strip("0") and len(marks) == len(tokens):
        return lambda digits: digits

    def spread(digits: str) -> str:
        kept = max(len(digits.rstrip("0")), marks.rfind("0") + 1)
        pieces: list[str] = []
        place = 0
        for token in tokens:
            if token.kind != "digit":
                pieces.append(token.text)
                continue
            pieces.append(digits[place] if place < kept else "")
            place += 1
        return "".join(pieces)

    return spread


def _scientific(tokens: Sequence[Token]) -> Render:
    at = next(index for index, token in enumerate(tokens) if token.kind == "exponent")
    mantissa, sign = list(tokens[:at]), tokens[at].text[1]
    tail = at + 1
    while tail < len(tokens) and tokens[tail].kind == "digit":
        tail += 1
    exponent_places = tail - at - 1
    point = next((index for index, token in enumerate(mantissa) if token.kind == "point"), len(mantissa))
    step = max(1, sum(1 for token in mantissa[:point] if token.kind == "digit"))
    decimals = sum(1 for token in mantissa[point:] if token.kind == "digit")
    show_mantissa, after = _plain(mantissa), _literal(tokens[tail:])

    def render(value: Decimal) -> str:
        exponent = value.adjusted() // step * step if value else 0
        scaled = value.scaleb(-exponent, _CONTEXT)
        if scaled.quantize(Decimal(1).scaleb(-decimals), context=_CONTEXT) >= Decimal(10) ** step:
            exponent += step
            scaled = value.scaleb(-exponent, _CONTEXT)
        mark = "-" if exponent < 0 else "+" if sign == "+" else ""
        return f"{show_mantissa(scaled)}E{mark}{str(abs(exponent)).zfill(exponent_places)}{after}"

    return render


def _fraction_slash(tokens: Sequence[Token]) -> int | None:
    """Return the place of the slash that has placeholders on its left and a denominator on its right."""
    for index, token in enumerate(tokens):
        if token.kind == "slash" and 0 < index < len(tokens) - 1 and tokens[index - 1].kind == "digit":
            following = tokens[index + 1]
            if following.kind == "digit" or (following.kind == "literal" and following.text.isdigit()):
                return index
    return None


def _fraction(tokens: Sequence[Token], slash: int) -> Render:
    start = slash
    while start and tokens[start - 1].kind == "digit":
        start -= 1
    end = slash + 1
    while end < len(tokens) and (tokens[end].kind == "digit" or tokens[end].text.isdigit()):
        end += 1
    written = "".join(token.text for token in tokens[slash + 1 : end])
    fixed = int(written) if any(char in "123456789" for char in written) and written.isdigit() else 0
    most = 10 ** min(len(written), _MAX_FRACTION_DIGITS) - 1
    has_whole = any(token.kind == "digit" for token in tokens[:start])
    show_whole = _plain(tokens[:start])
    before, after = ("" if has_whole else _literal(tokens[:start])), _literal(tokens[end:])

    def render(value: Decimal) -> str:
        exact = Fraction(value)
        near = Fraction(round(exact * fixed), fixed) if fixed else _convergent(exact, most)
        whole, part = divmod(near, 1) if has_whole else (0, near)
        denominator = fixed or part.denominator
        fraction = f"{part.numerator * denominator // part.denominator}/{denominator}"
        if has_whole and not part:
            return f"{show_whole(Decimal(whole)).strip() or '0'}{after}"
        return f"{before}{show_whole(Decimal(whole)) if has_whole else ''}{fraction}{after}"

    return render


def _convergent(value: Fraction, most: int) -> Fraction:
    """Return the last convergent of *value*'s continued fraction whose denominator is at most *most*.

    That is what Excel shows: 123.456 by ``# ?/?`` is 123 1/2, although 123 4/9 is nearer.
    """
    before, last, rest = (0, 1), (1, 0), value
    while True:
        whole = rest.numerator // rest.denominator
        numerator, denominator = whole * last[0] + before[0], whole * last[1] + before[1]
        if denominator > most:
            return Fraction(*last)
        before, last, rest = last, (numerator, denominator), rest - whole
        if rest < _NO_REST:
            return Fraction(*last)
        rest = 1 / rest


def _literal(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens if token.kind in _SHOWN)
