"""Whether a recipe line counts on its shell to go on after what fails: make's has no ``-e``, imgmake's has. Pure.

What ``-e`` stops at is looked for as a shell reads the text: a command that may fail, that nothing tests, and that is
not the last one, whose result is that of the line anyway.
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/V3_chap02.html#set
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_TOKEN = re.compile(
    r"\n|;;|&&|\|\||[<>]&|&>|[;&|()]|(?:[^\s;&|()<>'\"\\`$]|\\.|'[^']*'|[<>]+(?!&)|\$(?!\())+|\s", re.DOTALL
)
_ASSIGNS = re.compile(r"\w+\+?=")
_HARMLESS = frozenset(
    [
        "echo",
        "printf",
        "exit",
        "export",
        "set",
        "cd",
        "true",
        ":",
        "sleep",
        "trap",
        "shift",
        "unset",
        "readonly",
        "local",
        "return",
    ]
)
_ANSWERS = frozenset(["echo", "printf", "date", "pwd", "basename", "dirname", "true", ":"])
_STOPS = re.compile(r"set\s+(?:-[a-z]*e|-o\s+errexit)")
_OPEN = {"if", "for", "while", "until", "case", "{", "("}


@lru_cache(maxsize=1 << 14)  # a command is read anew with each target that a pattern makes, and each time it is written
def goes_on(text: str, *, folders: bool = False) -> bool:
    """Whether a command follows one that may fail, whatever became of that.

    folders: count with folders that are not there; else ``cd`` is taken to succeed.
    """
    if _STOPS.match(text.strip()):
        return False
    try:
        return _Reader(text, _HARMLESS - {"cd"} if folders else _HARMLESS).goes_on()
    except (IndexError, ValueError):
        return True  # a shell may make more of it


def leaves(text: str) -> bool:
    """Whether a line would go on here, were a folder that it goes to not there."""
    return "cd " in text and not goes_on(text) and goes_on(text, folders=True)


def reads_no_shell(text: str) -> bool:
    """Whether make starts the program ``echo`` itself, and a shell's own ``echo`` may say something else.

    https://git.savannah.gnu.org/cgit/make.git/tree/src/job.c (construct_command_argv_internal)
    """
    if not re.match(r"echo\s", text) or re.search(r"[#;\"*?\[\]&|<>(){}$`^~!\n]", re.sub(r"'[^']*'", "", text)):
        return False
    return bool(re.match(r"echo\s+-\w*[eE]", text) or re.search(r"'[^']*\\[^']*'", text))


class _Reader:
    """One reading of a shell text, command by command."""

    def __init__(self, text: str, harmless: frozenset[str]) -> None:
        self._safe = harmless
        self._tokens = [*_tokens(text.replace("\\\n", " ")), ";"]
        self._at = 0
        self._tested = False  # whether what is read stands where something looks at its result

    def goes_on(self) -> bool:
        found = self._list(final=True, ends=())
        if self._at < len(self._tokens):
            raise ValueError
        return found

    def _next(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _list(self, *, final: bool, ends: Sequence[str]) -> bool:
        """Commands until one of the words that end them, which is left; `final` where its last gives the result."""
        found = False
        while True:
            while self._peek() in (";", "\n", "&"):
                self._at += 1
            if self._at >= len(self._tokens) or self._peek() in ends:
                return found
            start = self._at
            found |= self._chain(final, ends)
            if self._at == start:
                raise ValueError  # a bracket that closes nothing

    def _chain(self, final: bool, ends: Sequence[str]) -> bool:
        """Commands joined by ``&&``, ``||`` and ``|``: only what the last of them does is not looked at by any."""
        found = piped = False
        while True:
            start = self._at
            self._skip()
            joint = self._peek()
            before, last = self._tested, final and self._is_last(ends)
            self._tested = joint in ("&&", "||") or self._tokens[start] == "!" or (before and joint != "|")
            self._at = start
            found |= self._command(final=last or joint in ("|", "&"), piped=piped)
            piped = joint == "|"
            self._tested = before
            if joint not in ("&&", "||", "|"):
                return found
            self._at += 1
            while self._peek() == "\n":
                self._at += 1

    def _is_last(self, ends: Sequence[str]) -> bool:
        at = self._at
        while at < len(self._tokens) and self._tokens[at] in (";", "\n"):
            at += 1
        return at >= len(self._tokens) or self._tokens[at] in ends

    def _skip(self) -> None:
        self._command(final=True)

    def _command(self, *, final: bool, piped: bool = False) -> bool:
        while self._peek() == "!":
            self._at += 1
        if self._peek() in _OPEN:
            alone = piped or self._peek() == "("  # in a shell of its own, whose result counts as any command's
            found = self._compound(self._next(), final)
            self._words()  # where its output goes
            return found or (alone and not (final or self._tested))
        words = self._words()
        if self._peek() == "(" and len(words) == 1:
            raise ValueError  # a function
        inside = any(goes_on(text) for word in words for text in _substituted(word))
        return inside or not (final or self._tested or self._harmless(words))

    def _harmless(self, words: Sequence[str]) -> bool:
        """Whether a command does not fail: an assignment fails with the command whose output it takes."""
        plain = list(itertools.dropwhile(_ASSIGNS.match, words))
        if plain:
            return plain[0] in self._safe
        taken = [text.split() for word in words for text in _substituted(word)]
        return all(text and text[0] in _ANSWERS for text in taken)

    def _words(self) -> list[str]:
        found = []
        while self._peek() not in (";", "\n", "&", "&&", "||", "|", "(", ")", ";;", ""):
            found.append(self._next())
        return found

    def _compound(self, word: str, final: bool) -> bool:
        if word in ("{", "("):
            return self._until("}" if word == "{" else ")", final)
        if word == "if":
            return self._if(final)
        if word == "case":
            return self._case(final)
        if word == "for":
            self._words()
            while self._peek() in (";", "\n"):
                self._at += 1
            self._expect("do")
            return self._until("done", final=False)
        tested = self._condition("do")
        return self._until("done", final=False) or tested

    def _condition(self, end: str) -> bool:
        before, self._tested = self._tested, True
        found = self._until(end, final=True)
        self._tested = before
        return found

    def _if(self, final: bool) -> bool:
        found = False
        while True:
            found |= self._condition("then")
            found |= self._list(final=final, ends=("elif", "else", "fi"))
            end = self._next()
            if end == "else":
                return self._until("fi", final) or found
            if end == "fi":
                return found

    def _case(self, final: bool) -> bool:
        found = False
        while self._next() != "in":
            pass
        while True:
            while self._peek() in (";", ";;", "\n"):
                self._at += 1
            if self._peek() == "esac":
                self._at += 1
                return found
            while self._next() != ")":
                pass
            found |= self._list(final=final, ends=(";;", "esac"))

    def _until(self, end: str, final: bool) -> bool:
        found = self._list(final=final, ends=(end,))
        self._expect(end)
        return found

    def _expect(self, word: str) -> None:
        if self._next() != word:
            raise ValueError


def _tokens(text: str) -> Iterator[str]:
    """Words and operators; what is quoted or substituted stays in its word."""
    word, at = "", 0
    while at < len(text):
        end = _quoted(text, at)
        if end > at:
            word, at = word + text[at:end], end
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError
        piece, at = match[0], match.end()
        if piece == "\n" or piece.isspace() or re.fullmatch(r";;|&&|\|\||[;&|()]", piece):
            if word:
                yield word
            word = ""
            if piece == "\n" or not piece.isspace():
                yield piece
        elif piece.startswith("#") and not word:
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        else:
            word += piece
    if word:
        yield word


def _quoted(text: str, at: int) -> int:
    """Where what begins here with ``"``, a backtick or ``$(`` ends; `at` itself for anything else."""
    if text[at] in '"`':
        end = at + 1
        while text[end] != text[at]:
            end = end + 2 if text[end] == "\\" else (_quoted(text, end) if text.startswith("$(", end) else end + 1)
        return end + 1
    if text.startswith("${", at):
        return text.index("}", at) + 1
    if text.startswith("$(", at):
        return _closed(text, at + 2)
    return at


def _closed(text: str, at: int) -> int:
    """Behind the bracket that closes one that is open."""
    while text[at] != ")":
        if text[at] == "(":
            at = _closed(text, at + 1)
        elif text[at] == "'":
            at = text.index("'", at + 1) + 1
        elif text[at] == "\\":
            at += 2
        else:
            at = max(_quoted(text, at), at + 1)
    return at + 1


def _substituted(word: str) -> Iterator[str]:
    """The texts of the commands whose output a word takes."""
    at = 0 if "$(" in word or "`" in word else len(word)
    while at < len(word):
        end = at + 1
        if word[at] == "'" and word[:at].count('"') % 2 == 0:
            end = word.find("'", at + 1) + 1 or len(word)
        elif word.startswith("$((", at):
            end = _closed(word, at + 2)
        elif word.startswith("$(", at):
            end = _closed(word, at + 2)
            yield word[at + 2 : end - 1]
        elif word[at] == "`":
            end = _quoted(word, at)
            yield word[at + 1 : end - 1]
        at = end
