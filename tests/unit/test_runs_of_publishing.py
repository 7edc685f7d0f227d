"""What is published, left, refused and promoted, in whole runs against a fake engine, registry and git."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imgmake.errors import GraphError, ImgmakeError, Problems, Refused, RegistryError, UsageError
from imgmake.executor.publication import Publication
from imgmake.executor.publishing import refusals
from imgmake.ports import Remote
from imgmake.tags import TagAction, TagChange
from tests.fakes import FakeEngine, RecordingOutput
from tests.unit.runs import Repo

DOCKERFILE = "FROM scratch\nCOPY app.txt /\n"
APP = 'app = image("app", tags=f"shop:{BUILD_ID}")\n'
HERE = "registry.test/shop"
RELEASE = APP + f'publish("push", image=app, to="{HERE}", tags=[BUILD_ID, semver(var("V", "1.2.3"))])\n'
LATEST = APP + f'publish("push", image=app, to="{HERE}", tags=[BUILD_ID, "latest"])\n'
COMMITS = tuple(f"{number:040x}" for number in range(1, 6))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path / "repo").put("Dockerfile", DOCKERFILE).put("app.txt", "1")
    commit(found, 0)
    return found


def commit(repo: Repo, number: int, text: str | None = None) -> None:
    """Check a commit out: the tree is clean, and the history is known up to it."""
    repo.git.commit, repo.git.changed, repo.git.history = COMMITS[number], False, COMMITS
    if text is not None:
        repo.put("app.txt", text)


def clone(repo: Repo, path: Path, *, engine: bool = True, text: str | None = None) -> Repo:
    """A fresh clone of the same repository on another machine."""
    other = Repo(path, registry=repo.registry, clock=repo.clock, git=repo.git)
    if not engine:
        other.engine = None
    for name in ("Pipefile.py", "Dockerfile", "app.txt"):
        other.put(name, repo.read(name))
    return other.put("app.txt", text) if text is not None else other


def held(repo: Repo, repository: str = HERE) -> dict[str, str]:
    """The tags of a repository, each with the text of the image that it holds."""
    prefix = f"{repository}:"
    return {name.removeprefix(prefix): r.digest for name, r in repo.registry.remotes.items() if name.startswith(prefix)}


def plan(repo: Repo, *goals: str, **options: object) -> dict[str, TagChange]:
    """What --plan tells of the tags of the goals, by reference."""
    with repo.session(read_only=True, **options) as (session, _):
        prospects = session.executor.prospects(session.goals(goals), lines=True)
    found = [p.publication for p in prospects if p.publication is not None]
    return {change.reference: change for one in found for change in _publication(one).changes}


def _publication(found: Publication | ImgmakeError) -> Publication:
    if isinstance(found, ImgmakeError):
        raise found
    return found


def table(repo: Repo, *goals: str, **options: object) -> dict[str, tuple[str, str]]:
    """The plan as a person reads it: tag -> what is done, and why."""
    return {ref.rpartition(":")[2]: (c.action.value, c.why) for ref, c in plan(repo, *goals, **options).items()}


def give(repo: Repo, reference: str, *, layers: str = "x", digest: str = "", **labels: str) -> Remote:
    """An image in the registry that somebody else made."""
    engine = FakeEngine()
    image = engine.commit_image(layers=[layers], labels={k.replace("_", "."): v for k, v in labels.items()})
    repository = reference.rpartition(":")[0]
    found = repo.registry.send(engine, [image], [repository], output=RecordingOutput())
    before = repo.registry.digest(reference)
    repo.registry.set_tag(reference, found, before=before)
    remote = repo.registry.resolve(reference)
    assert remote is not None
    return remote


# --- the plan is what is done ---------------------------------------------------------------------------------


def test_a_version_fans_out_and_the_plan_is_what_is_done(repo: Repo) -> None:
    repo.pipefile(RELEASE)
    assert table(repo, "push", overrides={"BUILD_ID": "b1"}) == {
        "b1": ("create", "not there yet"),
        "1.2.3": ("create", "not there yet"),
        "1.2": ("create", "1.2.3 is the highest 1.2"),
        "1": ("create", "1.2.3 is the highest 1"),
        "latest": ("create", "1.2.3 is the highest stable"),
    }
    assert {change.after for change in plan(repo, "push").values()} == {""}, "it is yet to be built"
    assert repo.run("push", overrides={"BUILD_ID": "b1"}).ran == ["app", "push"]
    assert len(set(held(repo).values())) == 1
    assert set(held(repo)) == {"b1", "1.2.3", "1.2", "1", "latest"}
    assert {action for action, _ in table(repo, "push").values()} == {"leave"}
    assert repo.run("push").ran == []


@pytest.mark.parametrize("build", [True, False])
def test_a_higher_version_keeps_its_tags(repo: Repo, build: bool) -> None:
    repo.pipefile(RELEASE)
    for version, text in (("1.2.3", "1"), ("2.0.0", "2")):
        repo.put("app.txt", text).run("push", overrides={"V": version})
    before = held(repo)
    commit(repo, 1, "3")
    if build:
        repo.run("app")
    told = plan(repo, "push", overrides={"V": "1.2.4"})
    assert {ref.rpartition(":")[2]: c.action.value for ref, c in told.items() if not ref.endswith("00001")} == {
        **{tag: "create" for tag in (t.rpartition(":")[2] for t in told) if "-" in tag},
        "1.2.4": "create",
        "1.2": "move",
        "1": "move",
        "latest": "leave",
    }
    assert told[f"{HERE}:latest"].why == "2.0.0 is higher"
    repo.run("push", overrides={"V": "1.2.4"})
    after = held(repo)
    moved = {tag for tag in after if before.get(tag) != after[tag]}
    assert {"1.2.4", "1.2", "1"} <= moved
    assert after["latest"] == before["latest"]
    for reference, change in told.items():
        expected = change.action in (TagAction.CREATE, TagAction.MOVE)
        assert (reference.rpartition(":")[2] in moved) == expected
        assert change.before == before.get(reference.rpartition(":")[2], "")


def test_each_registry_is_judged_by_what_it_holds(repo: Repo) -> None:
    other = "other.test/shop"
    repo.pipefile(APP + f'publish("push", image=app, to=["{HERE}", "{other}"], tags=semver("1.2.3"))\n')
    give(repo, f"{other}:1.9.0")
    give(repo, f"{other}:1.2")
    told = plan(repo, "push")
    actions = {ref: change.action.value for ref, change in told.items()}
    assert [actions[f"{HERE}:{tag}"] for tag in ("1.2.3", "1.2", "1", "latest")] == ["create"] * 4
    assert [actions[f"{other}:{tag}"] for tag in ("1.2.3", "1.2", "1", "latest")] == [
        "create",
        "move",
        "leave",
        "leave",
    ]
    repo.run("push")
    assert set(held(repo, other)) == {"1.9.0", "1.2.3", "1.2"}
    assert held(repo, other)["1.2"] == held(repo)["1.2.3"]


def test_a_dry_run_prints_docker_lines_for_what_is_written_alone(repo: Repo) -> None:
    repo.pipefile(APP + f'publish("push", image=app, to="{HERE}", tags=semver("1.2.3"))\n')
    give(repo, f"{HERE}:1.2.9")
    lines = repo.forecast("push", overrides={"BUILD_ID": "b1"})["push"].lines
    assert lines == (f"docker tag shop:b1 {HERE}:1.2.3", f"docker push {HERE}:1.2.3")
    assert not {event[0] for event in repo.registry.log} & {"copy", "set_tag"} - {"set_tag"}


def test_a_dry_run_flattens_no_index(repo: Repo) -> None:
    """It showed `docker tag` and `docker push` for several platforms, and for what is promoted once it is published."""
    repo.pipefile(
        'app = image("app", tags=f"shop:{BUILD_ID}", platforms=("linux/amd64", "linux/arm64"))\n'
        f'push = publish("push", image=app, to="{HERE}", tags=BUILD_ID)\n'
        f'publish("promote", push, image=f"{HERE}:{{BUILD_ID}}", to="prod.test/shop", tags="stable")\n'
    )
    told = repo.forecast("promote", overrides={"BUILD_ID": "b1"})
    index = f"docker buildx imagetools create -t {HERE}:b1 shop:b1 shop:b1-linux-arm64"
    copy = f"docker buildx imagetools create --prefer-index=false -t prod.test/shop:stable {HERE}:b1"
    assert (told["push"].lines, told["promote"].lines) == ((index,), (copy,))


def test_a_dry_run_prints_what_signs(repo: Repo) -> None:
    repo.pipefile(APP + f'publish("push", image=app, to=["{HERE}", "b.test/shop"], tags=["1", "2"], sign=True)\n')
    lines = repo.forecast("push", overrides={"BUILD_ID": "b1"})["push"].lines
    assert lines[-1] == f"cosign sign --yes {HERE}:1 b.test/shop:1"
    promote = 'publish("push", image="stage.test/shop:1", to="prod.test/shop", tags=["1", "2"], sign=True)\n'
    digest = give(repo, "stage.test/shop:1").digest
    assert repo.pipefile(promote).forecast("push")["push"].lines[-1] == f"cosign sign --yes prod.test/shop@{digest}"


# --- tags that never move -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"always_make": True}])
def test_a_version_that_another_image_holds_is_refused_before_anything_is_built(
    repo: Repo, options: dict[str, bool]
) -> None:
    repo.pipefile(RELEASE)
    repo.run("push")
    before = held(repo)
    commit(repo, 1, "2")
    built = len(repo.builder.requests)
    assert table(repo, "push")["1.2.3"] == ("refuse", "holds another image, and a version never moves")
    with pytest.raises(
        Refused, match=r"registry.test/shop:1.2.3 holds another image, and a version never moves"
    ) as told:
        repo.run("push", **options)
    assert told.value.hint == "publish under another version"
    assert (len(repo.builder.requests), held(repo)) == (built, before)


@pytest.mark.parametrize("options", [{}, {"always_make": True}])
def test_a_given_build_id_that_another_image_holds_is_refused_before_anything_is_built(
    repo: Repo, options: dict[str, bool], tmp_path: Path
) -> None:
    repo.pipefile(LATEST)
    repo.run("push", overrides={"BUILD_ID": "b1"})
    before = held(repo)
    other = clone(repo, tmp_path / "other", text="2")
    with pytest.raises(Refused, match=r"shop:b1 holds another image, and a tag with a BUILD_ID never moves"):
        other.run("push", overrides={"BUILD_ID": "b1"}, **options)
    assert (other.builder.requests, held(repo)) == ([], before)


def test_refusals_of_every_rule_are_told_at_once_with_their_places(repo: Repo) -> None:
    repo.pipefile(
        APP
        + f'publish("a", image=app, to="{HERE}", tags="1.0.0")\n'
        + 'publish("b", image=app, to="other.test/b", tags=["2.0.0", "2.0.1"])\n'
        + 'publish("c", image=app, to="other.test/c", tags="1")\n'
        + 'phony("all", "a", "b", "c")\n'
    )
    for reference in (f"{HERE}:1.0.0", "other.test/b:2.0.0", "other.test/b:2.0.1"):
        give(repo, reference)
    with pytest.raises(Refused) as told:
        repo.run("all", keep_going=True)
    assert str(told.value) == (
        f"Pipefile.py:3: {HERE}:1.0.0 holds another image, and a version never moves\n"
        "  so it is with other.test/b:2.0.0 (Pipefile.py:4), other.test/b:2.0.1 (Pipefile.py:4)\n"
        "  publish under another version"
    )
    assert repo.builder.requests == []
    assert "other.test/c:1" not in repo.registry.remotes


def test_the_same_image_again_is_no_news_and_its_moving_tags_are_repaired(repo: Repo, tmp_path: Path) -> None:
    """A re-run on another machine, that has to build: the same content under another stamp."""
    made = 'phony("touch", sh("true"))\nfile("app.txt", "in", "touch", sh("cp in app.txt"))\n'
    repo.pipefile(made + RELEASE.replace("[BUILD_ID, ", "[")).put("in", "1")
    repo.run("push")
    first = held(repo)
    repo.clock.tick(3600)
    other = clone(repo, tmp_path / "other").put("in", "1")
    result = other.run("push")
    assert (result.ran, result.failed) == (["app", "app.txt", "touch"], [])
    assert held(repo) == first
    give(repo, f"{HERE}:1.2", layers="old")
    del repo.registry.remotes[f"{HERE}:latest"]
    told = table(other, "push")
    assert {tag: action for tag, (action, _) in told.items()} == {
        "1.2.3": "leave",
        "1.2": "move",
        "1": "move",
        "latest": "create",
    }
    assert told["1"][1] == "unless the build makes this image again"
    other.run("push")
    assert held(repo) == first, "all name the manifest that the version named from the start"


def test_built_anew_the_same_is_what_its_version_holds(repo: Repo) -> None:
    repo.pipefile(RELEASE)
    repo.run("push")
    before = held(repo)
    repo.clock.tick(60)
    again = repo.run("push", always_make=True, overrides={"BUILD_ID": "b2"})
    assert (again.ran, again.failed) == (["app", "push"], [])
    assert held(repo) == {**before, "b2": before["1.2.3"]}
    assert again.reasons("push") == ["forced by --always-make", again.reasons("push")[1]]
    assert f"{HERE}:b2 is not there" in again.reasons("push")[1]


def test_what_is_not_certain_before_the_build_is_not_refused(repo: Repo) -> None:
    """A generated file that comes out the same makes the same image."""
    made = 'file("app.txt", "in", sh("cut -c1 in > app.txt"))\n'
    repo.pipefile(made + RELEASE.replace("[BUILD_ID, ", "[")).put("in", "1")
    assert repo.run("push").ran == ["app", "app.txt", "push"]
    before = held(repo)
    repo.put("in", "12")
    commit(repo, 1)
    assert table(repo, "push")["1.2.3"] == ("leave", "holds an image already; refused if the build makes another")
    assert repo.run("push").ran == ["app.txt"]
    repo.put("in", "2")
    result = repo.run("push")
    assert result.failed == ["push"]
    assert "a version never moves" in result.error_of("push")
    assert held(repo) == before


def test_a_foreign_image_is_never_ours_whatever_the_build_makes(repo: Repo) -> None:
    repo.pipefile('file("app.txt", "in", sh("cp in app.txt"))\n' + RELEASE).put("in", "1")
    give(repo, f"{HERE}:1.2.3")
    with pytest.raises(Refused, match="a version never moves"):
        repo.run("push")
    assert repo.builder.requests == []


def test_a_mistake_in_a_version_is_told_before_anything_is_built(repo: Repo) -> None:
    repo.pipefile(RELEASE)
    with pytest.raises(UsageError, match=r"'1.2' is no semantic version") as told:
        repo.run("push", overrides={"V": "1.2"})
    assert str(told.value.place).startswith("Pipefile.py:")
    assert repo.builder.requests == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            {"VCS_BRANCH": "feature/x"},
            "tags: ${VCS_BRANCH} is 'feature/x', which is no tag\n  did you mean 'feature-x'?",
        ),
        ({"VCS_BRANCH": ""}, "tags: ${VCS_BRANCH} is empty"),
        # It would take the place of an image's signatures and evidence.
        (
            {"VCS_BRANCH": f"sha256-{'a' * 64}"},
            "tags: under sha256-aaaaaaaaaaaa… registries list what refers to an image",
        ),
    ],
)
def test_a_value_that_makes_no_tag_is_named_with_the_place_also_in_a_plan(
    repo: Repo, overrides: dict[str, str], told: str
) -> None:
    repo.pipefile(APP + f'publish("push", image=app, to="{HERE}", tags=VCS_BRANCH)\n')
    with pytest.raises(UsageError) as caught:
        repo.run("push", overrides=overrides)
    assert str(caught.value).startswith(f"Pipefile.py:3: {told}")
    repo.run("app", overrides=overrides)
    error = repo.forecast("push", overrides=overrides)["push"].forecast.error
    assert str(error).startswith(f"Pipefile.py:3: {told}")


def test_a_registry_that_refuses_is_told_of_before_anything_is_built(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that was missing was heard of after minutes of building; but a recipe may still log in."""

    def refuses(reference: str) -> Remote | None:
        raise RegistryError(f"{reference.rpartition(':')[0]}: 401", hint="log in with: docker login")

    repo.pipefile(LATEST)
    with monkeypatch.context() as patch:
        patch.setattr(repo.registry, "resolve", refuses)
        result = repo.run("push")
    assert result.failed == ["push"]
    warning = f"{HERE}: 401\n  log in with: docker login\n  it is asked again before anything is sent"
    assert result.reporter.warnings == [warning]
    repo.put("app.txt", "2")
    assert repo.run("push").reporter.warnings == []


