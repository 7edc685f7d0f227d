"""Images and publishing, run in a temporary repository against a fake engine and registry."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from imgmake import stamp
from imgmake.commands import owner
from imgmake.errors import BuildError, EngineError, EngineUnavailable, Refused
from tests.fake_images import full_name
from tests.unit.runs import Repo

DOCKERFILE = """\
FROM debian:12 AS runtime
COPY app.txt /
ARG BUILD_ID
ARG VCS_REF
LABEL org.label-schema.version=$BUILD_ID org.label-schema.vcs-ref=$VCS_REF
"""
PIPEFILE = 'app = image("app", tags=f"shop:{BUILD_ID}")\n'


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    found = Repo(tmp_path).pipefile(PIPEFILE).put("Dockerfile", DOCKERFILE).put("app.txt", "1")
    engine(found).commit_image("debian:12", layers=["sha256:debian"])
    return found


def engine(repo: Repo):  # type: ignore[no-untyped-def]
    assert repo.engine is not None
    return repo.engine


def image_of(repo: Repo, reference: str):  # type: ignore[no-untyped-def]
    found = engine(repo).image(reference)
    assert found is not None, f"no image {reference} among {sorted(engine(repo).names)}"
    return found


def only_build_id(repo: Repo) -> str:
    names: list[str] = [name.rpartition(":")[2] for name in engine(repo).names if name.startswith("shop:")]
    assert len(names) == 1, names
    return names[0]


def test_an_image_is_built_stamped_and_tagged_and_then_up_to_date(repo: Repo) -> None:
    first = repo.run("app")
    assert first.ran == ["app"]
    build_id = only_build_id(repo)
    assert build_id == "20190702-223619-ade3d65"
    seal = stamp.read(image_of(repo, f"shop:{build_id}"))
    assert seal is not None
    assert seal.metadata["BUILD_ID"] == build_id
    assert image_of(repo, f"shop:{build_id}").labels["org.opencontainers.image.version"] == build_id
    assert repo.run("app").ran == []
    assert only_build_id(repo) == build_id
    assert len(repo.builder.requests) == 1


def test_no_pin_is_left_in_the_engine(repo: Repo) -> None:
    repo.run("app")
    assert not [name for name in engine(repo).names if "imgmake-pin" in name]


def test_equal_images_of_two_rules_do_not_take_each_others_away(repo: Repo) -> None:
    """BuildKit gave both one image; the first removed it when its stamp was set, and the other's was no more."""
    repo.pipefile('phony("all", image("a", tags="a:1"), image("b", tags="b:1"))\n')
    assert repo.run("all").ran == ["a", "b"]
    removed = [line[1] for line in engine(repo).log if line[0] == "remove"]
    assert len(set(removed)) == 2
    assert all(owner.LABEL not in image_of(repo, name).labels for name in ("a:1", "b:1"))
    assert repo.run("all").ran == []


