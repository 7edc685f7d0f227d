"""What written parts mean, and which prerequisites follow from what rules read."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgmake.errors import ImgmakeError
from imgmake.model import Edge
from tests.unit.runs import Repo

DOCKERFILE = "FROM debian:12 AS base\nFROM base AS app\nCOPY target/*.jar /app.jar\nFROM app AS default\n"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path).put("Dockerfile", DOCKERFILE)


def edges(repo: Repo, target: str) -> dict[str, str]:
    """The prerequisites of a target, each with why."""
    with repo.session() as (session, _):
        return {edge.prerequisite: edge.why for edge in session.run.graph.edges[target]}


def dropped(repo: Repo) -> list[tuple[str, str]]:
    with repo.session() as (session, _):
        return [(edge.target, edge.prerequisite) for edge in session.run.graph.dropped]


def test_a_copy_needs_the_target_that_it_takes(repo: Repo) -> None:
    repo.pipefile('file("target/shop.jar", sh("true"))\nimage("app")\n')
    assert edges(repo, "app") == {"target/shop.jar": "Dockerfile:3 COPY"}


def test_a_target_that_the_ignore_file_keeps_out_is_not_needed(repo: Repo) -> None:
    repo.pipefile('file("target/shop.jar", sh("true"))\nimage("app")\n').put(".dockerignore", "target\n")
    assert edges(repo, "app") == {}


def test_only_the_needed_stages_count(repo: Repo) -> None:
    repo.pipefile('file("target/shop.jar", sh("true"))\nimage("app", stage="base")\n')
    assert edges(repo, "app") == {}


def test_a_stage_called_like_a_target_is_not_that_target(repo: Repo) -> None:
    repo.pipefile('image("app")\nimage("base", dockerfile="base.df")\n').put("base.df", "FROM scratch\n")
    assert edges(repo, "app") == {}


def test_a_from_that_is_another_rules_tag(repo: Repo) -> None:
    repo.pipefile('image("tools", tags="debian:12", dockerfile="base.df")\nimage("app")\n')
    repo.put("base.df", "FROM scratch\n")
    assert edges(repo, "app") == {"tools": "Dockerfile:1 FROM"}


@pytest.mark.parametrize("spelling", ["docker.io/library/debian:12", "index.docker.io/library/debian:12", "debian:12"])
def test_tags_are_compared_in_full(repo: Repo, spelling: str) -> None:
    repo.pipefile(f'image("tools", tags="{spelling}", dockerfile="base.df")\nimage("app")\n')
    repo.put("base.df", "FROM scratch\n")
    assert "tools" in edges(repo, "app")


def test_a_from_is_never_a_bare_target_name(repo: Repo) -> None:
    repo.pipefile('image("debian", tags="other:1", dockerfile="base.df")\nimage("app")\n')
    repo.put("base.df", "FROM scratch\n").put("Dockerfile", "FROM debian\n")
    assert edges(repo, "app") == {}


def test_arguments_are_expanded_in_from(repo: Repo) -> None:
    repo.pipefile('V = var("V", "12")\nimage("tools", tags=f"debian:{V}", dockerfile="base.df")\nimage("app")\n').put(
        "base.df", "FROM scratch\n"
    ).put("Dockerfile", "ARG V\nFROM debian:$V\n")
    assert edges(repo, "app") == {"tools": "Dockerfile:2 FROM"}


def test_a_from_by_build_id(repo: Repo) -> None:
    repo.pipefile('image("tools", tags=f"tools:{BUILD_ID}", dockerfile="base.df")\nimage("app")\n')
    repo.put("base.df", "FROM scratch\n").put("Dockerfile", "ARG BUILD_ID\nFROM tools:$BUILD_ID\n")
    assert edges(repo, "app") == {"tools": "Dockerfile:2 FROM"}


def test_an_image_as_build_argument(repo: Repo) -> None:
    repo.pipefile('base = image("tools", dockerfile="base.df")\nimage("app", build_args={"BASE": base})\n')
    repo.put("base.df", "FROM scratch\n").put("Dockerfile", "ARG BASE\nFROM $BASE\n")
    assert edges(repo, "app") == {"tools": "build_args BASE"}


def test_a_named_context_that_is_another_rules_tag(repo: Repo) -> None:
    repo.pipefile(
        'image("tools", tags="tools:1", dockerfile="base.df")\n'
        'image("app", contexts={"base": "docker-image://tools:1", "b": "docker-image://else:1"})\n'
    ).put("base.df", "FROM scratch\n")
    assert edges(repo, "app") == {"tools": "contexts base"}


def test_commands_need_what_they_read(repo: Repo) -> None:
    repo.pipefile(
        'app = image("app", tags="shop:1")\n'
        'check("tests", structure_test(app, "tests.yaml"))\n'
        'check("by-name", structure_test("shop:1", "tests.yaml"))\n'
        'file("tests.yaml", sh("true"))\n'
        'check("lint", lint("Dockerfile"))\n'
        'phony("tag", tag(app, "shop:2"))\n'
    )
    assert set(edges(repo, "tests")) == {"app", "tests.yaml"}
    assert set(edges(repo, "by-name")) == {"app", "tests.yaml"}
    assert edges(repo, "lint") == {}
    assert set(edges(repo, "tag")) == {"app"}


def test_a_check_of_what_is_published_comes_after_it(repo: Repo) -> None:
    repo.put("base.df", "FROM scratch\n").pipefile(
        'app = image("app", tags="shop:1", dockerfile="base.df")\n'
        'publish("push", image=app, to="r.test/app", tags="1")\n'
        'check("before", app, "base.df", sh("true"))\n'
        'check("after", app, "push", "base.df", sh("true"))\n'
    )
    assert edges(repo, "push") == {"app": "image", "before": "checks its image"}
    assert dropped(repo) == [("push", "after")]
    with repo.session() as (session, reporter):
        session.check(["after"])
        assert reporter.notes == ["push: after needs it, so it is published without that check"]


def test_publish_needs_every_check_that_names_its_image(repo: Repo) -> None:
    repo.pipefile(
        'app = image("app")\nother = image("other")\n'
        'check("tests", structure_test(app, "t.yaml"))\ncheck("lint", lint(app))\n'
        'check("else", structure_test(other, "t.yaml"))\n'
        'check("script", "app", sh("sh smoke.sh"))\ncheck("rule", app, sh("true"))\n'
        'check("later", "t.yaml", sh("true"), after=["app"])\n'
        'publish("push", image=app, to="r.test/app", tags="1")\n'
        'publish("only", image=app, to="r.test/only", tags="1", checks=["lint"])\n'
    ).put("t.yaml", "")
    assert set(edges(repo, "push")) == {"app", "tests", "lint", "script", "rule"}
    assert set(edges(repo, "only")) == {"app", "lint"}


def test_copy_everything_over_a_report_made_from_the_image(repo: Repo) -> None:
    repo.pipefile('app = image("app")\nfile("report.html", sh("true", IMAGE=app))\nfile("data.txt", sh("true"))\n').put(
        "Dockerfile", "FROM scratch\nCOPY . /\n"
    )
    assert dropped(repo) == [("app", "report.html")]
    assert set(edges(repo, "app")) == {"data.txt"}


def test_a_phony_pattern_picks_targets_but_not_itself(repo: Repo) -> None:
    repo.pipefile('phony("test/a", sh("true"))\nphony("test/b", sh("true"))\nphony("test/all", "test/*")\n')
    assert set(edges(repo, "test/all")) == {"test/a", "test/b"}


def test_a_file_pattern_needs_generated_files(repo: Repo) -> None:
    repo.pipefile('file("gen/a.go", sh("true"))\ncheck("vet", "**/*.go", sh("true"))\n')
    assert edges(repo, "vet") == {"gen/a.go": "written '**/*.go'"}


def test_a_folder_needs_generated_files_inside(repo: Repo) -> None:
    repo.pipefile('file("src/gen.c", sh("true"))\nfile("out", "src/", sh("true"))\n').put("src/a.c", "")
    assert edges(repo, "out") == {"src/gen.c": "written 'src/'"}


@pytest.mark.parametrize(
    ("rules", "target"),
    [
        ('image("app.df", dockerfile="app.df")', "app.df"),
        ('image("app.df", dockerfile="b.df")\nimage("b.df", dockerfile="app.df")', "b.df"),
        ('image("key", dockerfile="app.df", secrets="key")', "key"),
        ('check("b.df", "b.df", sh("true"))', "b.df"),
        ('check("b.df", lint("b.df"))', "b.df"),
        ('phony("src", "src/", sh("true"))', "src"),
    ],
)
def test_a_target_called_like_a_file_that_it_reads_needs_that_file(repo: Repo, rules: str, target: str) -> None:
    repo.pipefile(rules).put("app.df", "FROM scratch\n").put("b.df", "FROM scratch\n").put("key", "").put("src/a", "")
    assert edges(repo, target) == {}


def test_a_file_that_is_written_as_its_own_prerequisite_is_a_cycle(repo: Repo) -> None:
    with pytest.raises(ImgmakeError, match="a -> a"):
        repo.pipefile('file("a", "a", sh("true"))').put("a", "").run("a")


def test_a_dockerfile_that_a_rule_makes(repo: Repo) -> None:
    repo.pipefile('file("gen.df", sh("true"))\nimage("app", dockerfile="gen.df")\n')
    assert edges(repo, "app") == {"gen.df": "Dockerfile"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('file("a", "b", sh("true"))\nfile("b", "a", sh("true"))\n', "a -> b -> a"),
        ('phony("a", sh("true"))\nphony("a", sh("true"))\n', "declared twice"),
        ('image("a", tags="x:1")\nimage("b", tags="docker.io/library/x:1")\n', "claim one tag"),
        (
            'image("a", tags="x:1", platforms="linux/amd64,linux/arm64")\nimage("b", tags="x:1-linux-arm64")\n',
            "'a@linux/arm64' and 'b' claim one tag, x:1-linux-arm64",
        ),
        (
            'image("a", tags=["x:1", "x:1-linux-arm64"], platforms="linux/amd64,linux/arm64")\n',
            "'a' and 'a@linux/arm64' claim one tag, x:1-linux-arm64",
        ),
        ('image("a", tags=["x:1", "docker.io/library/debian:12"])\n', "Dockerfile:1: FROM debian:12: that is a tag of"),
        ('image("a", tags="x:1", contexts={"y": "docker-image://x:1"})\n', "contexts y x:1: that is a tag of"),
        ('image("a", dockerfile="nope.df")\n', "no Dockerfile 'nope.df'"),
        ('image("a", context="nope")\n', "is no folder"),
        ('image("a", stage="ap")\n', "did you mean"),
        ('phony("a", "smoke/*")\n', "matches no target and no file"),
        ('check("a", lint("Dockerfil"))\n', "did you mean 'Dockerfile'"),
    ],
)
def test_mistakes_are_told_before_anything_runs(repo: Repo, text: str, error: str) -> None:
    repo.pipefile(text)
    with pytest.raises(ImgmakeError) as caught:
        repo.run("a")
    assert error in str(caught.value)
    assert "Pipefile.py:" in str(caught.value) or "Dockerfile" in str(caught.value)


def test_a_problem_of_one_target_does_not_stop_another(repo: Repo) -> None:
    repo.pipefile('image("a", dockerfile="nope.df")\nphony("b", sh("true"))\n')
    assert repo.run("b").ran == ["b"]


def test_a_platform_is_a_node(repo: Repo) -> None:
    repo.pipefile(
        'base = image("base", platforms="linux/amd64,linux/arm64", dockerfile="base.df")\n'
        'app = image("app", platforms=["linux/amd64", "linux/arm64"], build_args={"BASE": base})\n'
        'check("tests", sh("true", IMAGE=app), max_age=60)\n'
        'publish("push", image=app, to="r.test/app", tags="1")\n'
    ).put("base.df", "FROM scratch\n").put("Dockerfile", "ARG BASE\nFROM $BASE\n")
    assert set(edges(repo, "app@linux/arm64")) == {"base@linux/arm64"}
    assert set(edges(repo, "tests")) == {"app"}
    assert set(edges(repo, "push")) == {"app", "app@linux/arm64", "tests"}


def test_edges_say_whether_they_only_order(repo: Repo) -> None:
    repo.pipefile('phony("a", sh("true"))\nfile("b", sh("true"), after=["a"])\n')
    with repo.session() as (session, _):
        assert session.run.graph.edges["b"] == (Edge("b", "a", "after", True),)


@pytest.mark.parametrize("mounts", ["mounts={'src': '/s:ro'}", "options='-v ./src:/s:ro'"])
def test_what_a_run_mounts_read_only_is_read(repo: Repo, mounts: str) -> None:
    made = 'file("src/gen.c", sh("touch $out"))\n'
    repo.pipefile(f'{made}check("t", run("debian:12", "ls /s", {mounts}))').put("src/a.c", "")
    assert edges(repo, "t") == {"src/gen.c": "run mounts"}
    with repo.session() as (session, _):
        assert session.run.graph.inputs["t"].folders == ("src",)


def test_a_file_that_a_run_mounts_read_only_is_read(repo: Repo) -> None:
    repo.pipefile('file("c.yml", sh("touch $out"))\ncheck("t", run("debian:12", "ls", mounts={"c.yml": "/c:ro"}))')
    assert edges(repo, "t") == {"c.yml": "run mounts"}


def test_the_folder_that_a_run_writes_is_not_read(repo: Repo) -> None:
    repo.pipefile('file("o/a", sh("touch $out"))\nfile("o/b", run("debian:12", "x", mounts={"o": "/o"}))')
    assert edges(repo, "o/b") == {}
