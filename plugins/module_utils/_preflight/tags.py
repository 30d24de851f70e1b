# Copyright (c) the digital_twin.robotics_lab maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check a lab's tags without AWS, against the limits of EC2 and IAM."""

from __future__ import annotations

import unicodedata

from .._lab.record import CLAIM_TAG, DATA_TAG, FORMATTED_TAG, RECORD_TAGS
from .._problem import Problem, shown
from .description import Inputs

OWN_TAGS = (
    *RECORD_TAGS,
    DATA_TAG,
    FORMATTED_TAG,
    CLAIM_TAG,
    "digital_twin_gpus",
    "digital_twin_lab",
    "managed_by",
    "Name",
    "digital_twin_index",
    "digital_twin_region",
    "digital_twin_ssh_user",
)
MOST_TAGS = 50
# The tags of the role: lab, collection, region and record.
ROLE_TAGS = 3 + len(RECORD_TAGS)
LONGEST_TAG_KEY = 128
LONGEST_TAG_VALUE = 256
TAG_PUNCTUATION = "_.:/=+-@"


def check_tags(inputs: Inputs) -> list[Problem]:
    """Check the user's tags against the limits of EC2 and IAM, as both store them."""
    tags = inputs.tags
    if not isinstance(tags, dict):
        return [inputs.problem("tags", "is not a mapping", "keys and values, both text", 'write {"team": "robotics"}')]
    problems: list[Problem] = []
    room = MOST_TAGS - ROLE_TAGS
    if len(tags) > room:
        allowed = f"at most {room}, as AWS allows {MOST_TAGS} and {ROLE_TAGS} are the lab's own"
        problems.append(Problem(inputs.variable("tags"), "", f"holds {len(tags)} tags", allowed, "remove some"))
    seen: dict[str, str] = {}
    for key, value in tags.items():
        problems += _check_tag_key(inputs, key, seen)
        problems += _check_tag_value(inputs, key, value)
    return problems


def _check_tag_key(inputs: Inputs, key: str, seen: dict[str, str]) -> list[Problem]:
    """Check one tag's key; `seen` maps the lowercase form of earlier keys to the keys, and is updated."""
    allowed = f"1 to {LONGEST_TAG_KEY} letters, digits, spaces and {TAG_PUNCTUATION}"
    if not 1 <= len(key) <= LONGEST_TAG_KEY:
        return [inputs.problem_with("tags", key, f"is a key of {len(key)} characters", allowed, "choose another key")]
    if _forbidden_characters(key):
        reason = f"is a key with {shown(_forbidden_characters(key))} in it"
        return [inputs.problem_with("tags", key, reason, allowed, "leave these characters out")]
    reason = _clash(key, seen)
    seen.setdefault(key.lower(), key)
    return [inputs.problem_with("tags", key, reason, allowed, "choose another key")] if reason else []


def _clash(key: str, seen: dict[str, str]) -> str:
    """Return why a well-formed key cannot be used with the others, or an empty text."""
    if key.lower().startswith("aws:"):
        return 'begins with "aws:", which AWS reserves'
    # IAM does not distinguish "Team" from "team", although EC2 does.
    if key.lower() in {own.lower() for own in OWN_TAGS}:
        return "is a tag by which the role finds the lab"
    if key.lower() in seen:
        return f"differs from {shown(seen[key.lower()])} in case only, which IAM rejects"
    return ""


def _check_tag_value(inputs: Inputs, key: str, value: object) -> list[Problem]:
    """Check one tag's value."""
    allowed = f"up to {LONGEST_TAG_VALUE} letters, digits, spaces and {TAG_PUNCTUATION}"
    of_key = f"(the value of {shown(key)})"
    if not isinstance(value, str):
        remedy = f"put it in quotes: {shown(str(value))}" if isinstance(value, (bool, int, float)) else "write text"
        return [inputs.problem_with("tags", value, f"{of_key} is not text", allowed, remedy)]
    if len(value) > LONGEST_TAG_VALUE:
        return [inputs.problem_with("tags", value, f"{of_key} has {len(value)} characters", allowed, "shorten it")]
    if _forbidden_characters(value):
        reason = f"{of_key} has {shown(_forbidden_characters(value))} in it"
        return [inputs.problem_with("tags", value, reason, allowed, "leave these characters out")]
    return []


def _forbidden_characters(text: str) -> str:
    """Return the characters of a text that IAM allows in no tag, each once."""
    return "".join(
        dict.fromkeys(
            char
            for char in text
            if char not in TAG_PUNCTUATION and unicodedata.category(char)[0] not in ("L", "N", "Z")
        )
    )
