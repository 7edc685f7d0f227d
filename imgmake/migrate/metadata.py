"""Which texts of a Makefile ask git and the clock for what imgmake knows by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

_GIT = {
    r"git rev-parse(?: --verify)? HEAD": "VCS_REF",
    r"git log -(?:n ?)?1 (?:--pretty|--format)=(?:format:)?%H": "VCS_REF",
    r"git rev-parse --abbrev-ref HEAD": "VCS_BRANCH",
    r"git branch --show-current": "VCS_BRANCH",
    r"git symbolic-ref (?:-q )?--short HEAD": "VCS_BRANCH",
    r"git describe --tags --always --dirty": "VCS_DESCRIBE",
    r"git describe --always --dirty --tags": "VCS_DESCRIBE",
    r"git describe --always --tags --dirty": "VCS_DESCRIBE",
    r"git describe --tags --dirty --always": "VCS_DESCRIBE",
    r"git (?:config (?:--get )?remote\.origin\.url|remote get-url origin)": "VCS_URL",
}
_DATE = re.compile(r"(?P<zone>TZ=UTC0? )?date(?P<flags>.*?)\s+['\"]?\+['\"]?(?P<format>[^'\"]+)['\"]?(?P<after>\s+-u)?")
_FORMATS = {
    "%s": "BUILD_TIME_EPOCH",
    "%Y-%m-%dT%H:%M:%SZ": "BUILD_DATE",
    "%FT%TZ": "BUILD_DATE",
    "%Y%m%d-%H%M%S": "BUILD_TIME_UTC",
}
SHORT = re.compile(r"git rev-parse --short(?:=\d+)? HEAD|git log -(?:n ?)?1 (?:--pretty|--format)=(?:format:)?%h")


def of_command(command: str, epoch: Callable[[str], bool]) -> str:
    """The metadata that a command of ``$(shell …)`` asks for; empty when it is none.

    epoch: whether a reference stands for the time of the build in seconds.

    >>> of_command("git rev-parse HEAD", lambda name: False)
    'VCS_REF'
    >>> of_command("date -u +%Y-%m-%dT%H:%M:%SZ", lambda name: False)
    'BUILD_DATE'
    """
    plain = re.sub(r"\s*2>\s*/dev/null\s*$", "", " ".join(command.split()))
    for pattern, name in _GIT.items():
        if re.fullmatch(pattern, plain.replace('"', "").replace("'", "")):
            return name
    match = _DATE.fullmatch(plain)
    return _of_date(match, epoch) if match else ""


def _of_date(match: re.Match[str], epoch: Callable[[str], bool]) -> str:
    form = match["format"].replace("%I", "%H")  # 12-hour clocks are a defect that the review names
    flags = match["flags"]
    at = re.search(r"(?:-r|-d|--date[= ])\s*['\"]?@?(\$[({]\w+[)}])['\"]?", flags)
    if at:
        if not epoch(at[1]):
            return ""
        flags = flags.replace(at[0], "")
    utc = bool(match["zone"] or match["after"] or re.search(r"-u|--utc|--universal", flags))
    rest = re.sub(r"-u\b|--utc|--universal", "", flags).strip()
    if rest or not (utc or form == "%s"):
        return ""
    return _FORMATS.get(form, "")
