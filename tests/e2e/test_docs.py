"""The documentation, run: every Pipefile in it loads, every console block prints what the page says it prints.

In README.md and docs/, a fenced block is

* ```python: a Pipefile. It must load, and its rules must form a graph. When its first line is ``# Pipefile.py`` it
  also becomes the Pipefile of the page's repository, for the console blocks below it.
* ```console: lines after a prompt (``shop$``) are run in the page's repository, one shell each; the lines below must
  be their output.
  ``…`` stands for anything within a line, a line that is only ``…`` for any lines; IDs, dates and durations may differ.
* ```make with the first line ``# Makefile``: the Makefile of the page's repository, without that line.
* Any other language, or none, is only read.

``<!-- in: shop -->`` puts a page's blocks into a repository like the tutorial's; without it, into a small one.
``<!-- in: engine -->``: a small one with an engine, where ``registry.example.com`` is a registry of the test's own.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import imgmake
from tests import forked
from tests.conftest import Docker
from tests.e2e.bases import BUSYBOX, provide
from tests.e2e.kit import ROOT, SHOP, Repo, repository
from tests.registries import real_registry

PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]
REGISTRY = "registry.example.com"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([\w-]+))?\)")
# Whatever a Pipefile on any page names.
FILES = """Dockerfile Makefile pom.xml structure-tests.yaml multi-stage-runtime.df .hadolint.yaml src/one.txt
src/a/two.txt base/Dockerfile config/Dockerfile services/api/Dockerfile services/api/structure.yaml
services/web/Dockerfile
services/web/structure.yaml notes/apples.txt notes/pears.txt scan-ignore.toml
config/dev.env config/stage.env config/prod.env"""


class Block(NamedTuple):
    language: str
    text: str
    line: int


class Page(NamedTuple):
    name: str
    text: str

    @property
    def blocks(self) -> Iterator[Block]:
        for match in FENCE.finditer(self.text):
            yield Block(match[1], match[2], self.text.count("\n", 0, match.start()) + 1)

    @property
    def folder(self) -> str:
        match = re.search(r"<!-- in: (\w+) -->", self.text)
        return match[1] if match else ""


def page(name: str) -> Page:
    return Page(name, (ROOT / name).read_text())


def small(path: Path) -> Repo:
    """A repository that holds every file that the pages speak of."""
    for name in FILES.split():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        content = "FROM scratch\n" if name.endswith("Dockerfile") else f"{Path(name).stem}\n"
        (path / name).write_text(content)
    shop = (SHOP / "multi-stage-runtime.df").read_text()
    (path / "multi-stage-runtime.df").write_text(shop)
    manifest = next(block.text for block in page("docs/scanning.md").blocks if block.text.startswith("FROM "))
    (path / "app.df").write_text(manifest)
    config = next(block.text for block in page("docs/publishing.md").blocks if block.language == "dockerfile")
    (path / "config.df").write_text(config)
    (path / "services/api/Dockerfile").write_text("ARG BASE\nARG COLOR\nFROM ${BASE} AS app-image\nARG COLOR\n")
    return repository(path)


PIPEFILES = [
    pytest.param(block.text, id=f"{name}:{block.line}")
    for name in PAGES
    for block in page(name).blocks
    if block.language == "python"
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """One for all questions, which write nothing."""
    return small(tmp_path_factory.mktemp("docs") / "sample")


@pytest.mark.parametrize("text", PIPEFILES)
def test_every_pipefile_loads_and_its_rules_form_a_graph(text: str, sample: Repo) -> None:
    sample.write("Pipefile.py", text)
    drawn = sample.imgmake("--graph").out
    assert drawn.startswith("digraph")


CONSOLES = [name for name in PAGES if any(block.language == "console" for block in page(name).blocks)]


@pytest.mark.parametrize("name", [name for name in CONSOLES if not page(name).folder])
def test_console_blocks_print_what_they_say(name: str, tmp_path: Path) -> None:
    transcript(page(name), small(tmp_path / "notes"))


@pytest.mark.parametrize("name", [name for name in CONSOLES if page(name).folder == "shop"])
def test_console_blocks_of_the_shop_print_what_they_say(
    name: str, tmp_path: Path, tools: dict[str, str], docker_hub: None
) -> None:
    transcript(page(name), repository(tmp_path / "shop", SHOP, tools))


@pytest.mark.parametrize("name", [name for name in CONSOLES if page(name).folder == "engine"])
def test_console_blocks_with_an_engine_and_a_registry_print_what_they_say(
    name: str, tmp_path: Path, tools: dict[str, str], base_image: str, docker: Docker
) -> None:
    provide(docker, [BUSYBOX])
    repo = small(tmp_path / "shop")
    repo.env = {**repo.env, **tools}
    # What another page built of the same files would be up to date here, and bear a commit of its own repository.
    serving = 'EXPOSE 8080\nCMD ["busybox", "httpd", "-f", "-p", "8080", "-h", "/config"]\n'
    repo.write("Dockerfile", f"FROM {base_image}\nCOPY notes/ /notes/\n{serving}LABEL page={name}\n")
    repo.write("structure-tests.yaml", "schemaVersion: 2.0.0\nfileExistenceTests: [{name: notes, path: /notes}]\n")
    repo.write(".hadolint.yaml", "ignored: []\n")
    with real_registry(tmp_path / "registry") as registry:
        transcript(page(name), repo, registry.host)


def transcript(told: Page, repo: Repo, registry: str = REGISTRY) -> None:
    """Follow a page from top to bottom; the registry that it names is the one at `registry`."""
    imgmake = f'imgmake() {{ {shlex.join(forked.words())} "$@"; }}'
    started = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "imgmake"]  # by make: it is to get descriptors, too
    repo.env = {**repo.env, "IMGMAKE": shlex.join(started)}
    for block in told.blocks:
        if block.language == "python" and block.text.startswith("# Pipefile.py\n"):
            repo.write("Pipefile.py", block.text.replace(REGISTRY, registry))
        elif block.language == "make" and block.text.startswith("# Makefile\n"):
            repo.write("Makefile", block.text.partition("\n")[2].replace(REGISTRY, registry))
        elif block.language == "console":
            for command, expected in commands(block.text):
                script = f"{imgmake}\n{{ {command.replace(REGISTRY, registry)}\n}} 2>&1"
                printed = repo.run("sh", "-c", script, code=None).out.replace(registry, REGISTRY)
                place = f"{told.name}:{block.line}: $ {command}"
                wrong = f"not printed: {first_wrong(expected, printed)}"
                assert matches(expected, printed), f"{place}\n{wrong}\nprinted:\n{printed}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with the output below it."""
    for part in re.split(r"^\w+\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


VOLATILE = [
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{7,}"), "BUILD_ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "DATE"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "COMMIT"),
    (re.compile(r"sha256:[0-9a-f]{12,}"), "DIGEST"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGITS"),
    (re.compile(r"\b(commit|after) [0-9a-f]{7}\b"), "COMMIT"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min)\b"), "TIME"),
]


def steady(text: str) -> str:
    for pattern, name in VOLATILE:
        text = pattern.sub(name, text)
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(line for line in lines if not line.endswith("  done, TIME"))  # told of slow targets only


def matches(expected: str, printed: str) -> bool:
    """Whether the output is what a page says, but for what may differ.

    >>> matches("2 ran, 0.3 s", "2 ran, 12.9 s"), matches("a\\n…\\nd", "a\\nb\\nc\\nd"), matches("a… b", "ax c")
    (True, True, False)
    """
    return re.fullmatch("".join(wanted(expected)), given(printed)) is not None


def first_wrong(expected: str, printed: str) -> str:
    """The first line of the page that nothing printed matches."""
    patterns = wanted(expected)
    fit = next(n for n in range(len(patterns), -1, -1) if re.match("".join(patterns[:n]), given(printed)))
    return [*steady(expected).splitlines(), "(the end)"][fit]


def wanted(expected: str) -> list[str]:
    any_lines, any_text = r"(?:.*\n)*?", ".*"
    return [
        any_lines if line.strip() == "…" else re.escape(line).replace("…", any_text) + r"\n"
        for line in steady(expected).splitlines()
    ]


def given(printed: str) -> str:
    return steady(printed) + "\n" if printed.strip() else ""


def test_every_option_has_its_place(sample: Repo) -> None:
    told = set(re.findall(r"--[a-z-]+", sample.imgmake("--help").out)) - {"--show-completion"}
    assert told <= set(re.findall(r"--[a-z-]+", page("docs/command-line.md").text))


def test_every_name_that_a_pipefile_imports_has_its_place() -> None:
    words = set(re.findall(r"\w+", page("docs/pipefile.md").text))
    assert set(imgmake.__all__) <= words


def test_links_lead_somewhere() -> None:
    broken = []
    for name in PAGES:
        for target, anchor in LINK.findall(page(name).text):
            if "://" in target:
                continue
            path = (ROOT / name).parent / target if target else ROOT / name
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{name}: {target}#{anchor}")
    assert broken == []


def anchors(path: Path) -> set[str]:
    """GitHub's names for a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
