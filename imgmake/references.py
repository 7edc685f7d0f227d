"""Image references: their grammar, their full and their familiar spelling; text only, no engine and no registry.

The grammar and the way a short name becomes a full one are those of
https://github.com/distribution/reference, which docker, containerd and registries use.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from imgmake.errors import InvalidReference

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LONGEST_PATH = 255

_HOST_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOGIN = re.compile(r"(?:[a-z]+://)?[^/@]*@(?=[^/@]+/)")  # before a host; a digest has no slash behind its @
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_MADE_OF_DIGEST = re.compile(r"sha(?:256|384|512)-[0-9a-f]{64}(?:\.[a-z]+)?")


class Reference(NamedTuple):
    """A reference in its parts, the name in full: ``docker.io``, ``library/debian``, ``bookworm``, no digest."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """The name alone, in full: ``docker.io/library/debian``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """As docker shows it: ``debian:bookworm``."""
        return _familiar_name(self.domain, self.path) + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix


def parse(text: str) -> Reference:
    """Split a reference into its parts, with the domain that docker would take for a short name.

    Nothing is added but the domain and ``library/``: a reference without a tag has none.
    Raises InvalidReference, which says the part that is wrong.

    >>> parse("debian:bookworm")
    Reference(domain='docker.io', path='library/debian', tag='bookworm', digest='')
    >>> parse("localhost:5000/app").repository
    'localhost:5000/app'
    """
    _refuse_odd_text(text)
    domain, path, tag, digest = _split(text)
    _check_domain(text, domain)
    _check_path(text, path)
    if tag is not None:
        _check_tag(text, tag)
    if digest is not None:
        _check_digest(text, digest)
    return Reference(domain, path, tag or "", digest or "")


def normalise(text: str) -> str:
    """A reference spelt in full, with ``:latest`` when it has neither tag nor digest.

    Raises InvalidReference.

    >>> normalise("debian")
    'docker.io/library/debian:latest'
    """
    found = parse(text)
    return str(found if found.tag or found.digest else found._replace(tag=DEFAULT_TAG))


def familiar(text: str) -> str:
    """A reference as docker shows it, without the default domain and ``library/``; raises InvalidReference.

    >>> familiar("docker.io/library/debian:bookworm")
    'debian:bookworm'
    """
    return parse(text).familiar


def repository(text: str) -> str:
    """The full name of the repository, without tag and digest; raises InvalidReference.

    >>> repository("dockerinaction/ch10:1.0.0")
    'docker.io/dockerinaction/ch10'
    """
    return parse(text).repository


def tag_of(text: str) -> str:
    """The tag; ``latest`` when there is none, empty when a digest alone names the image. Raises InvalidReference.

    >>> tag_of("debian"), tag_of("debian:bookworm")
    ('latest', 'bookworm')
    """
    found = parse(text)
    return found.tag or ("" if found.digest else DEFAULT_TAG)


def same(a: str, b: str) -> bool:
    """Whether two references name one thing: ``debian`` and ``docker.io/library/debian:latest`` do.

    A reference with a digest is that digest, whatever tag stands before it. Raises InvalidReference.
    """
    return _identity(a) == _identity(b)


def is_tag(text: str) -> bool:
    """Whether the text can be a tag: up to 128 letters, digits, ``_``, ``.``, ``-``, the first not ``.`` or ``-``."""
    return _TAG.fullmatch(text) is not None


def is_made_of_digest(tag: str) -> bool:
    """Whether a tag names no image, but what belongs to one: a list of referrers, or cosign's ``.sig`` and the like."""
    return _MADE_OF_DIGEST.fullmatch(tag) is not None


def tag_hint(text: str) -> str:
    """What to do about a text that is no tag: the legal spelling, or the rule.

    >>> tag_hint("feature/login"), tag_hint("1.2+b7")
    ("did you mean 'feature-login'?", "a tag cannot hold '+': did you mean '1.2_b7'?")
    """
    if "+" in text and is_tag(re.sub(r"\$\{?\w+\}?", "x", text).replace("+", "_")):
        return f"a tag cannot hold '+': did you mean {text.replace('+', '_')!r}?"
    legal = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    if "$" not in text and is_tag(legal):
        return f"did you mean {legal!r}?"
    return "up to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'"


