"""What an image rule says, worked out: its paths, its nodes, and the arguments that its build gets; no I/O."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from imgmake.model import ImageRule, Rule, leaves

# Known to a Pipefile, but never passed as a build argument unasked: `ARG ARCH=x86_64` is a habit of many
# Dockerfiles that has nothing to do with ours.
NOT_PASSED = frozenset({"ARCH", "PLATFORM"})

_IMAGE = "docker-image://"  # https://docs.docker.com/reference/cli/docker/buildx/build/#build-context


def join(base: str, path: str) -> str:
    """A path of a Pipefile in folder `base`, from the root: ``join("services/api", "../lib")`` is ``services/lib``."""
    joined = posixpath.normpath(posixpath.join(base, path)) if base or path else "."
    return "" if joined == "." else joined


def context_folder(rule: ImageRule) -> str:
    """The folder of the build context, from the root (empty: the root itself)."""
    return join(rule.base, rule.context)


def dockerfile_path(rule: ImageRule) -> str:
    """The Dockerfile, from the root: relative to the Pipefile, or ``<context>/Dockerfile``."""
    if rule.dockerfile is not None:
        return join(rule.base, rule.dockerfile)
    return join(context_folder(rule), "Dockerfile")


def ignore_files(context: str, dockerfile: str, family: str) -> tuple[str, ...]:
    """Where a build looks for its ignore file, the first one there counting; BuildKit also beside the Dockerfile."""
    own = (f"{dockerfile}.dockerignore",) if family == "buildkit" else ()
    return (*own, f"{context}/.dockerignore" if context else ".dockerignore")


def platforms(rule: ImageRule, native: str) -> tuple[tuple[str, str | None], ...]:
    """The rule's nodes as (name, platform): its own name for the engine's platform, ``name@platform`` for others."""
    if not rule.platforms:
        return ((rule.target, None),)
    main = native if native in rule.platforms else rule.platforms[0]
    return tuple((rule.target if p == main else f"{rule.target}@{p}", p) for p in rule.platforms)


def tag_on(reference: str, platform: str | None) -> str:
    """The name that a tag of the rule gives to another platform's image; None: the main one, which has the tag itself.

    >>> tag_on("acme/shop:1.0", "linux/arm/v7"), tag_on("localhost:5000/shop", "linux/arm64")
    ('acme/shop:1.0-linux-arm-v7', 'localhost:5000/shop:latest-linux-arm64')
    """
    if platform is None:
        return reference
    tagged = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    return f"{tagged}-{platform.replace('/', '-')}"


def node_for(rule: ImageRule, platform: str | None, native: str) -> str:
    """The node of `rule` that serves a user on `platform`: the same platform where there is one, else the main one."""
    nodes = platforms(rule, native)
    for name, own in nodes:
        if platform is not None and own == platform:
            return name
    return rule.target


def candidate_arguments(
    rule: ImageRule, known: Iterable[str], value: Callable[[str], str], image: Callable[[ImageRule], str]
) -> Mapping[str, str]:
    """Every argument that the build could get: the rule's own, and each known name the Dockerfile may declare."""
    found = {name: value(f"${{{name}}}") for name in known if name not in NOT_PASSED}
    for name, given in rule.build_args.items():
        found[name] = image(given) if isinstance(given, ImageRule) else value(str(given))
    return found


def context_reference(given: object) -> str | None:
    """The image that a named context is, by reference; None for a folder, a URL, or a rule's image.

    >>> context_reference("docker-image://debian:12")
    'debian:12'
    """
    text = given if isinstance(given, str) else ""
    return text.removeprefix(_IMAGE) if text.startswith(_IMAGE) else None


def images_in(thing: Any) -> Iterable[ImageRule]:
    """Every image rule that a command names anywhere, also as a mount, an environment value or a service."""
    return (leaf for leaf in leaves(thing) if isinstance(leaf, ImageRule))


def names_image(rule: Rule, image: ImageRule) -> bool:
    """Whether the rule's recipe names the image."""
    return any(found is image for found in images_in(rule.recipe))


def secret_path(secret: str) -> str | None:
    """The file that a secret comes from (``path``, or ``id=…,src=path``); None for one from the environment."""
    if "=" not in secret:
        return secret
    pairs = _pairs(secret)
    return pairs.get("src") or pairs.get("source")


def secret_id(secret: str) -> str:
    """The id of a secret: given, or the file's name."""
    return _pairs(secret).get("id") or (secret_path(secret) or "").rpartition("/")[2]


def secret_variable(secret: str) -> str:
    """The environment variable that a secret without a file comes from: named, or called like its id."""
    pairs = _pairs(secret)
    return pairs.get("env") or pairs.get("id", "")


def _pairs(secret: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in secret.split(",") if "=" in secret)


def label_keys(rule: ImageRule, dockerfile_labels: Collection[str]) -> frozenset[str]:
    """Label keys that the user sets: they win over the stamp's."""
    return frozenset(rule.labels) | frozenset(dockerfile_labels)
