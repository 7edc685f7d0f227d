"""Our list of context files against what `docker build` takes: random trees, ignore files and sources."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imgmake.dockerfile import analyse, parse
from imgmake.dockerfile.patterns import BadPattern, clean, glob
from imgmake.errors import ImgmakeError
from imgmake.ignore import Ignore
from imgmake.sources.context import LocalContext

EXAMPLES = int(os.environ.get("IMGMAKE_CONTEXT_EXAMPLES", "12"))  # two or three builds each, per client
_FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink would take hundreds of builds
)
_NAMES = itertools.count()
_ABSENT = re.compile("no such file|not found|no source files")


class Client(NamedTuple):
    """A docker CLI and the builder that it drives; `legacy` is one before 23.0."""

    cli: str
    family: str
    legacy: bool
    buildx: bool = False


class Seen(NamedTuple):
    """One entry of an image."""

    path: str
    type: str
    mode: int
    link: str
    content: str


@pytest.fixture(scope="module")
def clients(engine_host: str, docker_cli: Path) -> Sequence[Client]:
    """Both builders of the CLI that the suite needs, and those of newer CLIs that are on PATH."""
    found = [Client(str(docker_cli), family, legacy=True) for family in ("buildkit", "classic")]
    for folder in dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep)):
        cli = Path(folder, "docker")
        version = _version(cli) if os.access(cli, os.X_OK) else 0
        if version >= 23:
            found.append(Client(str(cli), "classic", legacy=False))
            if subprocess.run([cli, "buildx", "version"], capture_output=True, check=False).returncode == 0:
                found.append(Client(str(cli), "buildkit", legacy=False, buildx=True))
            break
    return found


def _version(cli: Path) -> int:
    done = subprocess.run([cli, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+)\.", done.stdout)
    return int(match[1]) if match else 0


# --- random contexts ------------------------------------------------------------------------------------------

_PARTS = ("a", "b", "ab", "x.y", "x+y", "-", "[", ".d", "é", "a b", "'")
_TREE_NAMES = st.sampled_from(_PARTS)
_PATHS = st.lists(_TREE_NAMES, min_size=1, max_size=4).map("/".join)
_MODES = st.sampled_from((0o644, 0o755, 0o600, 0o400, 0o777))
_GLOB_PARTS = st.sampled_from(
    (*_PARTS[:8], "*", "**", "?", "a*", "*b", "a**", "**b", "[a-c]", "[^a]", "[[]", "x?y", "\\a", "*.y", ".", "..")
)
_PATTERNS = st.builds(
    lambda bang, lead, parts, tail: f"{bang}{lead}{'/'.join(parts)}{tail}",
    st.sampled_from(("", "", "!", "! ")),
    st.sampled_from(("", "", "/", "./")),
    st.lists(_GLOB_PARTS, min_size=1, max_size=3),
    st.sampled_from(("", "", "/", "/**", "/*", " ", "\r")),
)
_IGNORE_LINES = st.one_of(_PATTERNS, _PATTERNS, st.sampled_from(("# a", "", "*", "Dockerfile", ".dockerignore", "!*")))


@dataclass(frozen=True)
class Given:
    """A context: files by path with their modes, links with their texts, empty folders with their modes."""

    files: Mapping[str, int]
    links: Mapping[str, str]
    folders: Mapping[str, int]
    ignore: str

    def make(self, root: Path) -> None:
        for path, mode in self.files.items():
            if (file := _free(root, path)) is not None:
                file.write_text(path)
                file.chmod(mode)
        for path, text in self.links.items():
            if (link := _free(root, path)) is not None:
                link.symlink_to(text)
        for path, mode in self.folders.items():
            if (folder := _free(root, path)) is not None:
                folder.mkdir()
                folder.chmod(mode)
        if self.ignore:
            (root / ".dockerignore").write_text(self.ignore)


def _free(root: Path, path: str) -> Path | None:
    """The path, with its parents made; None where something else is in the way."""
    full = root / path
    try:
        full.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return None
    inside = full.parent.resolve().is_relative_to(root.resolve())
    return full if inside and not os.path.lexists(full) else None


contexts = st.builds(
    Given,
    files=st.dictionaries(_PATHS, _MODES, min_size=3, max_size=12),
    links=st.dictionaries(_PATHS, st.one_of(_PATHS, _PATHS.map("../{}".format), _PATHS.map("/{}".format)), max_size=4),
    folders=st.dictionaries(_PATHS, st.sampled_from((0o755, 0o700, 0o1777, 0o2755)), max_size=3),
    ignore=st.one_of(st.just(""), st.lists(_IGNORE_LINES, min_size=1, max_size=5).map("\n".join)),
)


def _valid(pattern: str) -> bool:
    """A bad pattern fails only where there is something to match it with."""
    try:
        return bool(glob(clean(pattern)))
    except BadPattern:
        return False


sources = st.builds(
    lambda lead, parts, tail: f"{lead}{'/'.join(parts)}{tail}",
    st.sampled_from(("", "", "/", "./")),
    st.lists(st.one_of(_GLOB_PARTS, st.sampled_from(_PARTS[:-1])), min_size=1, max_size=3),
    st.sampled_from(("", "", "/", "/.")),
).filter(_valid)


# --- real builds ----------------------------------------------------------------------------------------------


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"ctx{next(_NAMES)}-") as home:
        root = Path(home, "context")
        root.mkdir()
        yield root


def build(
    client: Client, context: Path, dockerfile: Path, args: Mapping[str, str] | None = None
) -> list[set[Seen]] | str:
    """The layers of the image that the client builds, or what it said when it failed."""
    tag = f"imgmake-context-test:{os.getpid()}"
    command = [client.cli, *(["buildx", "build", "--load", "--provenance=false"] if client.buildx else ["build"])]
    command += [f"--build-arg={name}={value}" for name, value in (args or {}).items()]
    command += ["-q", "--no-cache", "-t", tag, "-f", str(dockerfile), str(context)]
    env = {**os.environ, "DOCKER_BUILDKIT": "1" if client.family == "buildkit" else "0"}
    done = subprocess.run(command, capture_output=True, env=env, check=False)
    if done.returncode:
        return done.stderr.decode(errors="replace")
    try:
        return _layers(client.cli, tag)
    finally:
        subprocess.run([client.cli, "rmi", "-f", tag], capture_output=True, check=True)


def _layers(cli: str, tag: str) -> list[set[Seen]]:
    with tempfile.TemporaryFile() as saved:
        done = subprocess.run([cli, "save", tag], stdout=saved, stderr=subprocess.PIPE, check=False)
        if b"empty export" in done.stderr:
            return []
        assert done.returncode == 0, done.stderr
        saved.seek(0)
        with tarfile.open(fileobj=saved) as outer:
            manifest = json.load(_member(outer, "manifest.json"))
            return [_entries(_member(outer, layer)) for layer in manifest[0]["Layers"]]


def _member(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None
    return file


def _entries(layer: Any) -> set[Seen]:
    kinds = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo"}
    with tarfile.open(fileobj=layer) as archive:
        return {
            Seen(
                member.name.strip("/"),
                kinds.get(member.type, "file"),
                member.mode & 0o7777,
                member.linkname if member.issym() else "",
                hashlib.sha256(_member(archive, member.name).read()).hexdigest() if member.isreg() else "",
            )
            for member in archive
        }


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def listed(client: Client, context: Path, ignore: Ignore) -> set[Seen]:
    """Our own list of the whole context."""
    return {
        Seen(file.path, file.type, file.mode, file.link, _digest(file.real) if file.type == "file" else "")
        for file in LocalContext(context, ignore).files(None)
    }


def _ignore(client: Client, context: Path) -> Ignore | None:
    """The context's ignore file as the client reads it; None when we refuse it."""
    path = context / ".dockerignore"
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
        return Ignore.parse(text, ".dockerignore", family=client.family, legacy=client.legacy)
    except ImgmakeError:
        return None


