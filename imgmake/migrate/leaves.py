"""Whether a target of a Makefile is a file: imgmake fails where a recipe makes none, make would not mind. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PRINTS = re.compile(r"[@-]*\s*(?:echo|printf)\b[^>|]*$", re.DOTALL)
# What files end in that recipes of images make; any other word behind a dot may be a verb.
_SUFFIX = re.compile(
    r"[\w-]\.(?:[a-z0-9]*(?:tar|zip)|[a-z]?gz|bz2|xz|zst|t[gbx]z|jar|war|whl|deb|rpm|apk|iso|img|qcow2|raw|bin|exe|so|a|o|d"
    r"|go|py|js|mjs|css|html?|md|adoc|pdf|svg|png|rst|xml|json[lc]?|ya?ml|toml|ini|cfg|conf|config|env|properties|lock|list"
    r"|txt|csv|tsv|log|out|sql|db|sqlite|sh|bash|pl|rb|java|class|ts|mk|tmpl|tpl|in|j2|dockerfile|df|hcl|tf|tfvars|plan"
    r"|pem|key|crt|csr|cert|p12|jks|pub|asc|sig|sha\d+|sha\d+sums?|md5|sum|digest|cid|iid|id|stamp|built|build-?stamp|done"
    r"|pushed|tagged|timestamp|touch|marker|flag|flags|status|version|hash|manifest|sbom|spdx|sarif|report|coverage)$",
    re.IGNORECASE,
)
# What acts on things that have names, and writes a file only where another word says so.
_ACTS = re.compile(
    r"[@+-]*\s*(?:sudo\s+)?"
    r"(?:docker|podman|docker-compose|kubectl|helm|make|\$[({]\w*(?:MAKE|DOCKER|COMPOSE)\w*[)}])\s"
)


def makes_file(target: str, recipe: Sequence[str], *, known: bool = False) -> bool:
    """Whether a recipe makes a file of its target's name, as far as names and text tell.

    known: that it is one is said elsewhere.

    >>> makes_file("compose.up", ["docker compose up $@"]), makes_file("app.jar", ["mvn package"])
    (False, True)
    """
    lines = [line for line in recipe if not _PRINTS.match(line)]
    if not lines or known:
        return bool(lines)
    named = any(_mentions(target, line) for line in lines if not _ACTS.match(line))
    looks = bool(_SUFFIX.search(target)) or (named and ("." in target or "/" in target))
    return looks or _writes(target, "\n".join(lines))


def _mentions(target: str, text: str) -> bool:
    return bool(re.search(rf"\$@|\$[({{]@|(?<![\w./-]){re.escape(target)}(?![\w/-])", text))


def _writes(target: str, text: str) -> bool:
    name = rf"(?:\$@|\$\(@\)|{re.escape(target)}(?![\w./-]))"
    return bool(re.search(rf"(?:-o[ =]?\s*|>\s*|\btouch\s+|\b(?:cp|mv|ln|install)\b.*\s){name}", text))