# --- tags that move -------------------------------------------------------------------------------------------


def test_an_older_commit_never_takes_a_tag_back(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(LATEST)
    commit(repo, 3, "new")
    repo.run("push")
    before = held(repo)
    commit(repo, 2)
    other = clone(repo, tmp_path / "other", text="old")
    why = f"holds commit {COMMITS[3][:7]}, which comes after {COMMITS[2][:7]}: it never moves back"
    assert table(other, "push")["latest"] == ("refuse", why)
    with pytest.raises(Refused, match="it never moves back") as told:
        other.run("push")
    assert "--allow-rollback" in told.value.hint
    assert (other.builder.requests, held(repo)) == ([], before)
    assert table(other, "push", allow_rollback=True)["latest"][0] == "move"
    assert other.run("push", allow_rollback=True).ran == ["app", "push"]
    assert held(repo)["latest"] != before["latest"]


def test_a_later_commit_that_goes_back_to_an_older_image_moves_the_tag(repo: Repo) -> None:
    """After `git revert` the image of the older commit is today's image."""
    repo.pipefile(LATEST)
    commit(repo, 0, "good")
    repo.run("push")
    good = held(repo)["latest"]
    commit(repo, 1, "bad")
    repo.run("push")
    assert held(repo)["latest"] != good
    commit(repo, 2, "good")
    result = repo.run("push")
    assert (result.ran, held(repo)["latest"]) == (["push"], good)


def test_where_commits_cannot_be_compared_the_later_build_stays(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(LATEST)
    other = clone(repo, tmp_path / "other", text="2")
    repo.run("app")
    repo.clock.tick(60)
    other.run("push")
    repo.git.history = ()
    repo.git.commit = COMMITS[1]
    why = table(repo, "push")["latest"][1]
    assert why.startswith("holds a later build, of 2019-07-02T")
    assert why.endswith(f"(commit {COMMITS[0][:7]} is not known here): it never moves back")
    with pytest.raises(Refused):
        repo.run("push")


def test_two_rules_that_claim_one_tag_are_an_error_before_anything_runs(repo: Repo) -> None:
    repo.pipefile(
        APP
        + 'publish("a", image=app, to="library/shop", tags="latest")\n'
        + 'publish("b", image=app, to="docker.io/library/shop", tags=semver("1.2.3"))\n'
        + 'publish("c", image=app, to="docker.io/library/shop", tags=[BUILD_ID, "1.2"])\n'
        + 'publish("d", image=app, to="library/shop", tags="$BUILD_ID")\n'
        + 'phony("all", "a", "b", "c", "d")\n'
    )
    with pytest.raises(Problems) as told:
        repo.run("all")
    assert [(error.message, str(error.place)) for error in told.value.errors] == [
        ("publish rules 'a' and 'b' claim one tag, docker.io/library/shop:latest", "Pipefile.py:4"),
        ("publish rules 'b' and 'c' claim one tag, docker.io/library/shop:1.2", "Pipefile.py:5"),
        ("publish rules 'c' and 'd' claim one tag, docker.io/library/shop:$BUILD_ID", "Pipefile.py:6"),
    ]
    assert "the first is at Pipefile.py:3" in told.value.errors[0].hint
    assert repo.builder.requests == []
    with pytest.raises(Problems):
        plan(repo, "all")
    assert repo.run("a").ran == ["a", "app"], "each by itself is no mistake"


# --- the tree -------------------------------------------------------------------------------------------------


def test_nothing_is_published_from_a_dirty_tree(repo: Repo) -> None:
    repo.pipefile(LATEST)
    repo.git.changed = True
    why = f"would come from a dirty tree: app.txt differs from commit {COMMITS[0][:7]}"
    assert {found for found in table(repo, "push").values()} == {("refuse", why)}
    with pytest.raises(Refused, match=r"would come from a dirty tree: app.txt differs") as told:
        repo.run("push")
    assert "--commit" in told.value.hint
    assert "--allow-dirty" in told.value.hint
    assert (repo.builder.requests, held(repo)) == ([], {})
    assert repo.run("app").ran == ["app"], "building is no publishing"
    with pytest.raises(Refused):
        repo.run("push")
    assert repo.run("push", allow_dirty=True).ran == ["push"]
    assert any(tag.endswith("-dirty") for tag in held(repo))
    assert repo.run("push").ran == [], "nothing to write is nothing to refuse"


@pytest.mark.parametrize(("path", "dirty"), [("app/new", True), ("../lib/new", True), ("application", False)])
def test_an_untracked_file_makes_the_tree_dirty_in_every_context(repo: Repo, path: str, dirty: bool) -> None:
    """One that only a named context holds was published as if it were the commit's."""
    contexts = {"lib": "../lib", "base": "docker-image://x:1"}
    repo.put("app/Dockerfile", DOCKERFILE).put("app/app.txt", "1")
    repo.pipefile(
        f'app = image("app", tags="app:1", context="app", contexts={contexts})\n'
        f'publish("push", image=app, to="{HERE}", tags="latest")\n'
    )
    repo.git.others = (path,)
    why = f"would come from a dirty tree: {path} differs from commit {COMMITS[0][:7]}"
    assert table(repo, "push")["latest"] == (("refuse", why) if dirty else ("create", "not there yet"))


def test_an_image_that_was_built_from_a_dirty_tree_is_not_published_from_a_clean_one(repo: Repo) -> None:
    repo.pipefile(LATEST)
    repo.git.changed = True
    repo.run("app", overrides={"BUILD_ID": "b1-dirty"})
    commit(repo, 1)
    with pytest.raises(Refused, match="would hold an image that was built from a dirty tree, as b1-dirty"):
        repo.run("push", overrides={"BUILD_ID": "b1-dirty"})
    assert held(repo) == {}


# --- promotion ------------------------------------------------------------------------------------------------

PROMOTE = (
    'publish("promote", image=var("FROM", "stage.test/shop:1.2"), to="prod.test/shop", tags=["1.2.0", "stable"])\n'
)


@pytest.fixture
def released(repo: Repo) -> Remote:
    repo.pipefile(PROMOTE)
    repo.engine = None
    return give(repo, "stage.test/shop:1.2", org_opencontainers_image_revision=COMMITS[1])


def test_promotion_moves_the_very_digest_without_an_engine_and_from_any_tree(repo: Repo, released: Remote) -> None:
    repo.git.changed = True
    told = plan(repo, "promote")
    assert {(c.action.value, c.after) for c in told.values()} == {("create", released.digest)}
    at = f"stage.test/shop@{released.digest}"
    line = f"docker buildx imagetools create --prefer-index=false -t prod.test/shop:stable {at}"
    assert line in repo.forecast("promote")["promote"].lines
    assert repo.run("promote").ran == ["promote"]
    assert held(repo, "prod.test/shop") == {"1.2.0": released.digest, "stable": released.digest}
    assert repo.run("promote").ran == []


def test_an_index_and_what_refers_to_it_are_promoted_as_they_are(repo: Repo) -> None:
    repo.pipefile(PROMOTE)
    engine = FakeEngine()
    images = [engine.commit_image(platform=p) for p in ("linux/amd64", "linux/arm64")]
    digest = repo.registry.send(engine, images, ["stage.test/shop"], output=RecordingOutput())
    repo.registry.set_tag("stage.test/shop:1.2", digest, before=None)
    repo.engine = None
    with repo.session() as (session, _):
        found = session.executor._judge.judge(session.node("promote")).detail
    assert (found.source.digest, found.images, found.referrers) == (digest, (), True)
    assert " --prefer-index" not in "".join(repo.forecast("promote")["promote"].lines)
    repo.run("promote")
    assert held(repo, "prod.test/shop")["stable"] == digest


def test_a_tag_that_moves_meanwhile_changes_nothing(repo: Repo, released: Remote) -> None:
    repo.pipefile(
        PROMOTE
        + 'publish("copy", "promote", image=FROM, to="copy.test/shop", tags="1")\n'.replace(
            "FROM", "var('FROM', 'stage.test/shop:1.2')"
        )
    )
    resolve = repo.registry.resolve

    def moving(reference: str) -> Remote | None:
        found = resolve(reference)
        if reference == "stage.test/shop:1.2" and found is not None:
            engine = FakeEngine()
            image = engine.commit_image(layers=[f"moved {len(repo.registry.log)}"])
            moved = repo.registry.send(engine, [image], ["stage.test/shop"], output=RecordingOutput())
            repo.registry.set_tag(reference, moved, before=found.digest)
        return found

    repo.registry.resolve = moving  # type: ignore[method-assign]
    result = repo.run("copy")
    assert (result.ran, result.failed) == (["copy", "promote"], [])
    assert set(held(repo, "prod.test/shop").values()) == {released.digest}
    assert set(held(repo, "copy.test/shop").values()) == {released.digest}


@pytest.mark.parametrize("tag", ["@{digest}", ":1.2@{digest}"])
def test_a_digest_is_promoted_by_itself(repo: Repo, released: Remote, tag: str) -> None:
    give(repo, "stage.test/shop:1.2", layers="newer")
    start = f"stage.test/shop{tag.format(digest=released.digest)}"
    assert repo.run("promote", overrides={"FROM": start}).ran == ["promote"]
    assert held(repo, "prod.test/shop")["stable"] == released.digest


def test_a_build_id_stands_in_the_reference(repo: Repo, released: Remote) -> None:
    repo.pipefile('publish("promote", image=f"stage.test/shop:{BUILD_ID}", to="prod.test/shop", tags=BUILD_ID)\n')
    assert repo.run("promote", overrides={"BUILD_ID": "1.2"}).ran == ["promote"]
    assert held(repo, "prod.test/shop") == {"1.2": released.digest}


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        ("stage.test/shop:1.3", "did you mean 1.2"),
        ("stage.test/shop:nightly", "it holds 1.2"),
        ("stage.test/shoe:1.2", "stage.test/shoe holds no tags"),
        ("promote", "'promote' is a target of this Pipefile"),
    ],
)
def test_what_is_not_there_is_an_error_with_what_is(repo: Repo, released: Remote, start: str, hint: str) -> None:
    result = repo.run("promote", overrides={"FROM": start})
    assert result.failed == ["promote"]
    assert f"there is no {start} to promote" in result.error_of("promote")
    assert hint in result.error_of("promote")
    with pytest.raises(ImgmakeError, match="to promote"):
        plan(repo, "promote", overrides={"FROM": start})


