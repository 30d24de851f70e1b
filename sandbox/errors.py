"""The error that a user of the sandbox sees: a sentence with the problem and its remedy."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot continue; the message is printed without a traceback."""
