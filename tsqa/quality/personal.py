"""Personal data in a text, by patterns that are checked: what looks like it but cannot be is passed
over.

What this misses: names, addresses, dates of birth, numbers written out in words or broken over
lines, national phone numbers outside North America or of ten digits in a row, identifiers of other
countries. What it passes over on purpose: what is reserved for examples (example.com, 555-01xx,
private IP addresses), and phone and social security numbers in a row of numbers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

KINDS = ("e-mail", "phone", "credit card", "IBAN", "IP address", "US SSN")
MISSED = (
    "names of persons are not among them (audit.names), so 0 does not mean that nobody can be "
    "told; nor are addresses, dates of birth, numbers in words, phone numbers without +, but for "
    "those of North America"
)

_RESERVED = re.compile(
    r"(?:^|[.@])(?:example\.(?:com|net|org)|[\w-]+\.(?:example|invalid|test)|localhost)$", re.I
)
_FICTIONAL = re.compile(r"555-?01\d\d$")
_IBAN_LENGTHS = range(15, 35)
_ALONE = r"(?<![\w.+-])(?<!\d )(?<!\d, )"
"""What begins here is in no row of numbers, such as those of a sum."""


def find_personal(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, what was found)."""
    if "@" not in text and not any(letter.isdigit() for letter in text):
        return
    for kind, pattern, is_real in _PATTERNS:
        for match in pattern.finditer(text):
            if is_real(match[0]):
                yield kind, match[0]


def _is_mail(found: str) -> bool:
    return not _RESERVED.search(found)


def _is_phone(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 8 <= len(digits) <= 15 and not _FICTIONAL.search(re.sub(r"[^\d-]", "-", found))


def _is_card(found: str) -> bool:
    """ISO/IEC 7812: the check digit by Luhn, of the networks' lengths and first digits."""
    digits = [int(letter) for letter in found if letter.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[::-2])) % 10 == 0 and len(set(digits)) > 2


def _is_iban(found: str) -> bool:
    """ISO 13616: what remains modulo 97 is 1."""
    plain = found.replace(" ", "")
    moved = plain[4:] + plain[:4]
    number = int("".join(str(int(letter, 36)) for letter in moved))
    return len(plain) in _IBAN_LENGTHS and number % 97 == 1


def _is_address(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


def _always(found: str) -> bool:
    return True


_PATTERNS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("e-mail", re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+){1,5}\b"), _is_mail),
    (
        "phone",
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}(?:[ .-]?(?:\(\d{1,4}\)|\d{1,4})){2,5}"
            r"|(?:\(\d{3}\) ?|\d{3}[-.])[2-9]\d{2}[-.]\d{4}"
            rf"|{_ALONE}[2-9]\d{{2}} [2-9]\d{{2}} \d{{4}}(?! \d))(?![\w-])"
        ),
        _is_phone,
    ),
    (
        "credit card",
        re.compile(
            r"(?<![\w.-])(?:(?:[45]\d|2[2-7]|35|6[0245])\d{2}([ -]?)\d{4}\1\d{4}\1\d{4}"
            r"|3[47]\d{2}([ -]?)\d{6}\2\d{5}|3[0689]\d{2}([ -]?)\d{6}\3\d{4})(?![\w-])"
        ),
        _is_card,
    ),
    ("IBAN", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _is_iban),
    (
        "IP address",
        re.compile(
            r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d|\w)"
            r"|(?<![\w:.])[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:])"
        ),
        _is_address,
    ),
    (
        "US SSN",
        re.compile(
            r"(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"
            rf"|{_ALONE}(?!000|666|9)\d{{3}} (?!00)\d{{2}} (?!0000)\d{{4}}(?! \d|[\w-])"
        ),
        _always,
    ),
)
