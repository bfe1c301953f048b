"""The formats of JSON Schema that strings can be held to, as regular expressions (ECMA dialect, whole text)."""

from __future__ import annotations

from typing import Final

from chimerac.frontends.grammar.budget import shown
from chimerac.frontends.grammar.json_source import UnsupportedKeyword

#: From the year 1: many readers of dates have no year 0.
_YEAR: Final = r"(?:\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)"
_DAY: Final = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
)
_CLOCK: Final = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_BYTE: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_GROUP: Final = r"[0-9a-fA-F]{1,4}"
_TAIL: Final = rf"(?:{_GROUP}:{_GROUP}|{_IPV4})"
_IPV6: Final = "|".join(
    [
        rf"(?:{_GROUP}:){{6}}{_TAIL}",
        rf"::(?:{_GROUP}:){{5}}{_TAIL}",
        *(rf"(?:{_GROUP}(?::{_GROUP}){{0,{before}}})?::(?:{_GROUP}:){{{4 - before}}}{_TAIL}" for before in range(5)),
        rf"(?:{_GROUP}(?::{_GROUP}){{0,5}})?::{_GROUP}",
        rf"(?:{_GROUP}(?::{_GROUP}){{0,6}})?::",
    ]
)
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_CODED: Final = r"%[0-9A-Fa-f]{2}"
_UNRESERVED: Final = rf"[A-Za-z0-9._~!$&'()*+,;=:@-]|{_CODED}"
_AFTER_PATH: Final = rf"(?:\?(?:{_UNRESERVED}|[/?])*)?(?:#(?:{_UNRESERVED}|[/?])*)?"
_URI: Final = rf"[A-Za-z][A-Za-z0-9+.-]*:(?://(?:{_UNRESERVED}|[\[\]])*)?(?:{_UNRESERVED}|/)*{_AFTER_PATH}"
#: Of a reference without a scheme: its first segment has no colon.
_SEGMENT: Final = rf"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|{_CODED})"
_POINTER: Final = r"(?:/(?:[^~/]|~[01])*)*"
_CLOCK_TIME: Final = r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_DATES: Final = r"(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)"

#: What each format matches. Leap seconds, quoted local parts and address literals of e-mail are left out.
FORMATS: Final[dict[str, str]] = {
    "date": _DAY,
    "time": _CLOCK,
    "date-time": rf"{_DAY}[tT]{_CLOCK}",
    "duration": rf"P(?:{_DATES}(?:{_CLOCK_TIME})?|{_CLOCK_TIME}|\d+W)",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ipv4": _IPV4,
    "ipv6": rf"(?:{_IPV6})",
    "email": rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~-]+)*@{_LABEL}(?:\.{_LABEL})*",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*",
    "uri": _URI,
    "uri-reference": rf"(?:{_URI}|(?://(?:{_UNRESERVED}|[\[\]])*(?:/(?:{_UNRESERVED}|/)*)?"
    rf"|/(?:(?:{_UNRESERVED})(?:{_UNRESERVED}|/)*)?|{_SEGMENT}+(?:/(?:{_UNRESERVED}|/)*)?)?{_AFTER_PATH})",
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9]\d*)(?:#|{_POINTER})",
}
#: Formats of the drafts that are not checked, and what narrower one to take.
_UNSUPPORTED: Final = {
    "idn-email": "take email",
    "idn-hostname": "take hostname",
    "iri": "take uri",
    "iri-reference": "take uri-reference",
    "uri-template": "write a pattern",
    "regex": "write a pattern",
}


def known_format(name: str, pointer: str) -> str:
    """ "" for a format that strings are held to, else the note for one that only annotates.

    A format that no draft defines annotates; raises UnsupportedKeyword for one that a draft defines and that is not
    checked here.
    """
    if name in FORMATS:
        return ""
    if name in _UNSUPPORTED:
        raise UnsupportedKeyword(pointer, f"the format {shown(name)} is not supported", _UNSUPPORTED[name])
    return f"the format {shown(name)} is none of JSON Schema's and says nothing about values"
