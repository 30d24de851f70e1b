# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Normalises the words of a text, and finds those that stop the robot."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

# Speech recognition writes numbers as words.
NUMBERS = {
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}

# The characters that keyboards, phones and speech recognisers use for the apostrophe of "don't".
_APOSTROPHES = str.maketrans(
    dict.fromkeys(
        "'`\u00b4\u02b9\u02ba\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u02ee\u0374\u0384\u055a\u055b\u05f3"
        "\u07f4\u07f5\u1fbd\u1fbf\u1fef\u1ffd\u1ffe\u2018\u2019\u201a\u201b\u2032\u2035\u275b\u275c\ua78b\ua78c"
        "\uff07\uff40",
        "",
    )
)
_SIGNS = str.maketrans(dict.fromkeys("\u23f8\u23f9\u26d4\u270b\U0001f590\U0001f6ab\U0001f6d1\U0001f91a", ". stop ."))
# Cyrillic, Greek and small capital letters that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0442\u0443\u0445\u043a\u043c\u043d\u0432\u0456\u0455\u0458\u0501\u04bb\u04cf"
    "\u03b1\u03b5\u03bf\u03c1\u03bd\u03c4\u03c5\u03b9\u03ba\u0131\ua731\u1d1b\u1d0f\u1d18\u0274",
    "aeopctyxkmhbisjdhl" + "aeopvtuik" + "istopn",
)
# Diacritics of alphabets in which they do not change the word; other scripts need their marks.
_DIACRITICS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]")
# Printable by their category, but invisible.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffd")
# The end of a clause: no name of a place spans it.
_BREAKS = re.compile(r"[^\w\s-]+|\s[-\u2010-\u2015]+\s|[\t\n\r\v\f\x1c-\x1f\x85\u2028\u2029]")

# Words that always stop the robot. A place must not have such a name, or the word would no longer stop it.
STOP_WORDS = ("stop", "halt", "freeze", "abort", "cancel", "pause", "wait", "emergency", "estop", "whoa", "woah")


def _drawn_out(word: str) -> str:
    """Return a pattern for a word that may be shouted or spelled: "stooop", "st0p", "s t o p"."""
    letters = ["[o0]" if letter == "o" else letter for letter in word]
    return "".join(f"{letter}+" for letter in letters) + "|" + " ".join(letters)


_STOP = re.compile(
    rf"\b({'|'.join(map(_drawn_out, STOP_WORDS))}"
    r"|hold (it|on|up|off|back|still|everything|position|your position|there)"
    r"|(stay|stand|keep|sit|remain) (still|put|here|back|by|down|where|in place)"
    r"|shut (it )?down|(switch|turn|power) (it )?off|kill|cease|desist|quit|thats enough|enough now|forget)\b"
)

# A stopped robot can be sent again; one that drives away cannot be called back. So every negation, prohibition or
# exception means stop, whatever it refers to: "don't stop", "you can't go there", "anywhere but there".
_FORBIDDEN = re.compile(
    r"\b("
    r"(do|does|did|ca|wo|would|could|should|must|might|may|need|sha|is|are|ai|was|were|has|have|had|dare|ought)"
    r" ?n ?t ?(ve|cha)?"
    r"|(do|does|did|can|could|may|might|must|shall|should|will|would|need|is|are|am)? ?no+t+|dnt|don"
    r"|(dont|can(no)?t|not|never)(go|move|drive|head|navigate|mind)"
    r"|(no+)+|non|nope|nah|nay|negative|none|nobody|nothing|nowhere|neither|nor|ne+ve+r+"
    r"|hardly|barely|scarcely|rarely|seldom|without|unless|lest|except|excepting|excluding|besides"
    r"|forbid\w*|forbad\w*|prohibit\w*|ban|bans|banned|barred|disallow\w*|restricted|veto\w*|den(y|ies|ied)"
    r"|unable|incapable|impossible|unsafe|dangerous|illegal|unauthori[sz]ed|unwilling|off limits|out of bounds"
    r"|avoid\w*|refus(e|es|ed|ing|al)|refrain\w*|declin(e|es|ed|ing)|reject\w*|abstain\w*|neglect\w*|fail(s|ed)? to"
    r"|prevent\w*|skip\w*|bypass\w*|ignor(e|es|ed|ing)|disregard\w*|omit\w*|beware|wrong|alone"
    r"|give up|hate (to|for)|disapprov\w*"
    r"|(stay|keep|steer|remain|stand) (\w+ )?(away|out|off|clear)|keep (\w+ )?from|back off|hands off"
    r"|instead of|rather than|other than|apart from|aside from|save for|in (place|lieu) of"
    r"|(any|every|all|no)(where|thing|place| \w+)? but"
    r"|(advis|decid|warn|recommend|vot|argu|object)\w* (\w+ )?(against|to going)"
    r"|against (my |the |our |all )?(will|wish\w*|rules?|laws?|orders?|polic\w*|regulations?|going|moving|driving)"
    r")\b"
)

