"""What builders do without an engine: refuse, print the equal command, find a failure's line, read options."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmake import builders
from imgmake.builders import BuildkitBuilder, BuildxBuilder, ClassicBuilder
from imgmake.builders import request as requests
from imgmake.builders.options import parameters
from imgmake.errors import BuildError
from imgmake.ports import Builder, BuildRequest, Cancel

PLAIN = BuildRequest(
    context=lambda: nullcontext(BytesIO()),
    context_dir="app",
    dockerfile="FROM scratch\n",
    dockerfile_name="app/x.df",
    stage=None,
    build_args={},
    platform=None,
    labels={},
    secrets={},
    contexts={},
    options=(),
)


class Silent:
    tty = False

    def write(self, data: bytes) -> None:
        raise AssertionError(data)

    def note(self, text: str) -> None:
        raise AssertionError(text)

    def command(self, line: str) -> None:
        raise AssertionError(line)


def refused(builder: Builder, **changes: Any) -> BuildError:
    with pytest.raises(BuildError) as raised:
        builder.build(replace(PLAIN, **changes), output=Silent(), cancel=Cancel())
    return raised.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secrets": {"s": "env=S"}}, "no secrets (s)"),
        ({"contexts": {"base": "docker-image://x"}}, "no named contexts (base)"),
        ({"platform": "linux/amd64,linux/arm64"}, "one platform"),
        ({"options": ("--ssh", "default")}, "--ssh"),
        ({"options": ("--squish",)}, "takes no option --squish"),
        ({"options": ("--network",)}, "--network needs a value"),
        ({"dockerfile": "FROM a\nRUN \\\n --mount=type=cache,target=/x make\n"}, "app/x.df:2: the classic"),
        (
            {"dockerfile": "FROM a\n\nRUN <<EOF\necho\nEOF\n"},
            "app/x.df:3: the classic builder knows no heredoc (<<EOF)",
        ),
        ({"dockerfile": "FROM a\ncopy --from=b --chmod=755 a b\n"}, "copy --chmod".upper()[:4]),
    ],
)
def test_the_classic_builder_refuses_before_it_starts(changes: dict[str, Any], words: str) -> None:
    assert words in str(refused(ClassicBuilder({"DOCKER_HOST": "unix:///nowhere"}), **changes))


@pytest.mark.parametrize(
    "text",
    [
        "RUN cat <<< here",
        "RUN echo $((1<<n)) --mount=x",
        "# RUN --mount=type=cache x",
        "COPY --from=a --chown=1 b c",
        "RUN x \\\n# --mount\n y",
        "ENV A=<<EOF",
    ],
)
def test_the_classic_builder_takes_what_it_knows(text: str) -> None:
    requests.refuse_for_classic(replace(PLAIN, dockerfile=f"FROM a\n{text}\n"))


def test_a_cli_without_buildx_has_no_named_contexts() -> None:
    error = refused(BuildkitBuilder("/none", {}), contexts={"base": "docker-image://x"})
    assert "named contexts (base)" in error.message
    assert "buildx" in error.hint


def test_lines_can_be_pasted_and_tell_no_secret() -> None:
    full = replace(
        PLAIN,
        stage="app",
        build_args={"A": "x y"},
        labels={"l": "$v"},
        secrets={"npm": "env=TOKEN"},
        contexts={"src": "/s"},
        options=("--network=none",),
        no_cache=True,
        platform="linux/arm64",
        tags=("shop:1",),
    )
    rest = (
        "--tag shop:1 --file app/x.df --target app --platform linux/arm64 --no-cache --build-arg 'A=x y' "
        "--label 'l=$v' --build-context src=/s --network=none --secret id=npm,env=TOKEN app"
    )
    environ = {"TOKEN": "hush"}
    assert BuildkitBuilder("d", environ).line(full) == f"DOCKER_BUILDKIT=1 docker build {rest}"
    assert ClassicBuilder(environ).line(full) == f"DOCKER_BUILDKIT=0 docker build {rest}"
    assert BuildxBuilder("d", environ).line(full) == f"docker buildx build --load --provenance=false {rest}"


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), st.text(), max_size=3))
def test_any_value_survives_pasting(arguments: dict[str, str]) -> None:
    words = shlex.split(requests.line(replace(PLAIN, build_args=arguments), "docker", "build"))
    assert [word for word in words if "=" in word] == [f"{key}={value}" for key, value in arguments.items()]


def test_a_failing_step_is_found_unless_it_stands_twice() -> None:
    text = "FROM a\n\nRUN  one \\\n  # note\n   two\nRUN three\nRUN three\n"
    found = requests.failure(replace(PLAIN, dockerfile=text), "log\nexit code: 1\n", "RUN one    two")
    assert str(found) == "app/x.df:3: the build failed: exit code: 1"
    twice = requests.failure(replace(PLAIN, dockerfile=text), "bad", "RUN three")
    assert str(twice) == "the build failed at 'RUN three': bad"


def test_an_escape_directive_moves_continuations() -> None:
    text = "# escape=`\nFROM a\nRUN x `\n y\nCMD c:\\\nUSER u\n"
    assert [one.line for one in requests.instructions(text)] == [2, 3, 5, 6]


def test_options_become_parameters() -> None:
    given = ["--add-host=a:1.2.3.4", "--add-host", "b=::1", "-m", "1.5g", "--memory-swap=-1", "--cpu-quota=50000"]
    assert parameters([*given, "--ulimit", "nofile=1:2", "--ulimit=core=0"]) == {
        "extrahosts": "a:1.2.3.4,b:::1",
        "memory": str(3 << 29),
        "memswap": "-1",
        "cpuquota": "50000",
        "ulimits": '[{"Name": "nofile", "Soft": 1, "Hard": 2}, {"Name": "core", "Soft": 0, "Hard": 0}]',
    }


@pytest.mark.parametrize("option", ["--shm-size=big", "--cpu-shares=half", "--ulimit=nofile", "--add-host=alone"])
def test_a_bad_option_is_named(option: str) -> None:
    with pytest.raises(BuildError, match=option.partition("=")[2]):
        parameters([option])


def test_an_unknown_or_absent_builder_is_named() -> None:
    with pytest.raises(BuildError, match="builder='biuldx' is no builder") as raised:
        builders.choose("unix:///x", "biuldx", {})
    assert raised.value.hint == "did you mean 'buildx'?"
    with pytest.raises(BuildError, match="IMGMAKE_BUILDER='buildx' is not installed"):
        builders.choose("unix:///x", None, {"IMGMAKE_BUILDER": "buildx", "PATH": "/nowhere"})


def test_the_best_builder_that_is_there_is_chosen(tmp_path: Path) -> None:
    """A CLI from 23 on has no BuildKit without buildx; what comes after it on PATH may be older and able."""

    def cli(name: str, *answers: str) -> str:
        (tmp_path / name).mkdir()
        program = tmp_path / name / "docker"
        program.write_text("#!/bin/sh\n" + "".join(f"{answer}\n" for answer in answers) + "exit 1\n")
        program.chmod(0o755)
        return str(program.parent)

    buildx = cli("buildx", 'test "$1" = buildx && echo github.com/docker/buildx v0.13.1 && exit')
    new = cli("new", 'test "$1" = --version && echo Docker version 28.2.2, build x && exit')
    old = cli("old", 'test "$1" = --version && echo Docker version 20.10.24+dfsg1, build x && exit')

    def chosen(*path: str, **environ: str) -> str:
        return builders.choose("unix:///x", None, {"PATH": ":".join(path), **environ}).name

    assert chosen(new, old, buildx) == "buildx"
    assert chosen(new, old) == "buildkit"
    assert chosen(new) == chosen("/nowhere") == "classic"
    assert chosen(new, old, buildx, IMGMAKE_BUILDER="buildkit") == "buildkit"


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "unix:///x"),
        ({"DOCKER_HOST": "unix:///x", "DOCKER_CONTEXT": "prod"}, "unix:///x"),
        ({"DOCKER_CONTEXT": "prod"}, None),
    ],
)
def test_the_builder_uses_the_same_engine(environ: dict[str, str], host: str | None) -> None:
    """A context may hold certificates, so a URL must not take its place."""
    assert builders.environment("unix:///x", environ).get("DOCKER_HOST") == host
