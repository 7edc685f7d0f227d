"""`run`: what it declares, signs, shows, and hands to the engine; no engine runs here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from imgmake.commands import docker_options, run
from imgmake.commands.base import Read
from imgmake.commands.run import Run
from imgmake.errors import CommandFailed, EngineError, PipefileError, Place
from imgmake.model import Field, ImageRule, PhonyRule
from imgmake.ports import ContainerSpec, Mount
from tests.fakes import FakeEngine
from tests.unit.test_commands import APP, VALUES, changed, job, view

CONFIG = ImageRule(target="config", place=Place("Pipefile.py", 2), tags=("acme/config:1",))


def spec(action: Run, root: Path, **more: Any) -> ContainerSpec:
    return action.spec(job(root, **more))


# --- what the engine gets -------------------------------------------------------------------------------------


def test_the_books_maven_line(tmp_path: Path) -> None:
    action = run("maven:3.6-jdk-11", "mvn -B clean verify", mounts={".": "/project"})
    assert spec(action, tmp_path) == ContainerSpec(
        "maven:3.6-jdk-11",
        ("mvn", "-B", "clean", "verify"),
        mounts=(Mount("/project", path=tmp_path),),
        workdir="/project",
        caller=True,
    )
    assert action.show(view()) == (
        'docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD":/project -w /project'
        " maven:3.6-jdk-11 mvn -B clean verify"
    )


def test_a_value_with_spaces_stays_one_word(tmp_path: Path) -> None:
    action = run("a", "echo '$TAG x' $MESSAGE")
    assert spec(action, tmp_path).command == ("echo", "1.0 x", VALUES["MESSAGE"])
    assert shlex.split(action.show(view()))[-1] == VALUES["MESSAGE"]


@pytest.mark.parametrize(
    ("mounts", "caller"),
    [
        ({}, False),
        ({"src": "/src:ro"}, False),
        ({"volume:cache": "/cache"}, False),
        ({CONFIG: "/config"}, False),
        ({"src": "/src:rw"}, True),
        ({"src": "/src:ro", "out": "/out"}, True),
    ],
)
def test_the_caller_runs_it_when_a_host_path_is_writable(
    tmp_path: Path, mounts: Mapping[Any, str], caller: bool
) -> None:
    for folder in ("src", "out"):
        (tmp_path / folder).mkdir()
    assert spec(run("a", mounts=mounts), tmp_path).caller is caller
    assert spec(run("a", mounts=mounts, user="7"), tmp_path).caller is False


def test_a_writable_volume_option_is_a_mount_too(tmp_path: Path) -> None:
    found = spec(run("a", options=f"-v {tmp_path}:/p --volume cache:/c -e A=1 -e FROM_USER -e UNSET"), tmp_path)
    assert found.mounts == (Mount("/p", path=tmp_path), Mount("/c", volume="cache"))
    assert found.caller
    assert found.env == {"FROM_USER": "yes", "A": "1"}


def test_mounts_are_read_from_the_text_alone(tmp_path: Path) -> None:
    (tmp_path / "api/src").mkdir(parents=True)
    action = run("a", mounts={"src": "/src/:ro", "volume:v-$TAG": "/v", APP: "/app", str(tmp_path): "/abs"})
    assert spec(action, tmp_path, base="api").mounts == (
        Mount("/src", path=tmp_path / "api/src", read_only=True),
        Mount("/v", volume="v-1.0"),
        Mount("/app", image="acme/app:1.0", read_only=True),
        Mount("/abs", path=tmp_path),
    )
    flags = run("a", mounts={"src": "/src:ro", "~/.m2": "/m2", "volume:v": "/v", APP: "/app"}).show(view(base="api"))
    assert '-v "$PWD"/api/src:/src:ro -v "$HOME"/.m2:/m2 -v v:/v' in flags
    assert "--mount type=image,source=acme/app:1.0,target=/app" in flags


def test_a_mounted_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="run mounts 'gone', which is not there"):
        run("a", mounts={"gone": "/x"}).run(job(tmp_path, engine=with_image("a")))


def test_workdir_is_where_the_folder_is_mounted_unless_said() -> None:
    assert " -w " not in run("a", mounts={"src": "/src"}).show(view())
    assert " -w /p " in run("a", mounts={"./": "/p"}).show(view())
    assert " -w /q " in run("a", mounts={".": "/p"}, workdir="/q").show(view())


# --- running --------------------------------------------------------------------------------------------------


def with_image(*names: str) -> FakeEngine:
    engine = FakeEngine()
    for name in names:
        engine.commit_image(name)
    return engine


def test_the_exit_code_is_passed_on(tmp_path: Path) -> None:
    engine = with_image("a")
    engine.run_effect = lambda spec, output: 42
    with pytest.raises(CommandFailed, match=r"run\('a', …\) failed with exit code 42") as caught:
        run("a", "x").run(job(tmp_path, engine=engine))
    assert caught.value.code == 42


def test_a_missing_image_is_pulled_as_docker_run_does(tmp_path: Path) -> None:
    engine, upstream = FakeEngine(), FakeEngine()
    for name in ("curl:8", "db:1"):
        engine.upstream[name] = upstream.commit_image(name)
    engine.upstream = {f"docker.io/library/{name}": image for name, image in engine.upstream.items()} | engine.upstream
    run("curl:8", services={"db": "db:1"}).run(job(tmp_path, engine=engine))
    assert [event[1] for event in engine.log if event[0] == "pull"] == ["curl:8", "db:1"]


def test_a_missing_id_is_not_pulled(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no image sha256:0"):
        run("sha256:0").run(job(tmp_path))


# --- services -------------------------------------------------------------------------------------------------


def test_services_are_runs_rules_or_references(tmp_path: Path) -> None:
    shop = run(APP, mounts={CONFIG: "/config"})
    action = run("curl:8", "-fsS http://shop:8080/health", services={"shop": shop, "db": "postgres:16", "app": APP})
    assert [read.what for read in action.reads()] == ["curl:8", APP, CONFIG, "postgres:16", APP]
    assert Read("image", CONFIG, "run services shop") in action.reads()
    assert spec(action, tmp_path).services["shop"].mounts == (Mount("/config", image="acme/config:1", read_only=True),)
    assert action.show(view()).splitlines() == [
        "docker network create imgmake",
        "docker run -d --network imgmake --network-alias shop --name shop"
        " --mount type=image,source=acme/config:1,target=/config acme/app:1.0",
        "docker run -d --network imgmake --network-alias db --name db postgres:16",
        "docker run -d --network imgmake --network-alias app --name app acme/app:1.0",
        "docker run --rm --network imgmake curl:8 -fsS http://shop:8080/health",
        "docker rm -fv shop db app",
        "docker network rm imgmake",
    ]


# --- what counts ----------------------------------------------------------------------------------------------


def test_what_counts() -> None:
    action = run(
        "a:${TAG}",
        "x $TOKEN",
        env={"M": "$MESSAGE", "I": APP},
        mounts={"src": "/s", CONFIG: "/c"},
        services={"db": run("db", env={"P": "$TAG"})},
    )
    assert changed(action, root=Path("/elsewhere")) == set()
    assert changed(action, values={**VALUES, "MESSAGE": "m"}) == {"variable MESSAGE"}
    assert changed(action, values={**VALUES, "TAG": "2"}) == {"variable TAG", "image a:${TAG}"}
    assert changed(action, content="content-2") == {"image app", "image config"}
    fields = action.fields(view())
    assert "s3cret" not in repr(fields)
    assert Field("mount", "/c", "image <image config>:ro") in fields
    assert Field("env", "db: P", "$TAG") in fields


@pytest.mark.parametrize(
    "other",
    [
        run("b", "x"),
        run("a", "y"),
        run("a", "x", entrypoint="sh"),
        run("a", "x", mounts={".": "/p"}),
        run("a", "x", workdir="/w"),
        run("a", "x", env={"A": "1"}),
        run("a", "x", user="1"),
        run("a", "x", network="host"),
        run("a", "x", ports=["80:80"]),
        run("a", "x", services={"b": "b"}),
        run("a", "x", stdout="out"),
        run("a", "x", options="--init"),
    ],
)
def test_every_argument_counts(other: Run) -> None:
    assert run("a", "x").fields(view()) != other.fields(view())


def test_whether_it_says_all_that_it_reads() -> None:
    assert run("a").names_inputs()
    assert run("a", mounts={CONFIG: "/c"}).names_inputs()
    assert run("a", mounts={"src": "/s:ro"}).names_inputs()
    assert not run("a", mounts={"src": "/s"}).names_inputs()
    assert not run("a", mounts={".": "/s:ro"}).names_inputs()
    assert not run("a", options="-v cache:/c").names_inputs()
    assert not run("a", services={"b": run("b", mounts={".": "/p"})}).names_inputs()


# --- lines and mistakes ---------------------------------------------------------------------------------------


def test_every_flag_of_the_line() -> None:
    action = run(
        "a:1",
        ["-c", "echo $HOME"],
        entrypoint="sh -e",
        env={"A": "x y", "T": "$TOKEN"},
        user="1:2",
        network="host",
        ports=[8080, "127.0.0.1:80:80/tcp"],
        tty=True,
        stdout="out.txt",
        options=["--label", "a=b c"],
    )
    assert action.show(view()) == (
        "docker run --rm -it --user 1:2 -e A='x y' -e T=\"${TOKEN}\" --network host -p 8080 -p 127.0.0.1:80:80/tcp"
        " --label 'a=b c' --entrypoint sh a:1 -e -c 'echo $HOME' > out.txt"
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: run("mvn verify"), "did you mean sh('mvn verify')?"),
        (lambda: run(""), "the image is empty"),
        (lambda: run(PhonyRule(target="p", place=Place("P", 1))), "'p' is a phony rule, where an image is needed"),
        (lambda: run("a", "unbalanced '"), "cannot be split into words: No closing quotation"),
        (lambda: run("a", mounts={".": "relative"}), "must be an absolute path, not 'relative'"),
        (lambda: run("a", mounts=cast("Any", ["."])), "must map sources to targets"),
        (lambda: run("a", mounts={".": "/p", "src": "/p/"}), "two mounts at '/p'"),
        (lambda: run("a", mounts={"volume:": "/p"}), "name of a volume is empty"),
        (lambda: run("a", ports=["http"]), "'http' is no port"),
        (lambda: run("a", services={"a b": "c"}), "'a b' is no host name"),
        (lambda: run("a", services={"b": "c d"}), "'c d' is no name of an image"),
        (lambda: run("a", services={"b": run("c", stdout="x")}), "neither stdout= nor tty="),
        (lambda: run("a", services={"b": run("c", services={"b": "d"})}), "two services are called 'b'"),
        (lambda: run("a", services={"b": "c"}, network="host"), "cannot reach services by name"),
        (lambda: run("a", options="--detach"), "unrecognized arguments: --detach"),
        (lambda: run("a", options=["--cpus", "two"]), "--cpus 'two' is no number"),
        (lambda: run("a", options=["-v", "/only"]), "-v '/only' is not SOURCE:TARGET"),
    ],
)
def test_a_mistake_is_told_where_it_is_declared(make: Callable[[], object], words: str) -> None:
    with pytest.raises(PipefileError) as caught:
        make()
    assert words in str(caught.value)


def test_docker_options_are_the_sdks_words() -> None:
    text = (
        "--privileged --cap-add NET_ADMIN --cap-drop=ALL --device /dev/fuse --add-host db:10.0.0.1 --dns 1.1.1.1 -m 1g"
        " --cpus 1.5 --shm-size 64m --ulimit nofile=10:20 --tmpfs /run:size=1m --tmpfs /t --security-opt seccomp=x"
        " --group-add 5 -l a=b --pid host --ipc host --platform linux/arm64 -h name --gpus all"
    )
    parsed = docker_options.parse(text.split())
    assert parsed.platform == "linux/arm64"
    assert parsed.create == {
        "privileged": True,
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["ALL"],
        "devices": ["/dev/fuse"],
        "extra_hosts": {"db": "10.0.0.1"},
        "dns": ["1.1.1.1"],
        "mem_limit": "1g",
        "nano_cpus": 1_500_000_000,
        "shm_size": "64m",
        "ulimits": [{"name": "nofile", "soft": 10, "hard": 20}],
        "tmpfs": {"/run": "size=1m", "/t": ""},
        "security_opt": ["seccomp=x"],
        "group_add": ["5"],
        "labels": {"a": "b"},
        "pid_mode": "host",
        "ipc_mode": "host",
        "platform": "linux/arm64",
        "hostname": "name",
        "device_requests": [{"count": -1, "capabilities": [["gpu"]]}],
    }
