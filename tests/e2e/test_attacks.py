"""Ways to make an image pass for up to date when it is not, or to lose a tag: each fails, on the real engine."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Docker
from tests.e2e.kit import Ran, Repo, repository

PIPEFILE = 'from imgmake import *\napp = image("app", tags=f"{REPO}:{BUILD_ID}")\n'
DOCKERFILE = "FROM debian:bookworm-slim\nCOPY app.txt /\n"


class App:
    """A repository with one image rule, built by one builder."""

    def __init__(self, repo: Repo, docker: Docker, images: str) -> None:
        self.repo, self.docker, self.images = repo, docker, images

    def pipefile(self, text: str) -> None:
        self.repo.write("Pipefile.py", f"REPO = {self.images!r}\n{text}")

    def make(self, *args: str, code: int = 0) -> Ran:
        return self.repo.told(*(args or ("app",)), code=code)

    def tags(self) -> dict[str, str]:
        lines = self.docker("image", "ls", "--no-trunc", "--format", "{{.Tag}} {{.ID}}", self.images).splitlines()
        return dict(line.split() for line in lines if "<none>" not in line)

    def tag(self) -> str:
        (tag,) = self.tags()
        return f"{self.images}:{tag}"

    def cat(self, path: str, image: str = "") -> str:
        return self.docker("run", "--rm", image or self.tag(), "cat", path)

    def why(self) -> str:
        return self.repo.imgmake("--why", "app").out

    def drop(self) -> None:
        for tag in self.tags():
            self.docker("rmi", f"{self.images}:{tag}")


@pytest.fixture(params=["buildkit", "classic"])
def app(
    request: pytest.FixtureRequest, tmp_path: Path, docker: Docker, base_image: str, tools: dict[str, str]
) -> Iterator[App]:
    images = f"attack/{request.node.name.lower().translate(str.maketrans('[]_', '---')).strip('-')}"[:100].strip("-")
    repo = repository(tmp_path / "repo", env={**tools, "IMGMAKE_BUILDER": request.param})
    found = App(repo, docker, images)
    found.pipefile(PIPEFILE)
    repo.write("Dockerfile", DOCKERFILE)
    repo.write("app.txt", "1\n")
    repo.commit()
    assert found.make().done == {"app"}
    assert found.make().done == set()
    yield found
    for tag in found.tags():
        docker("rmi", "--force", f"{images}:{tag}")


def build(app: App, dockerfile: str, tag: str) -> None:
    folder = app.repo.path.parent / "other"
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    app.docker("build", "--quiet", "--tag", tag, str(folder))


def test_a_child_image_that_inherits_our_labels(app: App) -> None:
    tag = app.tag()
    build(app, f"FROM {tag}\nRUN echo evil > /app.txt\n", tag)
    assert app.make("-B").done == {"app"}  # a BUILD_ID tag never moves by itself: here the user says so
    app.drop()
    assert app.make().done == {"app"}
    assert app.cat("/app.txt") == "1\n"


def test_a_child_image_under_our_tag_is_not_taken_for_ours(app: App) -> None:
    tag = app.tag()
    app.docker("tag", tag, f"{app.images}:keep")
    build(app, f"FROM {tag}\nRUN echo evil > /app.txt\n", tag)
    app.docker("rmi", f"{app.images}:keep")
    result = app.make(code=None)  # type: ignore[arg-type]
    # Either it is built again, or the rule's own image, which the engine still holds, goes under a new BUILD_ID.
    assert "app" in result.done or result.errors or len(app.tags()) == 2
    assert {app.cat("/app.txt", f"{app.images}:{t}") for t in app.tags() if f"{app.images}:{t}" != tag} <= {"1\n"}


def test_docker_commit_that_inherits_our_labels(app: App) -> None:
    tag = app.tag()
    container = app.docker("run", "--detach", tag, "sh", "-c", "echo evil > /app.txt").strip()
    app.docker("wait", container)
    app.docker("commit", container, f"{app.images}:committed")
    app.docker("rm", container)
    app.docker("rmi", tag)
    app.make()
    (fresh,) = [t for t in app.tags() if t != "committed"]
    assert app.cat("/app.txt", f"{app.images}:{fresh}") == "1\n"


def test_a_symlinked_source_counts_by_what_it_leads_to(app: App) -> None:
    (app.repo.path / "app.txt").unlink()
    app.repo.write("real.txt", "linked 1\n")
    (app.repo.path / "app.txt").symlink_to("real.txt")
    assert app.make().done == {"app"}
    assert app.make().done == set()
    app.repo.write("real.txt", "linked 2\n")
    result = app.make()
    if result.done:
        newest = max(app.tags())
        assert app.cat("/app.txt", f"{app.images}:{newest}") == "linked 2\n"
    else:  # the classic builder copies the link itself, whose text is the same
        assert app.repo.env["IMGMAKE_BUILDER"] == "classic"


@pytest.mark.parametrize("mode", [0o755, 0o600])
def test_a_mode_change(app: App, mode: int) -> None:
    (app.repo.path / "app.txt").chmod(mode)
    assert app.make().done == {"app"}
    newest = max(app.tags())
    shown = app.docker("run", "--rm", f"{app.images}:{newest}", "stat", "-c", "%a", "/app.txt")
    assert shown.strip() == f"{mode:o}"
    assert app.make().done == set()


def test_an_argument_that_a_run_can_see(app: App) -> None:
    app.repo.write("Dockerfile", DOCKERFILE + "ARG LEVEL\nRUN echo level $LEVEL > /level\n")
    app.pipefile('from imgmake import *\nvar("LEVEL", "1")\n' + PIPEFILE)
    assert app.make().done == {"app"}
    assert app.make("app", "LEVEL=2").done == {"app"}
    newest = max(app.tags())
    assert app.cat("/level", f"{app.images}:{newest}") == "level 2\n"


def test_an_argument_that_only_the_environment_of_a_run_shows(app: App) -> None:
    """Every ARG in scope is in the environment of a RUN, whether its text names it or not."""
    app.repo.write("Dockerfile", DOCKERFILE + "ARG LEVEL\nLABEL level=$LEVEL\nRUN env > /level\n")
    app.pipefile('from imgmake import *\nvar("LEVEL", "1")\n' + PIPEFILE)
    assert app.make().done == {"app"}
    assert app.make("app", "LEVEL=2").done == {"app"}


def test_a_dirty_image_is_built_again_after_the_commit(app: App) -> None:
    app.repo.write("app.txt", "2\n")
    assert app.make().done == {"app"}
    assert any(tag.endswith("-dirty") for tag in app.tags())
    assert app.make().done == set()
    app.repo.commit()
    assert "dirty tree" in app.why()
    assert app.make().done == {"app"}
    assert app.make().done == set()


def test_a_base_that_moved_was_pruned_or_never_pulled(app: App, tmp_path: Path) -> None:
    base = f"{app.images}-base:1"
    app.docker("tag", "debian:bookworm-slim", base)
    app.repo.write("Dockerfile", f"FROM {base}\nCOPY app.txt /\n")
    assert app.make().done == {"app"}
    app.docker("rmi", base)
    assert app.make().done == set(), "absent is unknown, not moved"
    build(app, "FROM debian:bookworm-slim\nRUN echo new > /new\n", base)
    assert f"base {base} moved" in app.why()
    assert app.make().done == {"app"}
    assert app.make().done == set()
    app.docker("rmi", base)
    app.repo.write("Dockerfile", "FROM nowhere.invalid/never:pulled\nCOPY app.txt /\n")
    failed = app.make(code=2)
    assert any("nowhere.invalid/never:pulled" in error for error in failed.errors), failed.errors


def test_another_job_that_moves_the_base_meanwhile_changes_nothing(app: App) -> None:
    base = f"{app.images}-base:1"
    app.docker("tag", "debian:bookworm-slim", base)
    app.repo.write("Dockerfile", f"FROM {base}\nRUN sleep 3.25\nCOPY app.txt /\nRUN test ! -e /evil\n")

    def move() -> None:
        end = time.monotonic() + 60  # then the test fails
        while subprocess.run(["pgrep", "-fx", "sleep 3.25"], check=False, capture_output=True).returncode != 0:
            if time.monotonic() > end:
                return
            time.sleep(0.05)
        build(app, "FROM debian:bookworm-slim\nRUN touch /evil\n", base)

    other = threading.Thread(target=move)
    other.start()
    result = app.make()
    other.join()
    assert result.done == {"app"}
    assert f"base {base} moved" in app.why()
    app.docker("rmi", base)


def test_two_jobs_that_move_one_tag(app: App) -> None:
    app.pipefile(
        "from imgmake import *\n"
        'app = image("app", tags=f"{REPO}:{BUILD_ID}")\n'
        'phony("a", tag(app, f"{REPO}:shared"))\nphony("b", tag(app, f"{REPO}:shared"))\nphony("both", "a", "b")\n'
    )
    app.make("-j4", "both")
    tags = app.tags()
    assert tags.pop("shared") in tags.values()


def test_nothing_of_ours_is_left_in_the_engine_or_in_the_image(app: App) -> None:
    app.repo.write("Dockerfile", "FROM debian:bookworm-slim\nCOPY . /src/\n")
    app.make()
    newest = max(app.tags())
    listing = app.docker("run", "--rm", f"{app.images}:{newest}", "ls", "-A", "/src").split()
    assert (
        listing == sorted([".git", "Dockerfile", "Pipefile.py", "app.txt"], key=str.lower) or ".imgmake" not in listing
    )
    assert "imgmake" not in " ".join(listing)
    assert "imgmake-pin" not in app.docker("image", "ls")


def test_the_stamp_changes_labels_and_nothing_else(app: App, docker: Docker) -> None:
    app.repo.write(
        "Dockerfile",
        DOCKERFILE + "ENV A=1\nUSER 7\nWORKDIR /srv\nEXPOSE 80/tcp\nVOLUME /data\nSTOPSIGNAL SIGINT\n"
        'HEALTHCHECK --interval=5s CMD true\nONBUILD RUN true\nENTRYPOINT ["sh", "-c"]\nCMD ["true"]\nLABEL own=1\n',
    )
    app.make()
    newest = max(app.tags())
    ours = inspect(docker, f"{app.images}:{newest}")
    docker("build", "--quiet", "--tag", f"{app.images}:plain", str(app.repo.path))
    theirs = inspect(docker, f"{app.images}:plain")
    docker("rmi", f"{app.images}:plain")
    for config in (ours["Config"], theirs["Config"]):
        assert '"own": "1"' in json.dumps(config.pop("Labels"))
        for key in ("Image", "Hostname", "ArgsEscaped"):  # where the two builders differ
            config.pop(key, None)
    assert ours["Config"] == theirs["Config"]


def inspect(docker: Docker, image: str) -> dict[str, dict[str, object]]:
    found: Sequence[dict[str, dict[str, object]]] = json.loads(docker("image", "inspect", image))
    return found[0]


def test_a_child_rule_from_a_parent_with_onbuild(app: App) -> None:
    app.pipefile(
        "from imgmake import *\n"
        'base = image("base", tags=f"{REPO}:base", dockerfile="base.df")\n'
        'app = image("app", tags=f"{REPO}:{BUILD_ID}", build_args={"BASE": base})\n'
    )
    app.repo.write("base.df", "FROM debian:bookworm-slim\nONBUILD COPY app.txt /onbuild.txt\n")
    app.repo.write("Dockerfile", "ARG BASE\nFROM $BASE\n")
    app.make()
    assert app.make().done == set()
    app.repo.write("app.txt", "by onbuild\n")
    assert app.make().done == {"app"}
    newest = max(tag for tag in app.tags() if tag != "base")
    assert app.cat("/onbuild.txt", f"{app.images}:{newest}") == "by onbuild\n"
