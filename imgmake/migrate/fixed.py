"""What differs from run to run, the build's time and commit: make and imgmake are compared with the same. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgmake.migrate.values import Values

# Run, and not only spoken of: a variable for the program itself has one value.
_MKTEMP = re.compile(r"\$[({]shell\s+(?:[^|]*[;&]\s*)?mktemp\b")
_COMMIT = "0123abc"
_FIXED = {
    "BUILD_ID": "20010203-040506-0123abc",
    "BUILD_DATE": "2001-02-03T04:05:06Z",
    "BUILD_TIME_RFC_3339": "2001-02-03T04:05:06Z",
    "BUILD_TIME_UTC": "20010203-040506",
    "BUILD_TIME_EPOCH": "981173106",
    "VCS_REF": "0123abc" + "0" * 33,
    "VCS_URL": "https://example.com/check.git",
    "VCS_BRANCH": "check",
    "VCS_TAG": "v0.0.1",
    "VCS_DESCRIBE": "v0.0.1-1-g0123abc",
}


def fixed(values: Values, base: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What make is given, and what imgmake is, beside `base`.

    To give make a BUILD_ID may empty what it works out only without one: that is then given, too.
    """
    known = [values.known(name) for name in values.definitions]
    metadata = {each.name: _FIXED[each.python] for each in known if each.kind == "metadata"}
    if not metadata:
        return dict(base), dict(base)
    guarded = [each for each in known if each.kind == "late" and values.definitions[each.name][0][1]]
    theirs = {each.name: each.value or _COMMIT for each in guarded}
    ours = {each.exported: each.value or _COMMIT for each in guarded}
    return {**theirs, **metadata, **base}, {**ours, **_FIXED, **base}


def temporary(values: Values) -> list[re.Pattern[str]]:
    """Patterns of the names that ``mktemp`` gives, which are others in every run."""
    names = [n for n, every in values.definitions.items() if any(_MKTEMP.search(each.value) for each, _ in every)]
    return [any_other(values.today[name]) for name in names if values.today.get(name)]


def any_other(name: str) -> re.Pattern[str]:
    """A pattern for the other names that ``mktemp`` could have given.

    >>> [bool(any_other("/tmp/out.uA1s").fullmatch(name)) for name in ("/tmp/out.Zz09", "/tmp/out.Zz0", "/tmp/in.Zz09")]
    [True, False, False]
    """
    own = re.search(r"[A-Za-z0-9]*\Z", name)
    chosen = len(own[0]) if own else 0
    return re.compile(rf"(?<!\w){re.escape(name[: len(name) - chosen])}[A-Za-z0-9]{{{chosen}}}(?![A-Za-z0-9])")
