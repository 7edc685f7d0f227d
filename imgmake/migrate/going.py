"""Whether a recipe line counts on its shell to go on after what fails: make's has no ``-e``, imgmake's has. Pure."""

from __future__ import annotations

import itertools
import re

_HARMLESS = re.compile(r"(?:echo|printf|exit|export|set|cd|true|:|sleep|trap|shift|\w+=\S*$)(?=\W|$)|\w+=")


def goes_on(text: str) -> bool:
    """Whether a command follows another after a ``;``, whatever became of that: make's shell has no ``-e``."""
    plain = re.sub(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"|\$\([^()]*\)", "x", text.replace("\\\n", " "))
    stretches = [each.strip() for each in re.split(r";|\n", plain)]
    pairs = itertools.pairwise(stretches)
    return any(
        _plain(one) and not re.match(r"(?:then|do|else|elif|fi|done|esac|\}|\))", two) and two for one, two in pairs
    )


def _plain(command: str) -> bool:
    """A command that may fail, at the head of a stretch or behind a word of the shell's syntax."""
    command = re.sub(r"^(?:(?:then|do|else|!)\s+)+", "", command)
    return (
        not re.match(r"(?:if|for|while|until|case|elif|fi|done|esac)\b", command)
        and not _HARMLESS.match(command)
        and ("||" not in command)
    )