def match_build_id(template: str, reference: str, name: str = "BUILD_ID") -> str | None:
    """The value that `name` has in `reference`, if that is a tag made from `template`.

    Every other late value of the template is expanded already. A template that ends in its BUILD_ID also
    matches a longer tag (``1-debug``): the caller, who knows all templates, prefers the closer one.

    >>> match_build_id("acme/app:${BUILD_ID}-debug", "docker.io/acme/app:2024-debug")
    '2024'
    """
    late = re.compile(rf"\$(?:\{{{name}\}}|{name}(?![A-Za-z0-9_]))")
    if not late.search(template):
        return None
    # Letters that a repository, too, may hold, and that no real name contains.
    mark = "zzimgmakelatevaluezz"
    try:
        wanted, given = normalise(late.sub(mark, template)), normalise(reference)
    except InvalidReference:
        return None
    first, *rest = (re.escape(part) for part in wanted.split(mark))
    found = re.fullmatch(first + r"(?P<id>[A-Za-z0-9_.-]+)" + "(?P=id)".join(rest), given)
    return found["id"] if found else None


def _identity(text: str) -> tuple[str, str]:
    found = parse(text)
    return found.repository, found.digest or found.tag or DEFAULT_TAG


def _familiar_name(domain: str, path: str) -> str:
    if domain != DEFAULT_DOMAIN:
        return f"{domain}/{path}"
    short = path.removeprefix(_OFFICIAL)
    short = path if "/" in short else short
    # A first part that reads like a host (docker.io/a.b/c) cannot lose its domain and stay the same name.
    return short if _split_domain(short)[0] == DEFAULT_DOMAIN else f"{domain}/{path}"


# --- splitting ------------------------------------------------------------------------------------------------


def _split(text: str) -> tuple[str, str, str | None, str | None]:
    head, at, digest = text.partition("@")
    domain, rest = _split_domain(head)
    path, colon, tag = rest.partition(":")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{_OFFICIAL}{path}"
    return domain, path, tag if colon else None, digest if at else None


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, text
    if first == _LEGACY_DOMAIN:
        return DEFAULT_DOMAIN, rest
    if first == "localhost" or "." in first or ":" in first or first.lower() != first:
        return first, rest
    return DEFAULT_DOMAIN, text


# --- complaints -----------------------------------------------------------------------------------------------


def _refuse_odd_text(text: str) -> None:
    if not text:
        raise InvalidReference("an image reference is empty", hint="it looks like repository:tag")
    if login := _LOGIN.match(text):  # which no text shows
        rest = text[login.end() :]
        raise InvalidReference(
            f"an image reference holds a login: ***@{rest}", hint=f"docker login {rest.partition('/')[0]}; write {rest}"
        )
    if text != text.strip() or any(c.isspace() or not c.isprintable() for c in text):
        raise InvalidReference(f"invalid image reference {text!r}: it holds white space or a control character")
    if "://" in text:
        rest = text.partition("://")[2]
        raise InvalidReference(
            f"invalid image reference {text!r}: it starts like a URL", hint=f"write it without one: {rest}"
        )
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReference(
            f"invalid image reference {text!r}: 64 hexadecimal digits are an image ID, not a name",
            hint=f"write sha256:{text[:8]}… where an ID is meant",
        )


def _check_domain(text: str, domain: str) -> None:
    # distribution/reference takes `Foo/bar` for a registry called Foo since its version 3; engines before that refuse
    # it, and nobody means it.
    if domain.lower() != domain and not set(".:") & set(domain):
        raise InvalidReference(
            f"invalid image reference {text!r}: a repository's name has no capitals", hint=f"write {text.lower()}"
        )
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReference(f"invalid image reference {text!r}: {domain!r} is no registry (host or host:port)")


def _check_path(text: str, path: str) -> None:
    shown = path if path in text else path.removeprefix(_OFFICIAL)
    if path.lower() != path:
        raise InvalidReference(
            f"invalid image reference {text!r}: the repository {shown!r} must be lower case",
            hint=f"did you mean {text.replace(shown, shown.lower(), 1)!r}?",
        )
    if len(path) > _LONGEST_PATH:
        raise InvalidReference(
            f"invalid image reference {text!r}: the repository has {len(path)} characters, more than {_LONGEST_PATH}"
        )
    for part in path.split("/"):
        if not _PATH_PART.fullmatch(part):
            raise InvalidReference(
                f"invalid image reference {text!r}: {part!r} is no part of a repository's name",
                hint="lower-case letters and digits, with '.', '_', '__' or '-' between them",
            )


def _check_tag(text: str, tag: str) -> None:
    if is_tag(tag):
        return
    hint = f"a tag cannot hold '+': did you mean {text.replace('+', '_')!r}?" if "+" in tag else tag_hint(tag)
    raise InvalidReference(f"invalid image reference {text!r}: {tag!r} is no tag", hint=hint)


def _check_digest(text: str, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidReference(
            f"invalid image reference {text!r}: {digest!r} is no digest", hint="it looks like sha256:<64 digits>"
        )
    if not re.fullmatch(rf"[a-f0-9]{{{length}}}", value):
        raise InvalidReference(
            f"invalid image reference {text!r}: a {algorithm} digest has {length} lower-case hexadecimal digits"
        )
