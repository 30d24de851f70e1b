"""The one error a user of the sandbox sees: a sentence that says what is wrong and what to do."""

from __future__ import annotations


class SandboxError(Exception):
    """Something the sandbox needs cannot be had; the message is printed without a traceback."""