def test_a_targets_name_is_asked_of_no_registry(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """`image="app"` is somewhere on Docker Hub, too: that it could not be reached was all that one heard."""

    def silent(reference: str) -> Remote | None:
        raise RegistryError(f"{reference} does not answer")

    monkeypatch.setattr(repo.registry, "resolve", silent)
    repo.pipefile('phony("app")\npublish("push", image="app", to="stage.test/app", tags="1")\n')
    assert "'app' is a target of this Pipefile: give its rule" in repo.run("push").error_of("push")


def test_nothing_is_begun_after_a_publication_that_could_not_even_be_judged(repo: Repo) -> None:
    """One job more was, without -k: what was ready beside it, in the same round."""
    promote = 'publish("promote", image="stage.test/shop:1.3", to="prod.test/shop", tags="1.3")\n'
    repo.pipefile(promote + 'phony("late", sh("touch late"))\nphony("all", "promote", "late")\n')
    assert repo.run("all", jobs=1).failed == ["promote"]
    assert not (repo.path / "late").exists()
    assert repo.run("all", jobs=1, keep_going=True).failed == ["promote"]
    assert (repo.path / "late").exists()


def test_promotion_keeps_the_promises_of_tags(repo: Repo, released: Remote) -> None:
    repo.run("promote")
    older = give(repo, "stage.test/shop:1.1", layers="older", org_opencontainers_image_revision=COMMITS[0])
    told = table(repo, "promote", overrides={"FROM": "stage.test/shop:1.1"})
    assert {tag: action for tag, (action, _) in told.items()} == {"1.2.0": "refuse", "stable": "refuse"}
    with pytest.raises(Problems):
        repo.run("promote", overrides={"FROM": "stage.test/shop:1.1"}, allow_rollback=False)
    repo.pipefile(PROMOTE.replace('["1.2.0", "stable"]', '"stable"'))
    assert repo.run("promote", overrides={"FROM": "stage.test/shop:1.1"}, allow_rollback=True).ran == ["promote"]
    assert held(repo, "prod.test/shop")["stable"] == older.digest


def test_the_same_image_by_another_manifest_is_no_news_for_a_version(repo: Repo, released: Remote) -> None:
    """Stores write manifests of one configuration in their own ways; a moving tag gets the very digest."""
    repo.run("promote")
    for tag in ("1.2.0", "stable"):
        name = f"prod.test/shop:{tag}"
        repo.registry.remotes[name] = replace(repo.registry.remotes[name], digest="sha256:" + "d" * 64)
    assert {t: action for t, (action, _) in table(repo, "promote").items()} == {"1.2.0": "leave", "stable": "move"}


def test_what_is_required_and_not_shown_is_refused_with_a_list(repo: Repo, released: Remote) -> None:
    repo.pipefile(PROMOTE.replace("tags=", 'requires=["image-tests", "scan"], tags='))
    told = table(repo, "promote")
    assert {action for action, _ in told.values()} == {"refuse"}
    with pytest.raises(Refused, match="image-tests: no result; scan: no result"):
        repo.run("promote")
    assert held(repo, "prod.test/shop") == {}


def test_what_a_run_makes_needs_the_checks_that_it_requires(repo: Repo) -> None:
    repo.pipefile(LATEST.replace("tags=[", 'requires="lint", tags=[') + 'check("lint", "app.txt", sh("false"))\n')
    result = repo.run("push")
    assert (result.failed, held(repo)) == (["lint"], {})
    repo.pipefile(LATEST.replace("tags=[", 'requires="lnt", tags=[') + 'check("lint", "app.txt", sh("true"))\n')
    with pytest.raises(GraphError, match="needs the check 'lnt', which is no target") as told:
        repo.run("push")
    assert told.value.hint == "did you mean 'lint'?"
    repo.pipefile(LATEST.replace("tags=[", 'requires="app", tags=['))
    with pytest.raises(GraphError, match="requires 'app', which is no check but of kind image"):
        repo.run("push")


def test_an_index_of_references_is_refused(repo: Repo) -> None:
    repo.pipefile(APP + f'publish("push", image=[app, "stage.test/arm:1"], to="{HERE}", tags="1")\n')
    with pytest.raises(GraphError, match=r"no rule makes the image 'stage.test/arm:1'"):
        repo.run("push")


def test_what_one_rule_publishes_another_promotes_in_the_same_run(repo: Repo) -> None:
    repo.pipefile(
        LATEST + f'publish("promote", "push", image=f"{HERE}:{{BUILD_ID}}", to="prod.test/shop", tags=BUILD_ID)\n'
    )
    assert {c.after for c in plan(repo, "promote").values()} == {""}
    result = repo.run("promote", overrides={"BUILD_ID": "b1"})
    assert (result.ran, result.failed) == (["app", "promote", "push"], [])
    assert held(repo, "prod.test/shop")["b1"] == held(repo)["b1"]


# --- what is told ---------------------------------------------------------------------------------------------


def test_what_many_tags_share_is_said_once(repo: Repo) -> None:
    repo.pipefile(LATEST)
    with repo.session(read_only=True) as (session, _):
        node = session.node("push")
    change = TagChange("r.test/a:1", TagAction.REFUSE, "", "", "is wrong", hint="mend it")
    tags = tuple(change._replace(reference=f"r.test/a:{number}") for number in range(1, 7))
    assert [str(error) for error in refusals([Publication(node, (), None, tags)])] == [
        "Pipefile.py:3: r.test/a:1 is wrong\n  so it is with r.test/a:2, r.test/a:3, r.test/a:4 and 2 more\n  mend it"
    ]