def test_what_was_built_goes_when_its_stamp_cannot_be_set(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure after the build left an image without a name, of the full size, each time."""

    def fails(*_: object, **__: object) -> None:
        raise EngineError("the engine could not load an image")

    monkeypatch.setattr(engine(repo), "relabel", fails)
    before = set(engine(repo).by_id)
    assert repo.run("app").failed == ["app"]
    assert set(engine(repo).by_id) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda repo: repo.put("app.txt", "2"), "app.txt changed"),
        (lambda repo: (repo.path / "app.txt").chmod(0o755), "app.txt changed"),
        (lambda repo: repo.put("Dockerfile", DOCKERFILE.replace("/\n", "/srv/\n")), "COPY app.txt /srv/"),
        (lambda repo: repo.pipefile(PIPEFILE.replace("tags", 'labels={"a": "b"}, tags')), "label a is new"),
    ],
)
def test_what_makes_an_image_stale_and_why(repo: Repo, change: object, reason: str) -> None:
    repo.run("app")
    change(repo)  # type: ignore[operator]
    assert reason in " ".join(r.text for r in repo.reasons("app"))
    assert repo.run("app").ran == ["app"]
    assert repo.run("app").ran == []


@pytest.mark.parametrize(
    "change",
    [
        lambda repo: repo.put("README.md", "not copied"),
        lambda repo: repo.put("Dockerfile", "# a comment\n" + DOCKERFILE),
        lambda repo: repo.put("Dockerfile", DOCKERFILE + "FROM scratch AS other\n").pipefile(
            'app = image("app", stage="runtime", tags=f"shop:{BUILD_ID}")\n'
        ),
        lambda repo: setattr(repo.git, "commit", "b" * 40),
        lambda repo: repo.clock.tick(86400),
        lambda repo: repo.pipefile(
            PIPEFILE.replace('"app"', '"renamed"').replace("app =", 'phony("app", "renamed")\nx =')
        ),
    ],
)
def test_what_does_not_make_an_image_stale(repo: Repo, change: object) -> None:
    repo.run("app")
    change(repo)  # type: ignore[operator]
    assert repo.run("app").ran == []
    assert len(repo.builder.requests) == 1


def test_without_records_the_stamp_alone_says_that_an_image_is_up_to_date(repo: Repo) -> None:
    repo.run("app")
    (repo.path / ".imgmake" / "state.db").unlink()
    assert repo.run("app").ran == []


def test_a_removed_image_is_missing(repo: Repo) -> None:
    repo.run("app")
    build_id = only_build_id(repo)
    found = image_of(repo, f"shop:{build_id}")
    engine(repo).untag(f"shop:{build_id}")
    engine(repo).remove(found.id)
    assert [r.code for r in repo.reasons("app")] == ["missing"]
    assert repo.run("app").ran == ["app"]


def test_a_given_build_id_only_adds_a_tag(repo: Repo) -> None:
    repo.run("app")
    before = image_of(repo, f"shop:{only_build_id(repo)}")
    result = repo.run("app", overrides={"BUILD_ID": "x"})
    assert result.ran == []
    assert image_of(repo, "shop:x").id == before.id
    assert "shop:x" in result.outcome("app").verdict.note


def test_a_build_id_tag_never_moves(repo: Repo) -> None:
    repo.run("app", overrides={"BUILD_ID": "x"})
    before = image_of(repo, "shop:x").id
    repo.put("app.txt", "2")
    result = repo.run("app", overrides={"BUILD_ID": "x"})
    assert isinstance(result.outcome("app").error, Refused)
    assert image_of(repo, "shop:x").id == before
    assert len(repo.builder.requests) == 1, "refused before a build is paid for"
    assert repo.run("app", overrides={"BUILD_ID": "x"}, always_make=True).ran == ["app"]
    assert image_of(repo, "shop:x").id != before


def test_a_prerequisite_under_a_given_build_id_is_taken_as_it_is(repo: Repo) -> None:
    """`imgmake tag TAG=1.0.0 BUILD_ID=x` tags the image under x, though the source has moved on."""
    repo.pipefile(PIPEFILE + 'phony("tag", tag(app, f"shop:{var(\'TAG\')}"))\n')
    repo.run("app", overrides={"BUILD_ID": "x"})
    built = image_of(repo, "shop:x").id
    repo.put("app.txt", "2")
    result = repo.run("tag", overrides={"BUILD_ID": "x", "TAG": "1.0.0"})
    assert result.ran == ["tag"]
    assert image_of(repo, "shop:1.0.0").id == built
    assert any("moved on" in note for note in result.reporter.notes)


def test_tag_right_after_a_build_tags_the_image_just_built(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'phony("tag", tag(app, f"shop:{var(\'TAG\')}"))\n')
    repo.run("app")
    built = image_of(repo, f"shop:{only_build_id(repo)}").id
    repo.clock.tick(3600)
    assert repo.run("tag", overrides={"TAG": "1.0.0"}).ran == ["tag"]
    assert image_of(repo, "shop:1.0.0").id == built


def test_metadata_alone_is_that_of_the_default_goal(repo: Repo) -> None:
    repo.pipefile(
        PIPEFILE + 'image("extra", tags=f"extra:{BUILD_ID}")\n'
        'phony("metadata", sh("echo is $BUILD_ID > id"))\ndefault("app")\n'
    )
    repo.run("app")
    repo.clock.tick(60)
    repo.run("metadata")
    assert repo.read("id") == f"is {only_build_id(repo)}\n"


def test_two_builds_in_one_second_get_two_build_ids(repo: Repo) -> None:
    repo.run("app")
    repo.clock.tick(-1)
    repo.put("app.txt", "2")
    repo.run("app")
    assert len([name for name in engine(repo).names if "shop:" in name]) == 2


def test_a_moved_base_makes_an_image_stale_and_an_absent_one_does_not(repo: Repo) -> None:
    repo.run("app")
    old = image_of(repo, "debian:12").id
    engine(repo).untag("debian:12")
    assert repo.run("app").ran == []
    engine(repo).commit_image("debian:12", layers=["sha256:newer"])
    assert "base debian:12 moved" in repo.reasons("app")[0].text
    assert repo.run("app").ran == ["app"]
    assert old != image_of(repo, "debian:12").id


def test_a_pruned_base_with_triggers_is_unknown_too(repo: Repo) -> None:
    engine(repo).commit_image("debian:12", layers=["sha256:debian"], config={"OnBuild": ["COPY app.txt /on"]})
    repo.put("Dockerfile", "FROM debian:12\n")
    repo.run("app")
    engine(repo).untag("debian:12")
    assert repo.run("app").ran == []
    repo.put("app.txt", "2")
    assert "app.txt changed" in " ".join(r.text for r in repo.reasons("app"))


def test_an_engine_that_goes_away_during_a_build_is_the_error(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> str:
        monkeypatch.setattr(repo.engine, "image", lost)
        raise BuildError("cannot write iid because server did not provide an image ID")

    def lost(reference: str) -> None:
        raise EngineUnavailable("no container engine answers", hint="start it")

    monkeypatch.setattr(repo.builder, "build", gone)
    monkeypatch.setattr(repo.engine, "untag", lost)
    assert "went away while image 'app' was built\n  start it" in repo.run("app").error_of("app")


def test_a_missing_base_is_pulled(repo: Repo) -> None:
    base = image_of(repo, "debian:12")
    engine(repo).untag("debian:12")
    engine(repo).upstream["debian:12"] = base
    assert repo.run("app").ran == ["app"]


@pytest.mark.parametrize("layers", [("sha256:base", "sha256:more"), None])
def test_a_child_or_a_commit_that_inherits_our_labels_is_not_the_rules_image(repo: Repo, layers: object) -> None:
    repo.run("app")
    build_id = only_build_id(repo)
    ours = image_of(repo, f"shop:{build_id}")
    config = {**ours.config} if layers else {**ours.config, "Cmd": ["other"]}
    engine(repo).untag(f"shop:{build_id}")
    engine(repo).remove(ours.id)
    engine(repo).commit_image(f"shop:{build_id}", labels=ours.labels, layers=layers or ours.layers, config=config)
    assert "missing" in {r.code for r in repo.reasons("app")}


def test_an_image_of_another_repository_is_not_the_rules_image(repo: Repo) -> None:
    repo.run("app")
    build_id = only_build_id(repo)
    ours = image_of(repo, f"shop:{build_id}")
    engine(repo).tag(ours.id, "other:1")
    engine(repo).untag(f"shop:{build_id}")
    (repo.path / ".imgmake" / "state.db").unlink()
    assert repo.run("app").ran == ["app"]


def test_a_dirty_build_is_not_kept_once_the_tree_is_clean(repo: Repo) -> None:
    repo.git.changed = True
    repo.run("app")
    assert only_build_id(repo).endswith("-dirty")
    assert repo.run("app").ran == []
    repo.git.changed = False
    assert "dirty tree" in repo.reasons("app")[0].text
    assert repo.run("app").ran == ["app"]
    assert repo.run("app").ran == []


def test_a_dirty_image_is_not_released_under_a_given_build_id(repo: Repo) -> None:
    repo.git.changed = True
    repo.run("app")
    repo.git.changed = False
    assert repo.run("app", overrides={"BUILD_ID": "rel1"}).ran == ["app"]
    assert image_of(repo, "shop:rel1").labels["org.opencontainers.image.version"] == "rel1"


def test_a_siblings_image_in_the_same_repository_is_no_reason(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'image("debug", labels={"a": "b"}, tags=f"shop:{BUILD_ID}-debug")\n')
    repo.run("app")
    assert [r.text for r in repo.reasons("debug")] == ["it has not been built here before"]


def test_going_back_to_an_older_source_finds_the_older_image(repo: Repo) -> None:
    repo.run("app")
    first = image_of(repo, f"shop:{only_build_id(repo)}").id
    repo.put("app.txt", "2")
    repo.run("app")
    repo.put("app.txt", "1")
    assert repo.run("app").ran == []
    assert len(repo.builder.requests) == 2
    with repo.session() as (session, _):
        record = session.run.world.state.record("app")
    assert record is not None
    assert record.outputs[0].value == first


def test_an_image_from_an_image_follows_it_by_content(repo: Repo) -> None:
    repo.pipefile(
        'base = image("base", tags="base:1", dockerfile="base.df")\nimage("app", tags=f"shop:{BUILD_ID}")\n'
    ).put("base.df", "FROM debian:12\nCOPY base.txt /\n").put("base.txt", "1")
    repo.put("Dockerfile", "FROM base:1\nCOPY app.txt /\n")
    assert repo.run("app").ran == ["app", "base"]
    assert repo.run("app").ran == []
    repo.put("base.txt", "2")
    assert repo.run("app").ran == ["app", "base"]


def test_a_check_of_an_image_follows_its_content_not_its_stamp(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'check("tests", sh("true", IMAGE=app), max_age="9d")\n')
    assert repo.run("tests").ran == ["app", "tests"]
    assert repo.run("app", always_make=True).ran == ["app"]
    assert repo.run("tests").ran == []
    repo.put("app.txt", "2")
    assert repo.run("tests").ran == ["app", "tests"]


def test_a_generated_file_that_the_dockerfile_copies_is_made_first(repo: Repo) -> None:
    repo.pipefile('file("app.txt", "in", sh("cat in > app.txt"))\n' + PIPEFILE).put("in", "1")
    (repo.path / "app.txt").unlink()
    assert repo.run("app", jobs=4).ran == ["app", "app.txt"]


def test_a_report_made_from_the_image_stays_out_of_its_context(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'file("report.html", sh("echo $IMAGE > report.html", IMAGE=app))\n')
    repo.put("Dockerfile", "FROM debian:12\nCOPY . /\n").put(".dockerignore", "log\n")
    result = repo.run("report.html")
    assert result.ran == ["app", "report.html"]
    assert repo.run("report.html").ran == [], "the report is no input of the image that it reports on"
    assert any("report.html" in note for note in result.reporter.notes)


def test_an_argument_that_reaches_content_counts_and_metadata_in_it_is_judged_at_the_images_own_value(
    repo: Repo,
) -> None:
    repo.pipefile('var("LEVEL", "1")\n' + PIPEFILE)
    repo.put("Dockerfile", "FROM debian:12\nARG LEVEL\nARG BUILD_ID\nRUN echo $LEVEL $BUILD_ID > /x\n")
    repo.run("app")
    repo.clock.tick(5)
    assert repo.run("app").ran == []
    assert repo.run("app", overrides={"LEVEL": "2"}).ran == ["app"]


@pytest.mark.parametrize(
    ("rule", "dockerfile"),
    [
        ('build_args={"X": f"{LEVEL}-{BUILD_ID}"},', "FROM debian:12\nARG X\nLABEL x=$X\n"),
        ('labels={"x": f"{LEVEL}-{BUILD_ID}"},', "FROM debian:12\n"),
        ("", "FROM debian:12\nARG MIXED\nLABEL x=$MIXED\n"),
    ],
)
@pytest.mark.parametrize("level", ['"{}"', 'sh("echo {}")'])
def test_a_label_that_mixes_metadata_with_a_choice_counts_by_the_choice(
    repo: Repo, rule: str, dockerfile: str, level: str
) -> None:
    pipefile = 'LEVEL = var("LEVEL", %s)\nvar("MIXED", f"{LEVEL}-{BUILD_ID}")\n' + PIPEFILE.replace(
        "tags", f"{rule} tags"
    )
    repo.pipefile(pipefile % level.format(1)).put("Dockerfile", dockerfile)
    repo.run("app")
    repo.clock.tick(5)
    assert repo.run("app").ran == []
    assert repo.run("app", overrides={"BUILD_ID": "later"}).ran == []
    repo.pipefile(pipefile % level.format(2))
    assert "1-${BUILD_ID} -> 2-${BUILD_ID}" in " ".join(r.text for r in repo.reasons("app"))


def test_a_named_context_whose_folder_a_variable_names_counts_by_its_files(repo: Repo) -> None:
    repo.pipefile('D = var("D", sh("echo lib"))\n' + PIPEFILE.replace("tags", 'contexts={"more": D}, tags'))
    repo.put("Dockerfile", "FROM debian:12\nCOPY --from=more a /\n").put("lib/a", "1")
    repo.run("app")
    repo.put("lib/a", "2")
    assert "lib" in " ".join(r.text for r in repo.reasons("app"))


# --- publishing -----------------------------------------------------------------------------------------------

PUBLISH = PIPEFILE + 'publish("push", image=app, to="registry.test/shop", tags=BUILD_ID)\n'


def test_publish_pushes_once(repo: Repo) -> None:
    repo.pipefile(PUBLISH)
    assert repo.run("push").ran == ["app", "push"]
    build_id = only_build_id(repo)
    assert repo.registry.resolve(f"registry.test/shop:{build_id}") is not None
    assert repo.run("push").ran == []


def test_a_fresh_clone_with_an_empty_engine_builds_and_pushes_nothing(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile('file("app.txt", "in", sh("cat in > app.txt"))\n' + PUBLISH).put("in", "1")
    repo.run("push")
    clone = Repo(tmp_path / "clone", registry=repo.registry)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "in"):
        clone.put(name, repo.read(name))
    result = clone.run("push")
    assert result.ran == []
    assert clone.builder.requests == []
    clone.put("in", "2")
    assert clone.reasons("push")


def test_the_registry_alone_answers_where_there_is_no_engine(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(PUBLISH)
    repo.run("push")
    clone = Repo(tmp_path / "clone", registry=repo.registry, engine=None)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "app.txt"):
        clone.put(name, repo.read(name))
    assert clone.run("push").failed == []
    clone.put("app.txt", "2")
    assert "no container engine" in clone.run("push").error_of("app")


def test_a_push_that_failed_is_tried_again(repo: Repo) -> None:
    repo.pipefile(PUBLISH)
    repo.run("app")
    repo.registry.refuses.add("registry.test/shop:x")
    assert repo.run("push", overrides={"BUILD_ID": "x"}).failed == ["push"]
    repo.registry.refuses.clear()
    assert repo.run("push", overrides={"BUILD_ID": "x"}).ran == ["push"]
    assert repo.registry.resolve("registry.test/shop:x") is not None


def test_publish_needs_every_check_that_names_its_image(repo: Repo) -> None:
    repo.pipefile(PUBLISH + 'check("tests", sh("false", IMAGE=app), max_age="1d")\n')
    result = repo.run("push")
    assert result.failed == ["tests"]
    assert "push" not in result.ran


def test_labels_of_the_image_stay_when_only_a_tag_is_added(repo: Repo) -> None:
    repo.run("app")
    build_id = only_build_id(repo)
    repo.run("app", overrides={"BUILD_ID": "later"})
    assert image_of(repo, "shop:later").labels["org.opencontainers.image.version"] == build_id
    assert replace(image_of(repo, "shop:later"), tags=()) == replace(image_of(repo, f"shop:{build_id}"), tags=())


def test_cleaning_in_a_dry_run_leaves_the_image(repo: Repo) -> None:
    repo.run("app")
    tag = f"shop:{only_build_id(repo)}"
    with repo.session(read_only=True, dry_run=True) as (session, _):
        assert session.clean(["app"]) == [tag]
    assert engine(repo).image(tag) is not None
    with repo.session() as (session, _):
        assert session.clean(["app"]) == [tag]
    assert engine(repo).image(tag) is None


def test_an_image_may_copy_a_file_that_holds_the_build_id(repo: Repo) -> None:
    repo.pipefile('file("v.txt", "in", sh("echo $BUILD_ID > $out"))\nimage("app", tags=f"shop:{BUILD_ID}")\n')
    repo.put("Dockerfile", "FROM scratch\nCOPY v.txt /\n").put("in", "1")
    assert repo.run("app").ran == ["app", "v.txt"]
    assert repo.read("v.txt").strip() == only_build_id(repo)
    assert repo.run("app").ran == []
    assert repo.run("app", overrides={"BUILD_ID": "x"}).ran == []
    assert repo.put("in", "2").run("app").ran == ["app", "v.txt"]
    assert f"shop:{repo.read('v.txt').strip()}" in engine(repo).names


def test_a_rule_as_a_build_argument_is_the_base_by_content(repo: Repo) -> None:
    repo.pipefile(PIPEFILE + 'image("child", tags=f"kid:{BUILD_ID}", dockerfile="kid", build_args={"BASE": app})\n')
    repo.put("kid", "ARG BASE\nFROM $BASE\nARG BASE\nRUN echo $BASE\n")
    assert repo.run("child").ran == ["app", "child"]
    build_id = only_build_id(repo)
    assert image_of(repo, f"kid:{build_id}").labels["org.opencontainers.image.base.name"] == f"shop:{build_id}"
    assert repo.builder.requests[-1].build_args == {"BASE": f"shop:{build_id}"}
    assert repo.reasons("child") == []
    assert repo.run("child").ran == []
    assert repo.run("child", overrides={"BUILD_ID": "later"}).ran == []
    repo.put("app.txt", "2")
    assert repo.run("child").ran == ["app", "child"]


@pytest.mark.parametrize("tag", ["shop:{FINGERPRINT}", "shop:{BUILD_ID}-{FINGERPRINT}"])
def test_a_tag_may_hold_the_fingerprint(repo: Repo, tag: str) -> None:
    more = 'image("kid", tags="kid:1", dockerfile="kid.df", build_args={"BASE": app})\nphony("t", tag(app, "shop:t"))\n'
    repo.pipefile(f'app = image("app", tags=f"{tag}")\n{more}').put("kid.df", "ARG BASE\nFROM $BASE\n")
    assert repo.run("kid").ran == ["app", "kid"]
    assert repo.run("kid").ran == []
    (name,) = [name for name in engine(repo).names if name.startswith("shop:")]
    seal = stamp.read(image_of(repo, name))
    assert seal is not None
    assert seal.fingerprint[:12] in name
    assert repo.run("t").failed == []
    repo.put("app.txt", "2")
    assert repo.forecast("kid", "t")["app"].lines
    assert repo.run("kid").ran == ["app", "kid"]


def test_a_tag_beside_the_build_id_moves_on(repo: Repo) -> None:
    repo.pipefile(
        'app = image("app", tags=[f"shop:{BUILD_ID}", "shop:latest", f"shop:{FINGERPRINT}"])\n'
        'publish("push", image=app, to="registry.test/shop", tags=[BUILD_ID, "latest", semver(var("V", "1.2.3"))])\n'
    )
    assert repo.run("push").ran == ["app", "push"]
    repo.put("app.txt", "2")
    repo.environ["V"] = "1.2.4"
    assert repo.run("push").ran == ["app", "push"]
    newest = repo.registry.resolve("registry.test/shop:latest")
    assert newest is not None
    assert [one.id for one in newest.images] == [image_of(repo, "shop:latest").id]
    assert repo.run("push").ran == []


TWO_PLATFORMS = (
    'app = image("app", tags=f"shop:{BUILD_ID}", platforms=["linux/amd64", "linux/arm64"])\n'
    'publish("push", image=app, to="registry.test/shop", tags=BUILD_ID)\n'
)


def test_each_platform_is_taken_under_a_given_build_id(repo: Repo) -> None:
    repo.pipefile(TWO_PLATFORMS).put("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n")
    repo.put("amd64", "1").put("arm64", "1")
    assert repo.run("push").ran == ["app", "app@linux/arm64", "push"]
    assert repo.run("push", overrides={"BUILD_ID": "x"}).ran == ["push"]
    again = repo.run("push", overrides={"BUILD_ID": "x"})
    assert (again.ran, again.failed) == ([], [])
    repo.put("arm64", "2")
    assert repo.run("push").ran == ["app@linux/arm64", "push"]
    assert repo.run("push").ran == []


def test_each_platforms_image_has_a_tag_of_its_own(repo: Repo) -> None:
    """`docker image prune` removed those of other platforms, and without records they were built again."""
    repo.pipefile(TWO_PLATFORMS.replace("tags=f", "tags=['shop', f").replace('}", pl', '}"], pl'))
    repo.put("Dockerfile", "FROM scratch\nCOPY app.txt /\n")
    assert repo.run("push").ran == ["app", "app@linux/arm64", "push"]
    build_id = repo.registry.tags("registry.test/shop:any")[0]
    both = {image_of(repo, f"shop:{tag}{end}").id for tag in ("latest", build_id) for end in ("", "-linux-arm64")}
    assert len(both) == 2
    shutil.rmtree(repo.path / ".imgmake")
    assert repo.run("push").ran == []
    engine(repo).untag("shop:latest-linux-arm64")
    assert repo.forecast("push")["app@linux/arm64"].lines[0].endswith(" shop:latest-linux-arm64")
    assert repo.run("push", overrides={"BUILD_ID": "x"}).ran == ["push"]
    assert image_of(repo, "shop:x-linux-arm64").architecture == "arm64"
    repo.put("app.txt", "2")
    assert repo.run("app@linux/arm64", overrides={"BUILD_ID": "x"}).failed == ["app@linux/arm64"]
    assert repo.run("push").ran == ["app", "app@linux/arm64", "push"]


def test_cleaning_takes_every_platform_and_no_sibling(repo: Repo) -> None:
    repo.pipefile(TWO_PLATFORMS + 'image("debug", labels={"a": "b"}, tags="shop:debug")\n')
    repo.put("Dockerfile", "FROM scratch\nCOPY app.txt /\n")
    repo.run("push")
    repo.run("debug")
    repo.pipefile(PIPEFILE + 'image("debug", labels={"a": "b"}, tags="shop:debug")\n')
    with repo.session() as (session, _):
        assert len(session.clean(["app"])) == 2
    assert [name for name in engine(repo).names if name.startswith("shop:")] == ["shop:debug"]


def test_an_image_of_another_platform_as_a_named_context(repo: Repo) -> None:
    repo.pipefile(
        'base = image("base", tags="base:1", platforms="linux/amd64,linux/arm64")\n'
        'image("app", platforms="linux/amd64,linux/arm64", contexts={"base": base}, dockerfile="app.df")\n'
    ).put("app.df", "FROM base\n").put("Dockerfile", "FROM scratch\nCOPY app.txt /\n")
    repo.run("app", "app@linux/arm64")
    made = [request.contexts["base"] for request in repo.builder.requests if request.contexts]
    assert made == ["docker-image://base:1", "docker-image://base:1-linux-arm64"]


def test_a_fresh_clone_needs_no_base_that_is_not_published(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(
        'base = image("base", tags=f"base:{BUILD_ID}")\n'
        'app = image("app", tags=f"shop:{BUILD_ID}", dockerfile="app.df", build_args={"BASE": base})\n'
        'publish("push", image=app, to="registry.test/shop", tags=BUILD_ID)\n'
    ).put("app.df", "ARG BASE\nFROM $BASE\n")
    assert repo.run("push").ran == ["app", "base", "push"]
    repo.clock.tick(3600)
    clone = Repo(tmp_path / "clone", registry=repo.registry, clock=repo.clock)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "app.txt", "app.df"):
        clone.put(name, repo.read(name))
    assert clone.run("push").ran == []


def test_a_clone_copies_to_a_second_repository_what_the_first_holds(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(PUBLISH)
    repo.run("push")
    clone = Repo(tmp_path / "clone", registry=repo.registry, clock=repo.clock)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "app.txt"):
        clone.put(name, repo.read(name))
    clone.put(
        "Pipefile.py",
        repo.read("Pipefile.py").replace('to="', 'to=["other.test/shop", "').replace('shop", tags', 'shop"], tags'),
    )
    new, old = (f"{to}/shop:{only_build_id(repo)}" for to in ("other.test", "registry.test"))
    digest = repo.registry.remotes[old].digest
    line = f"docker buildx imagetools create --prefer-index=false -t {new} registry.test/shop@{digest}"
    assert clone.forecast("push")["push"].lines == (line,)
    result = clone.run("push")
    assert (result.ran, result.reporter.outputs["push"].notes) == (["push"], [f"tag {new} -> {digest[:19]}"])
    held = [clone.registry.resolve(f"{to}/shop:{only_build_id(repo)}") for to in ("other.test", "registry.test")]
    assert held[0] is not None
    assert held[1] is not None
    assert held[0].digest == held[1].digest
    assert clone.run("push").ran == []


@pytest.mark.parametrize("rule", ["pull=True", 'max_age="1h"'])
def test_what_the_registry_holds_may_be_too_old_or_from_a_moved_base(repo: Repo, tmp_path: Path, rule: str) -> None:
    def offer(repo: Repo, *layers: str) -> None:
        base = engine(repo).commit_image("debian:12", layers=layers)
        engine(repo).upstream[full_name("debian:12")] = base
        repo.registry.put([base], "debian:12")

    repo.pipefile(PUBLISH.replace('"app",', f'"app", {rule},'))
    offer(repo, "sha256:debian")
    repo.run("push")
    clone = Repo(tmp_path / "clone", registry=repo.registry, clock=repo.clock)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "app.txt"):
        clone.put(name, repo.read(name))
    assert clone.run("push").ran == []
    repo.clock.tick(7200)
    offer(clone, "sha256:newer")
    result = clone.run("push")
    assert (result.ran, [str(o.error) for o in result.outcomes if o.error]) == (["app", "push"], [])
    assert clone.run("push").ran == []


def test_a_published_dirty_image_is_built_again_once_the_tree_is_clean(repo: Repo) -> None:
    repo.pipefile(PUBLISH)
    repo.git.changed = True
    assert repo.run("push", allow_dirty=True).ran == ["app", "push"]
    assert repo.run("push").ran == []
    repo.git.changed = False
    assert repo.run("push").ran == ["app", "push"]
    assert repo.run("push").ran == []


def test_an_image_that_gained_a_dirty_build_id_gets_a_clean_one(repo: Repo) -> None:
    more = 'b = image("b", tags=f"b:{BUILD_ID}", dockerfile="b.df")\nphony("all", app, b)\n'
    repo.pipefile(PIPEFILE + more).put("b.df", "FROM debian:12\nCOPY b.txt /\n").put("b.txt", "1")
    repo.run("all")
    repo.git.changed = True
    repo.put("b.txt", "2")
    assert repo.run("all").ran == ["b"]
    repo.git.changed = False
    assert repo.run("app").ran == []
    assert repo.run("all").ran == ["b"]
    names = [name for name in engine(repo).names if name.startswith("shop:") and not name.endswith("-dirty")]
    assert len(names) == 2
    repo.git.log.clear()
    assert repo.run("all").ran == []
    assert "dirty" not in repo.git.log, "an older dirty BUILD_ID would start git on every run from now on"


@pytest.mark.parametrize(
    "rule",
    [
        'check("t", structure_test(app, "t.yaml", report="rep/a/t.xml"))',
        'check("t", run(app, "x", stdout="rep/a/t.xml"))',
        'file("rep/a/t.xml", run(app, "x", stdout="rep/a/t.xml"))\nphony("t", "rep/a/t.xml")',
    ],
)
def test_what_is_reported_on_an_image_is_not_in_it(repo: Repo, rule: str) -> None:
    repo.pipefile(f"{PIPEFILE}{rule}\n").put("Dockerfile", "FROM scratch\nCOPY . /\n").put("t.yaml", "")
    repo.run("app")
    for text in ("1", "2"):
        repo.put("rep/a/t.xml", text)
        assert repo.run("app").ran == []
    assert repo.put("rep/notes", "1").run("app").ran == ["app"]


def test_the_umask_of_a_clone_does_not_count_in_a_registry(repo: Repo, tmp_path: Path) -> None:
    repo.pipefile(PUBLISH)
    repo.run("push")
    clone = Repo(tmp_path / "clone", registry=repo.registry, clock=repo.clock)
    (tmp_path / "clone").mkdir()
    for name in ("Pipefile.py", "Dockerfile", "app.txt"):
        clone.put(name, repo.read(name))
    (clone.path / "app.txt").chmod(0o600)
    assert clone.run("push").ran == []
    (clone.path / "app.txt").chmod(0o700)
    assert clone.reasons("push")


def test_what_is_taken_as_old_hides_no_other_change(repo: Repo) -> None:
    repo.put("Dockerfile", "FROM scratch\nCOPY . /\n").put("a", "1").put("b", "1").run("app")
    repo.put("a", "2")
    assert repo.run("app", old_file=("a",)).ran == []
    shutil.rmtree(repo.path / ".imgmake")
    assert repo.run("app", old_file=("a",)).ran == []
    repo.put("b", "2")
    shutil.rmtree(repo.path / ".imgmake")
    assert [reason.text for reason in repo.reasons("app", old_file=("a",))] == ["a changed", "b changed"]
    assert repo.run("app", old_file=("a",)).ran == ["app"]


def test_an_image_called_like_its_dockerfile(repo: Repo) -> None:
    """It was told to be a cycle: app.df -> app.df."""
    repo.pipefile('image("app.df", dockerfile="app.df", tags="shop:1")\n').put("app.df", "FROM scratch\nCOPY . /\n")
    assert repo.run("app.df").ran == ["app.df"]
    assert repo.run("app.df").ran == []
    assert repo.put("app.df", "FROM scratch\nCOPY app.txt /\n").run("app.df").ran == ["app.df"]


def test_what_if_and_old_file_name_files_from_the_root(repo: Repo) -> None:
    """Files of a context that is a folder went unrecognised, and so did the Dockerfile."""
    repo.pipefile('image("app", context="sub")\n').put("sub/Dockerfile", "FROM scratch\nCOPY a /\n").put("sub/a", "1")
    repo.run("app")
    for name, told in (("sub/a", "a"), ("sub/Dockerfile", "sub/Dockerfile")):
        assert [reason.text for reason in repo.reasons("app", what_if=(name,))] == [f"{told} is taken as changed (-W)"]
    assert repo.reasons("app", what_if=("a",)) == []
    repo.put("sub/a", "2")
    assert repo.run("app", old_file=("a",)).ran == ["app"]
    repo.put("sub/a", "3")
    assert repo.run("app", old_file=("sub/a",)).ran == []


def test_an_image_as_a_named_context_moves_as_a_base_does(repo: Repo) -> None:
    """It counted by its name only."""
    repo.pipefile('app = image("app", tags="shop:1", contexts={"tools": "docker-image://tools:1"})\n')
    repo.put("Dockerfile", "FROM scratch\nCOPY --from=tools /bin/x /\n")
    engine(repo).commit_image("tools:1", layers=["sha256:one"])
    result = repo.run("app")
    assert result.ran == ["app"]
    assert repo.builder.requests[0].contexts["tools"].startswith("docker-image://imgmake-pin:")
    assert not any("imgmake-pin" in line for line in result.reporter.outputs["app"].commands)
    assert repo.run("app").ran == []
    engine(repo).commit_image("tools:1", layers=["sha256:two"])
    assert repo.reasons("app")[0].text.startswith("base tools:1 moved: sha256:")
    assert repo.run("app").ran == ["app"]
    engine(repo).untag("tools:1")
    assert repo.run("app").ran == []


LINT = 'check("lint", run("tool:1", "x", mounts={"Dockerfile": "/d:ro"}, stdout="rep/lint.txt"))\n'


def test_a_report_of_a_check_is_not_swept_into_an_image(repo: Repo) -> None:
    """Whether the report was there before the image was built hung on the order; the next run built it again."""
    engine(repo).commit_image("tool:1")
    repo.put("rep/notes", "0")
    repo.pipefile(f'{PIPEFILE}{LINT}phony("all", app, "lint")\n').put("Dockerfile", "FROM scratch\nCOPY . /\n")
    assert repo.run("all").ran == ["app", "lint"]
    assert repo.run("all").ran == []
    assert repo.put("rep/notes", "1").run("all").ran == ["app"]


@pytest.mark.parametrize("source", ["rep/lint.txt", "rep"])
def test_a_report_that_a_copy_names_is_needed(repo: Repo, source: str) -> None:
    engine(repo).commit_image("tool:1")
    repo.put("rep/notes", "0")
    repo.pipefile(PIPEFILE + LINT).put("Dockerfile", f"FROM scratch\nCOPY {source} /\n")
    assert repo.run("app").ran == ["app", "lint"]
    assert repo.run("app").ran == []
    assert repo.put("Dockerfile", f"FROM scratch\nCOPY {source} /x\n").run("app").ran == ["app", "lint"]


def test_a_report_of_a_check_that_an_image_needs_is_in_it(repo: Repo) -> None:
    engine(repo).commit_image("tool:1")
    repo.put("rep/notes", "0")
    repo.pipefile(LINT + 'image("app", "lint", tags="shop:1")\n').put("Dockerfile", "FROM scratch\nCOPY . /\n")
    assert repo.run("app").ran == ["app", "lint"]
    assert repo.run("app").ran == []
    assert repo.put("rep/lint.txt", "other").run("app").ran == ["app"]
