"""make's functions of texts as Python expressions, for values that are known when a Pipefile is loaded. Pure.

Each takes its arguments as parts, none of them late. What a function means:
https://www.gnu.org/software/make/manual/html_node/Text-Functions.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from imgmake.migrate.expand import Uncovered
from imgmake.migrate.python import Part, Parts, atom, expression, merged, negated, quoted, today

EACH = "each"  # the name of a word in what is said of every word


def translate(function: str, given: Sequence[Parts], value: str) -> Part:
    """A call of one of make's functions. Raises Uncovered for one that is not here.

    value: make's answer today.

    >>> translate("subst", [[Part("/")], [Part("-")], [Part(name="REPO", value="a/b")]], "a-b").name
    'REPO.replace("/", "-")'
    """
    known = _FUNCTIONS.get(function)
    if known is None:
        raise Uncovered(f"$({function} …) of what can be overridden")
    made = known(given)
    return Part(name=made.name, value=value, words=made.words, test=made.test)


def condition(parts: Parts) -> str:
    """A Python condition that holds when a text is not empty; "True" or "False" where that is certain."""
    parts = merged(parts)
    if any(not part.name and part.text.strip() for part in parts):
        return "True"
    names = [part for part in parts if part.name]
    tests = [part.test or part.words or (atom(part.name) if " if " in part.name else part.name) for part in names]
    return "True" if "True" in tests else " or ".join(tests) or "False"


def words_of(parts: Parts) -> str:
    """A Python expression for the words of a text, in a list or a tuple.

    >>> words_of([Part("a b")]), words_of([Part(name="DIRS")]), words_of([Part("x "), Part(name="DIRS")])
    ('("a", "b")', 'DIRS.split()', 'f"x {DIRS}".split()')
    """
    parts = merged(parts)
    if not any(part.name for part in parts):
        found = today(parts).split()
        return f"({', '.join(map(quoted, found))}{',' * (len(found) == 1)})"
    named = [part for part in parts if part.name]
    if len(named) == 1 and named[0].words and not today([p for p in parts if not p.name]).strip():
        return named[0].words
    return f"{atom(expression(parts))}.split()"


def single(parts: Parts) -> bool:
    """Whether a text is one word, as far as can be told from today and from how it is called."""
    return len(today(parts).split()) == 1 and _scalar(parts)


def _scalar(parts: Parts) -> bool:
    """Whether a text is one word at most."""
    named = [part for part in parts if part.name and part.name not in _NO_PLURALS]
    several = any(part.words or _PLURAL.fullmatch(part.name) for part in named)
    return len(today(parts).split()) <= 1 and not several


_PLURAL = re.compile(r"\w*(?<![sS])[sS]|\w*LIST\w*")
_NO_PLURALS = frozenset({"OS", "GOOS", "TARGETOS", "os", "TARGET_OS"})


def _made(words: str = "", name: str = "", test: str = "") -> Part:
    return Part(name=name or f'" ".join({words})', words=words, test=test)


def _every(parts: Parts, change: Callable[[str], str]) -> Part:
    """One thing done to each word; where nothing becomes nothing, a text without words is one as well."""
    if single(parts) or (_scalar(parts) and one_name(parts) and change("x").startswith("x.remove")):
        return _made(name=change(atom(expression(stripped(parts)))))
    return _made(f"[{change(EACH)} for {EACH} in {words_of(parts)}]")


def stripped(parts: Parts) -> list[Part]:
    """A text without the blanks around it, as far as they are literal."""
    found = merged(parts)
    if found and not found[0].name:
        found[0] = Part(found[0].text.lstrip(), dollar=found[0].dollar)
    if found and not found[-1].name:
        found[-1] = Part(found[-1].text.rstrip(), dollar=found[-1].dollar)
    return merged(found)


# --- words that match ---------------------------------------------------------------------------------------


def _matches(patterns: Parts, each: str) -> str:
    """A Python condition: whether a word is, or matches, one of several patterns."""
    if any(part.name for part in patterns):
        if "%" in today(patterns):
            return _matches_one(patterns, each)
        return f"{each} in {words_of(patterns)}"
    words = today(patterns).split()
    plain = [word for word in words if "%" not in word]
    tests = [f"{each} == {quoted(plain[0])}"] if len(plain) == 1 else []
    tests += [f"{each} in ({', '.join(map(quoted, plain))})"] if len(plain) > 1 else []
    for word in words:
        before, percent, after = word.partition("%")
        ends = [f"{each}.startswith({quoted(before)})"] if before else []
        ends += [f"{each}.endswith({quoted(after)})"] if after else []
        tests += [" and ".join(ends) or "True"] if percent else []
    return " or ".join(tests) or "False"


def _matches_one(pattern: Parts, each: str) -> str:
    """The same, of one pattern that holds what can be overridden."""
    before, after = _halves(stripped(pattern))
    if after is None or len(today(pattern).split()) != 1:
        raise Uncovered("patterns that can be overridden")
    ends = [f"{each}.startswith({expression(before)})"] if before else []
    return " and ".join([*ends, f"{each}.endswith({expression(after)})"] if after else ends)


def _filter(given: Sequence[Parts]) -> Part:
    return _chosen(given, out=False)


def _filter_out(given: Sequence[Parts]) -> Part:
    return _chosen(given, out=True)


def _chosen(given: Sequence[Parts], *, out: bool) -> Part:
    patterns, text = given
    if single(text) or (_scalar(text) and one_name(text)):
        source = atom(expression(stripped(text)))
        test = _matches(patterns, source)
        test = negated(test) if out else test
        if source[0] in "\"'":
            return Part(name=f'{source} if {test} else ""', test=test)
        wanted = f"{source} and {atom(test)}" if out else test
        return Part(name=f'{source} if {test} else ""', test=wanted)
    test = _matches(patterns, EACH)
    return _made(f"[{EACH} for {EACH} in {words_of(text)} if {negated(test) if out else test}]")


def one_name(parts: Parts) -> bool:
    found = stripped(parts)
    return len(found) == 1 and bool(found[0].name)


# --- words that are changed ---------------------------------------------------------------------------------


def _patsubst(given: Sequence[Parts]) -> Part:
    pattern, replacement, text = stripped(given[0]), stripped(given[1]), given[2]
    return _every(text, lambda each: substituted(pattern, replacement, each))


def substituted(pattern: Parts, replacement: Parts, each: str) -> str:
    """One word with what matches ``%`` put into a replacement; a word that does not match stays.

    >>> substituted([Part("v%")], [Part("%")], "TAG"), substituted([Part("%.c")], [Part("out/%.o")], "f")
    ('TAG.removeprefix("v")', 'f"out/{f[:-2]}.o" if f.endswith(".c") else f')
    """
    (before, after), (head, tail) = _halves(pattern), _halves(replacement)
    if after is None:
        return f"{expression(replacement)} if {each} == {expression(pattern)} else {each}"
    if tail is None:
        raise Uncovered("a replacement without %")
    if not head and not tail and not (before and after):
        one = ("removeprefix", before) if before else ("removesuffix", after)
        return f"{each}.{one[0]}({expression(one[1])})" if before or after else each
    inner = each
    if any(part.name for part in (*before, *after)):
        inner += f".removeprefix({expression(before)})" if before else ""
        inner += f".removesuffix({expression(after)})" if after else ""
    elif before or after:
        start, end = len(today(before)), len(today(after))
        inner = f"{each}[{start or ''}:{-end if end else ''}]"
    ends = [f"{each}.startswith({expression(before)})"] if before else []
    ends += [f"{each}.endswith({expression(after)})"] if after else []
    made = expression([*head, Part(name=inner), *tail])
    return f"{made} if {' and '.join(ends)} else {each}" if ends else made


def _halves(pattern: Parts) -> tuple[list[Part], list[Part] | None]:
    """What stands before and behind the first ``%``; None behind where there is none."""
    before: list[Part] = []
    for at, part in enumerate(pattern):
        if not part.name and "%" in part.text:
            head, _, tail = part.text.partition("%")
            return merged([*before, Part(head)]), merged([Part(tail), *pattern[at + 1 :]])
        before.append(part)
    return merged(before), None


def _subst(given: Sequence[Parts]) -> Part:
    old, new, text = given
    if not any(part.name for part in (*old, *new)) and today(new) == " " and one_name(text):
        # What is put apart here is mostly asked for its words.
        name = atom(expression(stripped(text)))
        return Part(
            name=f'{name}.replace({expression(old)}, " ")', words=f'{name}.replace({expression(old)}, " ").split()'
        )
    if today(old) == " " and not any(part.name for part in old) and one_name(text) and stripped(text)[0].words:
        return Part(name=f"{expression(new)}.join({stripped(text)[0].words})")
    if not today(old) and not any(part.name for part in old):
        return Part(name=expression(text))
    return Part(name=f"{atom(expression(text))}.replace({expression(old)}, {expression(new)})")


def _strip(given: Sequence[Parts]) -> Part:
    found = stripped(given[0])
    if any(part.words for part in found) and len(found) == 1:
        return found[0]
    if _scalar(found):
        return Part(name=f"{atom(expression(found))}.strip()")
    return _made(words_of(found))


def _findstring(given: Sequence[Parts]) -> Part:
    if not all(map(merged, given)):
        return Part()
    test = f"{atom(expression(given[0]))} in {atom(expression(given[1]))}"
    return Part(name=f'{expression(given[0])} if {test} else ""', test=test)


def _added(given: Sequence[Parts], *, before: bool) -> Part:
    more = stripped(given[0])
    return _every(given[1], lambda each: expression([*more, Part(name=each)] if before else [Part(name=each), *more]))


def _addprefix(given: Sequence[Parts]) -> Part:
    return _added(given, before=True)


def _addsuffix(given: Sequence[Parts]) -> Part:
    return _added(given, before=False)


def _join(given: Sequence[Parts]) -> Part:
    if len(today(given[0]).split()) != len(today(given[1]).split()):
        raise Uncovered("lists of different lengths are joined")
    return _made(f"[a + b for a, b in zip({words_of(given[0])}, {words_of(given[1])})]")


def _sort(given: Sequence[Parts]) -> Part:
    return _made(f"sorted(set({words_of(given[0])}))")


# --- words by their place -----------------------------------------------------------------------------------


def _slice(given: Parts, start: str, end: str) -> Part:
    if _scalar(given) and start in ("", "-1"):
        return Part(name=expression(stripped(given)))
    if piece := _piece(given, f"{start}:{end}"):
        return piece
    return _made(f"{words_of(given)}[{start}:{end}]")


_SPLIT = re.compile(r"(.+)\.replace\((\"[^\"]+\"), \" \"\)\.split\(\)")


def _piece(given: Parts, place: str) -> Part | None:
    """A word of a text that was put apart at one character."""
    match = _SPLIT.fullmatch(words_of(given))
    if match is None or '"' in match[1]:
        return None
    ends = {":1": f"{match[1]}.partition({match[2]})[0]", "-1:": f"{match[1]}.rpartition({match[2]})[2]"}
    return Part(name=ends.get(place) or f'"".join({match[1]}.split({match[2]})[{place}])')


def _word(given: Sequence[Parts]) -> Part:
    at = today(given[0]).strip()
    if any(part.name for part in given[0]) or not at.isdigit():
        raise Uncovered("a place that can be overridden")
    return _slice(given[1], str(int(at) - 1) if at != "1" else "", at)


def _wordlist(given: Sequence[Parts]) -> Part:
    start, end = (today(each).strip() for each in given[:2])
    if any(part.name for each in given[:2] for part in each) or not (start.isdigit() and end.isdigit()):
        raise Uncovered("a place that can be overridden")
    return _made(f"{words_of(given[2])}[{int(start) - 1 or ''}:{end}]")


def _firstword(given: Sequence[Parts]) -> Part:
    return _slice(given[0], "", "1")


def _lastword(given: Sequence[Parts]) -> Part:
    return _slice(given[0], "-1", "")


def _words(given: Sequence[Parts]) -> Part:
    return Part(name=f"str(len({words_of(given[0])}))")


# --- names of files -----------------------------------------------------------------------------------------


def _notdir(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f'{each}.rpartition("/")[2]')


def _dir(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f're.sub(r"[^/]*$", "", {each}) or "./"')


def _basename(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f're.sub(r"\\.[^./]*$", "", {each})')


def _suffix(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f"Path({each}).suffix")


def _abspath(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f"os.path.abspath({each})")


def _realpath(given: Sequence[Parts]) -> Part:
    return _every(given[0], lambda each: f'(os.path.realpath({each}) if os.path.exists({each}) else "")')


_FUNCTIONS: dict[str, Callable[[Sequence[Parts]], Part]] = {
    "abspath": _abspath,
    "addprefix": _addprefix,
    "addsuffix": _addsuffix,
    "basename": _basename,
    "dir": _dir,
    "filter": _filter,
    "filter-out": _filter_out,
    "findstring": _findstring,
    "firstword": _firstword,
    "join": _join,
    "lastword": _lastword,
    "notdir": _notdir,
    "patsubst": _patsubst,
    "realpath": _realpath,
    "sort": _sort,
    "strip": _strip,
    "subst": _subst,
    "suffix": _suffix,
    "word": _word,
    "wordlist": _wordlist,
    "words": _words,
}