# A negation of the speed alone, or a courtesy, forbids nothing. "Do not quickly go there", "don't rush there" do.
_DEGREE = "(?:too|so|that|very|all that|overly) "
_EASY = re.compile(
    r"\b(?P<verb>(?:can|could|may|might|must|shall|should|will|would|do|does|did|is|are|am|to|you) )?"
    rf"(?:not (?:be )?(?:{_DEGREE})?(?:fast|faster|quick|quickly|slow|slowly|slower)"
    r"(?=$| (?:to|please|and|but|ok|okay|robot)\b| @)"
    r"|(?:not in (?:a|any) |no |no need to )(?:hurry|rush|haste)\b(?! (?:to|at|in|into|over|through|towards?)\b| @)"
    r"|(?:do ?n ?t|do not|never|without) (?:be (?:too )?)?(?:hurry|hurrying|rush|rushing|speed|speeding|haste|hasty)"
    r"(?=(?: please)?$)"
    r"|no (?:problem|problems|worries)\b|if you (?:do ?n ?t|do not) mind\b)"
)
_NEGATED = rf"\b(?:not|no|dont|do not|never|without) (?:(?:be|in an?|in any|need to) )?(?:{_DEGREE})?"
NOT_FAST = re.compile(
    _NEGATED + r"(?:fast|faster|quick|quickly|hurry|hurrying|rush|rushing|speed|speeding|haste|hasty)\b"
)
NOT_SLOW = re.compile(_NEGATED + r"(?:slow|slowly|slower)\b")


def normalise(text: str) -> str:
    """Return the words of a text: lower case, no punctuation, numbers as digits, one space between words."""
    # Before decomposition, which would split a lone acute accent into a space and a mark.
    plain = text.translate(_SIGNS).translate(_APOSTROPHES)
    folded = unicodedata.normalize("NFKD", plain).casefold().translate(_LOOKALIKES)
    shown = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    composed = unicodedata.normalize("NFKC", _DIACRITICS.sub("", shown))
    words = re.sub(r"[\W_]+", " ", composed).split()
    return " ".join(NUMBERS.get(word, word) for word in words)


def clauses(text: str) -> list[list[str]]:
    """Return the possible readings of a text, each as its normalised clauses.

    Invisible characters, and those that may be apostrophes, either separate two words or do not: "st.op" written with a
    zero-width space is one word, "now" and "stop" with the same between them are two.
    """
    signed = text.translate(_SIGNS)
    joined = "".join(character for character in signed.translate(_APOSTROPHES) if not _unseen(character))
    divided = "".join(_divided(character) for character in signed)
    return [[normalise(clause) for clause in _BREAKS.split(reading)] for reading in dict.fromkeys((joined, divided))]


def _unseen(character: str) -> bool:
    return character != " " and (not character.isprintable() or character in _BLANKS)


def _divided(character: str) -> str:
    if ord(character) in _APOSTROPHES or character in _BLANKS:
        return " "
    if character.isprintable() or _BREAKS.fullmatch(character):
        return character
    return " " if unicodedata.category(character) in ("Cf", "Zs") else "\n"


def forbids(clause: list[str]) -> bool:
    """Return whether clauses, in which @ replaces a place, stop the robot or forbid a movement."""
    text = " ".join(clause)
    allowed = " ".join(_EASY.sub(lambda found: found.group() if found["verb"] else " ", part) for part in clause)
    return bool(_STOP.search(text) or _FORBIDDEN.search(" ".join(allowed.split())))


def stops(name: str) -> bool:
    """Return whether a name consists of words that stop the robot."""
    return bool(_STOP.fullmatch(name) or _FORBIDDEN.fullmatch(name))


def legible(body: str) -> str:
    """Return the text of an invalid body, with escapes resolved."""
    text = unquote(body.replace("+", " "), errors="replace")
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    return re.sub(r"\\+[bfnrt]", "\n", text)
