"""Numbers in the format General, as Excel shows them in a column that is wide enough; pure."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

# Up to here a double holds each whole number.
EXACT_WHOLE = 2**53
# General shows eleven characters: ten digits and the point.
_WIDTH = 11


def general(value: float) -> str:
    """Return *value* with up to eleven characters, else in scientific notation.

    Whole numbers that are exact are written out, where Excel shows ``1.23457E+11`` from twelve digits on: they are
    article and account numbers, and Excel shows their digits too when the cell is selected.
    """
    size = abs(value)
    if value.is_integer() and size <= EXACT_WHOLE:
        return str(int(value))
    if not size:
        return "0"
    if 1e-4 <= size < 1e11:
        decimals = max(0, _WIDTH - 1 - len(str(int(size))))
        unit = Decimal(1).scaleb(-decimals)
        return _stripped(f"{Decimal(f'{value:.15g}').quantize(unit, ROUND_HALF_UP):f}")
    if size < 1e-4:
        written = _stripped(f"{value:.12f}")
        if size >= 1e-10 and len(written.lstrip("-")) <= _WIDTH:
            return written
    mantissa, _, exponent = f"{value:.5E}".partition("E")
    return f"{_stripped(mantissa)}E{exponent}"


def _stripped(number: str) -> str:
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return "0" if number == "-0" else number
