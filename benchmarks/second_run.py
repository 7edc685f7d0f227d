"""How long a run takes that has nothing to do: imgmake, a fully cached `docker build`, and `make`, side by side.

Usage: python benchmarks/second_run.py [--runs N]

In a copy of the tutorial's repository, with the engine that the docker CLI talks to: everything is made once by
imgmake and once by make; then each of these is run N times, in turn, and the medians are told:

    imgmake all                    the whole pipeline again: artifact, lint, image, structure tests
    imgmake --trace all            the same, judged target by target: an option that is never answered from the last run
    docker build                   the image alone, by BuildKit, every step from its cache
    make all                       the pipeline as a Makefile has it: image tests and all, each time

Each is a whole process, from start to end. Python keeps its bytecode, as wherever people work.

Needs the base images of the tutorial (python tests/e2e/bases.py makes them), hadolint and container-structure-test.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOP = Path(__file__).parents[1] / "docs" / "tutorial" / "shop"
SCRIPT = Path(sys.executable).with_name("imgmake")
IMGMAKE = (str(SCRIPT),) if SCRIPT.exists() else (sys.executable, "-m", "imgmake")
ANSWER, BUILT = "imgmake all", "docker build, cached"
SETTLES = 0.2  # seconds after which a file is no longer one of a moment ago
BUILD = ("docker", "build", "--file=multi-stage-runtime.df", "--target=app-image", "--tag=example/shop:benchmark", ".")


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    with tempfile.TemporaryDirectory() as folder:
        shop = _repository(Path(folder) / "shop")
        commands = {ANSWER: (*IMGMAKE, "all"), "imgmake --trace all": (*IMGMAKE, "--trace", "all"), BUILT: BUILD}
        commands["make all"] = ("make", "all")
        for command in commands.values():
            _run(command, shop, environ)
        for _ in range(2):  # the first run that has nothing to do is judged, and remembered
            time.sleep(SETTLES)
            _run(commands[ANSWER], shop, environ)
        times = measure(commands, shop, environ, options.runs)
    print(table(times))
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="how often each command is timed")
    return parser.parse_args(argv)


def _repository(path: Path) -> Path:
    shutil.copytree(SHOP, path, ignore=shutil.ignore_patterns("target", ".imgmake"))
    identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.com")
    for words in (("init", "--quiet"), ("add", "--all"), (*identity, "commit", "--quiet", "--message=Start")):
        subprocess.run(("git", *words), cwd=path, check=True)
    return path


def measure(
    commands: Mapping[str, Sequence[str]], cwd: Path, environ: Mapping[str, str], runs: int
) -> dict[str, list[float]]:
    """Seconds of each command, `runs` times; in turn, so that what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(_run(command, cwd, environ))
    return times


def _run(command: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return seconds


def table(times: Mapping[str, Sequence[float]]) -> str:
    """Median, fastest and slowest of each command, and its median against that of the cached build."""
    built = statistics.median(times[BUILT])
    lines = [f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}", ""]
    lines.append(f"{'':24}{'median':>10}{'fastest':>10}{'slowest':>10}{'ratio':>8}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        numbers = "".join(f"{value * 1000:>7.0f} ms" for value in (middle, min(seconds), max(seconds)))
        lines.append(f"{name:24}{numbers}{middle / built:>8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
