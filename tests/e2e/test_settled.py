"""The second run's short answer on a real engine: it is given, it is the long one, and each change takes it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Docker
from tests.e2e.kit import Ran, Repo, repository

IMAGES = "settled/app"
PIPEFILE = f"""
from imgmake import BUILD_ID, check, default, image, lint, phony
app = image("app", tags=["{IMAGES}:{{BUILD_ID}}", "{IMAGES}:latest"])
check("lint", lint("Dockerfile"))
phony("all", app, "lint")
default("all")
""".replace("{BUILD_ID}", '" + BUILD_ID + "')
TOLD = "imgmake: everything is up to date (3 targets)\n"


class Short:
    """A repository in which the short answer is given."""

    def __init__(self, repo: Repo, docker: Docker) -> None:
        self.repo, self.docker = repo, docker

    def run(self) -> tuple[bool, Ran]:
        """Run it; whether the answer was the short one. A run that judges signs the lock."""
        lock = self.repo.path / ".imgmake" / "lock"
        before = lock.stat().st_mtime_ns if lock.exists() else 0
        ran = self.repo.imgmake()
        return lock.stat().st_mtime_ns == before, ran

    def settle(self) -> Ran:
        self.repo.commit()  # what was built from a dirty tree is judged anew each time
        for _ in range(6):
            short, ran = self.run()
            if short:
                return ran
            time.sleep(0.1)  # a file of a moment ago is not trusted
        raise AssertionError(f"always the long way: {ran}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, docker: Docker, base_image: str, tools: dict[str, str]) -> Short:
    repo = repository(tmp_path_factory.mktemp("settled") / "repo", env=tools)
    repo.write("Pipefile.py", PIPEFILE)
    repo.write("Dockerfile", f"FROM {base_image} AS base\nFROM base\nCOPY . /app\n")
    repo.write(".dockerignore", ".git\n*.log\n")
    repo.write("src/main", "1\n")
    repo.write("src/__pycache__/main.pyc", "1\n")
    repo.commit()
    return Short(repo, docker)


def test_the_short_answer_is_the_long_one(made: Short) -> None:
    said = made.settle()
    (made.repo.path / ".imgmake" / "settled").rename(made.repo.path / ".imgmake" / "unsettled")
    short, long = made.run()
    assert not short
    assert (said.out, said.err) == (long.out, long.err)
    assert said.out.endswith(TOLD)
    assert "BUILD_ID " in said.out


def _retag(made: Short) -> None:
    made.docker("tag", "debian:bookworm-slim", f"{IMAGES}:latest")


CHANGES: dict[str, Callable[[Short], object]] = {
    "a new file in a copied folder": lambda made: made.repo.write("src/more", "2\n"),
    "bytecode in a copied folder": lambda made: made.repo.write("src/__pycache__/main.pyc", "2\n"),
    "a mode in the context": lambda made: (made.repo.path / "src" / "main").chmod(0o755),
    "the ignore file": lambda made: made.repo.write(".dockerignore", ".git\n*.log\nsrc/more\n"),
    "the Dockerfile": lambda made: made.repo.replace("Dockerfile", "/app", "/srv"),
    "hadolint's configuration": lambda made: made.repo.write(".hadolint.yaml", "ignored: [DL3059]\n"),
    "a tag that is gone": lambda made: made.docker("rmi", f"{IMAGES}:latest"),
    "a tag that was moved": _retag,
    "an image that is gone": lambda made: made.docker(
        "rmi", "-f", made.docker("images", "-q", f"{IMAGES}:latest").strip()
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_seen(change: Callable[[Short], object], made: Short) -> None:
    made.settle()
    change(made)
    short, ran = made.run()
    assert not short, ran


def test_no_engine_no_answer(made: Short, tmp_path: Path) -> None:
    made.settle()
    gone = Repo(made.repo.path, {**made.repo.env, "DOCKER_HOST": f"unix://{tmp_path}/none"})
    assert "no container engine answers" in gone.imgmake(code=2).err