def _same(ours: set[Seen], theirs: set[Seen], about: object) -> None:
    assert ours == theirs, f"{about}\nonly ours: {sorted(ours - theirs)}\nonly docker's: {sorted(theirs - ours)}"


# --- the properties -------------------------------------------------------------------------------------------


@_FEW
@given(tree=contexts)
def test_the_whole_context(clients: Sequence[Client], tree: Given) -> None:
    for client in clients:
        with folder() as context:
            tree.make(context)
            (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
            ignore = _ignore(client, context)
            found = build(client, context, context / "Dockerfile")
            if isinstance(found, str) or ignore is None:
                assert isinstance(found, str), f"{client}: docker takes what we refuse: {tree.ignore!r}"
                assert ignore is None or not listed(client, context, ignore), f"{client}: {found}"
                continue
            _same(listed(client, context, ignore), found[0] if found else set(), (client, tree))


@_FEW
@given(tree=contexts, given=st.lists(sources, min_size=1, max_size=4, unique=True))
def test_sources(clients: Sequence[Client], tree: Given, given: Sequence[str]) -> None:
    """An image built from nothing but the files that we list is the image built from the folder."""
    for client in clients:
        with folder() as context:
            tree.make(context)
            ignore = _ignore(client, context)
            if ignore is None:
                continue
            text = _builds(client, context, ignore, given)
            dockerfile = context.parent / "Dockerfile"
            dockerfile.write_text(text)
            reads = _analysed(text, client)
            whole = build(client, context, dockerfile)
            missing = [found for found in LocalContext(context, ignore).missing(reads) if found.fatal]
            assert isinstance(whole, str) >= bool(missing), f"{client}: docker finds {missing} in {tree}"
            if missing or isinstance(whole, str):
                said = whole if isinstance(whole, str) else ""
                assert missing or not _ABSENT.search(said), f"{client}: docker misses something\n{text}{tree}\n{said}"
                continue
            part = _repacked(client, context, ignore, text)
            assert part == whole, f"{client}\n{text}\n{tree}\n{part}\n{whole}"


def _analysed(text: str, client: Client) -> Sequence[Any]:
    return analyse(parse(text, "Dockerfile"), stage=None, family=client.family, args={}, platform="linux/amd64").reads


def _builds(client: Client, context: Path, ignore: Ignore, given: Sequence[str]) -> str:
    """A Dockerfile that copies each source to a folder of its own; at most one that should fail, alone."""
    lines = [f"COPY {json.dumps([source, f'/{i}/'])}" for i, source in enumerate(given)]
    good = []
    for line in lines:
        text = f"FROM scratch\n{line}\n"
        if any(found.fatal for found in LocalContext(context, ignore).missing(_analysed(text, client))):
            return text
        good.append(line)
    return "\n".join(("FROM scratch", *good, ""))


def _repacked(client: Client, context: Path, ignore: Ignore, text: str) -> list[set[Seen]] | str:
    with folder() as part:
        ours = LocalContext(context, ignore)
        with ours.tar(ours.files(_analysed(text, client))) as stream, tarfile.open(fileobj=stream) as archive:
            archive.extraction_filter = lambda member, _: member
            archive.extractall(part)
        dockerfile = part.parent / "Dockerfile"
        dockerfile.write_text(text)
        return build(client, part, dockerfile)


VARIABLES = """\
ARG TOP=1
ARG CHAIN=${TOP}2
FROM scratch AS first
COPY v$TOP /
ARG TOP
COPY v$TOP /
ARG CHAIN GIVEN=3
COPY v$CHAIN v$GIVEN /
ENV TOP=4
COPY v${TOP} /
ENV LATE=5
ARG LATE=6
COPY "v$LATE" /
ARG NONE
COPY v${NONE:-7} v${NONE:+8} /
COPY ["v$LATE", "v'$LATE'", "v\\\\$LATE", "/"]
ENV PAIR=$LATE PLUS=$PAIR-
COPY v$PLUS v$PAIR /
ARG TARGETARCH=other
COPY v$TARGETARCH /
FROM first
COPY v$TOP v$GIVEN v$LATE /
"""


def test_variables_in_sources(clients: Sequence[Client]) -> None:
    """Each source names the file that the builder finds."""
    for client in clients:
        with folder() as context:
            file = parse(VARIABLES, "Dockerfile")
            args = {"GIVEN": "given", "OTHER": "x"}
            found = analyse(file, stage=None, family=client.family, args=args, platform="linux/amd64")
            assert found.whole_context is None
            for read in found.reads:
                (context / read.pattern).write_text(read.pattern)
            (context.parent / "Dockerfile").write_text(VARIABLES)
            built = build(client, context, context.parent / "Dockerfile", args)
            assert not isinstance(built, str), f"{client}: {[read.pattern for read in found.reads]}\n{built}"
            taken = [{read.pattern for read in reads} for _, reads in itertools.groupby(found.reads, lambda r: r.line)]
            assert [{seen.path for seen in layer} for layer in built if layer] == taken, client


# --- what is rare ---------------------------------------------------------------------------------------------


def test_odd_files(clients: Sequence[Client]) -> None:
    """Sockets, FIFOs, set-user-ID, names that are no text: what each client makes of them."""
    for client in clients:
        with folder() as context:
            _odd(context)
            (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
            found = build(client, context, context / "Dockerfile")
            assert not isinstance(found, str), found
            ours = listed(client, context, Ignore.parse("", "", family=client.family, legacy=client.legacy))
            theirs = {seen for seen in found[0] if seen.path != "socket"}  # BuildKit makes it an empty file
            kinds = {"fifo"} if client.family == "buildkit" else set()  # which the engine's BuildKit leaves out
            _same(_settled(client, ours, kinds), _settled(client, theirs, kinds), client)


def _settled(client: Client, seen: set[Seen], without: set[str]) -> set[Seen]:
    """The classic builder changes owners after modes, which clears set-user-ID of files."""
    cleared = 0o777 if client.family == "classic" else 0o7777
    return {
        entry._replace(mode=entry.mode & cleared if entry.type == "file" else entry.mode)
        for entry in seen
        if entry.type not in without
    }


def _odd(context: Path) -> None:
    import socket

    (context / "program").write_text("x")
    (context / "program").chmod(0o4755)
    (context / "group").mkdir()
    (context / "group").chmod(0o2775)
    (context / "two\nlines").write_text("x")
    (context / '"quoted" $name %s').write_text("x")
    os.mkfifo(context / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        try:
            os.chdir(context)  # the path of a socket is short
            one.bind("socket")
        finally:
            os.chdir(here)


def test_names_that_are_no_utf8_survive_the_tar(docker_cli: Path, engine_host: str) -> None:
    with folder() as context:
        (context / os.fsdecode(b"caf\xe9")).write_text("x")
        ours = LocalContext(context, Ignore.parse("", ""))
        with ours.tar(ours.files(None)) as stream:
            client = Client(str(docker_cli), "classic", legacy=True)
            found = subprocess.run(
                [client.cli, "build", "-q", "-"],
                input=_with_dockerfile(stream.read()),
                capture_output=True,
                check=True,
                env={**os.environ, "DOCKER_BUILDKIT": "0"},
            )
        image = found.stdout.decode().strip()
        try:
            assert os.fsdecode(b"caf\xe9") in {seen.path for seen in _layers(client.cli, image)[0]}
        finally:
            subprocess.run([client.cli, "rmi", "-f", image], capture_output=True, check=True)


def _with_dockerfile(tar: bytes) -> bytes:
    """A Dockerfile before the rest: the CLI knows a tar by its first 1024 bytes only."""
    body, text = io.BytesIO(), b"FROM scratch\nCOPY . /\n"
    archive = tarfile.open(fileobj=body, mode="w")  # noqa: SIM115 - never closed, so that no end is written
    info = tarfile.TarInfo("Dockerfile")
    info.size = len(text)
    archive.addfile(info, io.BytesIO(text))
    return body.getvalue() + tar


def test_the_dockerfiles_own_ignore_file(clients: Sequence[Client]) -> None:
    """``X.dockerignore`` beside the Dockerfile has precedence with BuildKit, and none with the classic builder."""
    for client in clients:
        with folder() as context:
            for name in ("a", "b"):
                (context / name).write_text(name)
            (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
            (context / "Dockerfile.dockerignore").write_text("a\nDocker*\n.dockerignore\n")
            (context / ".dockerignore").write_text("b\nDocker*\n.dockerignore\n")
            found = build(client, context, context / "Dockerfile")
            assert not isinstance(found, str)
            assert {seen.path for seen in found[0]} == ({"b"} if client.family == "buildkit" else {"a"})
