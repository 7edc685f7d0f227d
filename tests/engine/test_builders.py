"""Builders on a real engine: what lands in an image, what fails and where, and that a stop stops."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from imgmake import builders
from imgmake.builders import probe
from imgmake.errors import BuildError, EngineUnavailable, Interrupted
from imgmake.ports import Builder, BuildRequest, Cancel
from tests import trixie

Docker = Callable[..., str]
Context = Mapping[str, "bytes | str | tuple[str, int]"]


@dataclass
class Heard:
    """An Output that remembers, and can call back on a text."""

    text: bytes = b""
    on: Mapping[bytes, Callable[[], None]] = field(default_factory=dict)
    tty: bool = False

    def write(self, data: bytes) -> None:
        self.text += data
        for wanted, call in self.on.items():
            if wanted in self.text:
                call()

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def command(self, line: str) -> None:
        raise AssertionError(line)


def tar(files: Context) -> Callable[[], AbstractContextManager[BinaryIO]]:
    """``bytes``: a file; ``str``: a link; ``(text, mode)``: a file with a mode; names that end with ``/``: folders."""

    def make() -> AbstractContextManager[BinaryIO]:
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w") as out:
            for name, content in files.items():
                member = tarfile.TarInfo(name.rstrip("/"))
                member.mtime = 1_700_000_000
                member.mode = 0o755 if name.endswith("/") else 0o644
                data = b""
                if name.endswith("/"):
                    member.type = tarfile.DIRTYPE
                elif isinstance(content, str):
                    member.type, member.linkname = tarfile.SYMTYPE, content
                elif isinstance(content, tuple):
                    data, member.mode = content[0].encode(), content[1]
                else:
                    data = content
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
        body.seek(0)
        return closing(body)

    return make


def request(dockerfile: str, files: Context | None = None, **changes: Any) -> BuildRequest:
    plain = BuildRequest(
        context=tar(files or {}),
        context_dir=".",
        dockerfile=dockerfile,
        dockerfile_name="Dockerfile",
        stage=None,
        build_args={},
        platform=None,
        labels={},
        secrets={},
        contexts={},
        options=(),
    )
    return replace(plain, **changes)


@pytest.fixture(params=["buildx", "buildkit", "classic"])
def builder(request: pytest.FixtureRequest, engine_host: str, docker_cli: Path) -> Builder:
    if request.param == "buildx" and not probe.with_buildx(os.environ):
        pytest.skip(f"no buildx here; {trixie.SWITCH}=containerd brings one")
    return choose(request.param, engine_host)


def choose(name: str, host: str) -> Builder:
    return builders.choose(host, name, os.environ)


def build(builder: Builder, wanted: BuildRequest) -> str:
    return builder.build(wanted, output=Heard(), cancel=Cancel())


def test_the_classic_builder_needs_no_login(engine_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All credential helpers were asked at each build; one that failed ended it, and what it said was shown."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "imt-none", "credHelpers": {"reg.example": "imt-none"}}')
    classic, wanted = choose("classic", engine_host), request("FROM scratch\nLABEL imt=login\n")
    assert build(classic, wanted).startswith("sha256:")
    for slip in ('["s3cret"]', '{"auths": {"reg.example": {"auth": "%s3cret"}}}'):
        config.write_text(slip)
        with pytest.raises(BuildError, match=rf"^{config} is no configuration of docker's\n  mend it, or log in anew$"):
            build(classic, wanted)


@pytest.fixture
def files_of(docker: Docker) -> Iterator[Callable[[str], dict[str, Any]]]:
    """The files of an image under ``/all``, as a dictionary like the one `tar` takes."""
    made: list[str] = []

    def read(image: str) -> dict[str, Any]:
        container = docker("create", image, "/none").strip()
        made.append(container)
        done = subprocess.run(["docker", "export", container], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as found:
            return {
                member.name.removeprefix("all/") + ("/" if member.isdir() else ""): _content(found, member)
                for member in found
                if member.name.startswith("all/") and member.name != "all/"
            }

    yield read
    for container in made:
        docker("rm", container)


def _content(found: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    if member.issym():
        return member.linkname
    opened = found.extractfile(member)
    data = opened.read() if opened else b""
    mode = member.mode & 0o7777  # moby's export keeps the type's bits
    return (data.decode(), mode) if member.isfile() and mode != 0o644 else data


# --- what lands in an image -----------------------------------------------------------------------------------

ALL = "FROM scratch\nCOPY . /all/\n"


def test_the_image_is_untagged_and_holds_stage_arguments_and_labels(
    builder: Builder, docker: Docker, base_image: str
) -> None:
    text = f"FROM {base_image} AS one\nARG WHO\nRUN echo hello $WHO >/who\nFROM one AS two\nRUN exit 1\n"
    heard = Heard()
    wanted = request(text, stage="one", build_args={"WHO": "a b'c"}, labels={"k": 'v "w"'})
    image = builder.build(wanted, output=heard, cancel=Cancel())
    assert docker("run", "--rm", image, "cat", "/who") == "hello a b'c\n"
    assert docker("image", "inspect", "-f", '{{index .Config.Labels "k"}}{{.RepoTags}}', image) == 'v "w"[]\n'
    assert b"RUN echo hello" in heard.text
    assert build(builder, wanted) == image


def test_a_copy_of_all_holds_the_context_and_nothing_else(
    builder: Builder, files_of: Callable[[str], dict[str, Any]]
) -> None:
    files: Context = {
        "a": b"1",
        "run.sh": ("echo", 0o755),
        "secret": ("s", 0o600),
        # Docker's classic builder drops the bit, by whatever client.
        "setuid": ("s", 0o4755 if builder.family == "buildkit" else 0o755),
        "empty/": b"",
        "link": "a",
        "dangling": "../nowhere",
        "d/": b"",
        "d/with space": b"2",
        "d/ünï\ncode": b"3",
    }
    sent = {**files, "setuid": ("s", 0o4755)}
    assert files_of(build(builder, request(ALL, sent))) == files


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"a": b"1"}, "Dockerfile"),
        ({"a": b"1", "Dockerfile": ALL.encode()}, "Dockerfile"),
        ({"a": b"1", "Dockerfile": b"another one"}, "Dockerfile"),
        ({"a": b"1"}, "../elsewhere/app.df"),
        ({"a": b"1", ".dockerignore": b"Dockerfile\n*.log\n"}, "Dockerfile"),
        ({"a": b"1", ".dockerignore": b"*.log\n", "Dockerfile": ALL.encode()}, "Dockerfile"),
        ({"a": b"1", ".dockerignore": b"build\n", "d/": b"", "d/x.df": ALL.encode()}, "d/x.df"),
        ({"a": b"1", "Dockerfile.dockerignore": b"a\n", "x.df": b"y"}, "x.df"),
    ],
)
def test_neither_dockerfile_nor_ignore_file_of_ours_lands(
    builder: Builder, files_of: Callable[[str], dict[str, Any]], files: Context, name: str
) -> None:
    assert files_of(build(builder, request(ALL, files, dockerfile_name=name))) == files


def test_an_ignore_file_does_not_ignore_twice(
    engine_host: str, docker_cli: Path, files_of: Callable[[str], dict[str, Any]]
) -> None:
    """What is sent was ignored already, perhaps by ``x.df.dockerignore``: a copied .dockerignore is a file like any."""
    files: Context = {"a.log": b"1", ".dockerignore": b"*.log\n"}
    image = build(choose("buildkit", engine_host), request(ALL, files, dockerfile_name="x.df"))
    assert files_of(image) == files


def test_a_changed_file_of_the_same_size_and_time_is_seen(
    builder: Builder, files_of: Callable[[str], dict[str, Any]]
) -> None:
    for content in (b"one", b"two"):
        assert files_of(build(builder, request(ALL, {"f": content}))) == {"f": content}


def test_options_reach_the_builder(builder: Builder, base_image: str) -> None:
    wanted = request(f"FROM {base_image}\nRUN grep -q 10.1.2.3.*imt-host /etc/hosts\n", no_cache=True)
    build(builder, replace(wanted, options=("--add-host", "imt-host:10.1.2.3")))
    with pytest.raises(BuildError):
        build(builder, wanted)


def test_limits_reach_the_classic_builder(engine_host: str, base_image: str) -> None:
    text = f"FROM {base_image}\nRUN test $(ulimit -n) = 77 && df -m /dev/shm | grep ' 33 '\n"
    wanted = request(text, options=("--ulimit=nofile=77", "--shm-size", "33m"), no_cache=True)
    build(choose("classic", engine_host), wanted)


def test_no_cache_builds_anew(builder: Builder, base_image: str) -> None:
    text = f"FROM {base_image}\nRUN cat /proc/sys/kernel/random/uuid >/uuid\n"
    first = build(builder, request(text))
    assert build(builder, request(text)) == first
    assert build(builder, request(text, no_cache=True)) != first


# --- secrets --------------------------------------------------------------------------------------------------


def test_a_secret_is_read_and_stays_out_of_image_and_line(
    engine_host: str, docker_cli: Path, docker: Docker, base_image: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("from-file")
    builder = builders.choose(engine_host, "buildkit", {**os.environ, "IMT_SECRET": "from-env"})
    text = (
        f"FROM {base_image}\nRUN --mount=type=secret,id=a --mount=type=secret,id=b "
        "test $(cat /run/secrets/a)=$(cat /run/secrets/b) = from-fi''le=from-en''v\n"
    )
    wanted = request(text, secrets={"a": f"src={tmp_path}/file", "b": "env=IMT_SECRET"}, no_cache=True)
    heard = Heard()
    image = builder.build(wanted, output=heard, cancel=Cancel())
    assert "--secret id=b,env=IMT_SECRET" in builder.line(wanted)
    assert "from-env" not in builder.line(wanted) + docker("image", "inspect", image) + docker("history", image)
    assert b"from-env" not in heard.text


@pytest.mark.parametrize("source", ["env=IMT_NOT_SET", "src=/nowhere/secret"])
def test_a_secret_that_is_not_there(engine_host: str, docker_cli: Path, source: str) -> None:
    with pytest.raises(BuildError, match=r"secret 'a'.*(IMT_NOT_SET|/nowhere)"):
        build(choose("buildkit", engine_host), request("FROM scratch\n", secrets={"a": source}))


# --- failures -------------------------------------------------------------------------------------------------


def test_a_failure_names_the_line_of_the_dockerfile(builder: Builder, base_image: str) -> None:
    text = f"# syntax comment\nFROM {base_image}\n\nRUN true && \\\n    # why\n    exit 7\nRUN true\n"
    with pytest.raises(BuildError) as raised:
        build(builder, request(text, dockerfile_name="sub/app.df", context_dir="sub"))
    assert str(raised.value.place) == "sub/app.df:4"
    assert "7" in raised.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [("FROM scratch\nCOPY nothing /\n", "nothing"), ("FROM scratch\nFROB x\n", "(?i)frob"), ("", "(?i)empty|no")],
)
def test_other_failures_are_build_errors_with_the_builders_words(builder: Builder, text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        build(builder, request(text, {"a": b""}))


def test_a_stop_stops_the_build(builder: Builder, docker: Docker, base_image: str) -> None:
    cancel = Cancel()
    once = threading.Event()

    def stop() -> None:
        if not once.is_set():
            once.set()
            threading.Thread(target=cancel.stop).start()

    text = f"FROM {base_image}\nRUN echo be''gun && sleep 3000\n"
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        builder.build(request(text, no_cache=True), output=Heard(on={b"begun\n": stop}), cancel=cancel)
    assert time.monotonic() - begun < 60
    end = time.monotonic() + 60
    while sleeping() and time.monotonic() < end:
        time.sleep(0.1)
    assert not sleeping()


def sleeping() -> bool:
    return subprocess.run(["pgrep", "-f", "^sleep 3000"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["buildkit", "classic"])
def test_without_an_engine(docker_cli: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineUnavailable):
        build(choose(name, f"unix://{tmp_path}/none"), request("FROM scratch\nCOPY a /\n", {"a": b""}))
