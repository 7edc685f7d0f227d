"""The five kinds: what their arguments become, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgmake
from imgmake import references
from imgmake.declare import texts
from imgmake.errors import PipefileError
from imgmake.model import CheckRule, FileRule, ImageRule, Kind, PhonyRule, PublishRule, Rule, Semver
from tests.loading import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "My Shop")


def rules(repository: Repository, text: str) -> list[Rule]:
    return list(repository.load(text).rules)


def image(repository: Repository, arguments: str, before: str = "") -> ImageRule:
    *_, rule = rules(repository, f"{before}\nimage('app', {arguments})\n")
    assert isinstance(rule, ImageRule)
    return rule


# --- the kinds ------------------------------------------------------------------------------------------------


def test_a_file_holds_prerequisites_and_recipe_in_order(repository: Repository) -> None:
    made, grouped = rules(
        repository,
        """
        from pathlib import Path
        a = file("out/a.txt", ["in.txt", (Path("src"), "src/**/*.c")], sh("one"), print, sh("two"), keep=True)
        phony("all", a, after=["first", a])
        """,
    )
    assert isinstance(made, FileRule)
    assert (made.target, made.targets, made.keep, made.kind) == ("out/a.txt", ("out/a.txt",), True, Kind.FILE)
    assert made.parts == ("in.txt", "src", "src/**/*.c")
    assert [getattr(step, "text", step) for step in made.recipe] == ["one", print, "two"]
    assert (grouped.parts, grouped.after) == ((made,), ("first", made))
    assert str(made.place) == "Pipefile.py:3"


def test_one_recipe_may_make_several_files(repository: Repository) -> None:
    (made,) = rules(repository, "file(['./a', 'b/../c/'], sh('touch $out'))")
    assert isinstance(made, FileRule)
    assert (made.target, made.targets) == ("a", ("a", "c"))


def test_a_check_remembers_for_max_age(repository: Repository) -> None:
    text = """
    from datetime import timedelta
    check("a", sh("x"), max_age="1d")
    check("b", sh("x"), max_age=90)
    check("c", sh("x"), max_age=timedelta(hours=2))
    check("d", "src/", sh("x"))
    """
    assert [cast(CheckRule, rule).max_age for rule in rules(repository, text)] == [86400, 90, 7200, None]


def test_an_image_with_nothing_said(repository: Repository) -> None:
    found = image(repository, "")
    assert found.tags == ("myshop-app",)
    assert (found.context, found.dockerfile, found.stage, found.platforms, found.pull) == (".", None, None, (), False)


def test_metadata_in_a_name_has_one_spelling(repository: Repository) -> None:
    """``$BUILD_ID`` was not known for a BUILD_ID: such a tag could move, in a registry too."""
    text = """
    app = image("app", tags="acme/app:$BUILD_ID")
    publish("push", image=app, to="r.example/$VCS_BRANCH", tags=["$BUILD_ID", semver("1.2.3", suffix="-$VCS_TAG")])
    """
    app, push = rules(repository, text)
    assert cast(ImageRule, app).tags == ("acme/app:${BUILD_ID}",)
    assert isinstance(push, PublishRule)
    assert push.to == ("r.example/${VCS_BRANCH}",)
    assert push.tags == ("${BUILD_ID}", Semver(version="1.2.3", suffix="-${VCS_TAG}"))


def test_an_image_with_everything_said(repository: Repository) -> None:
    found = image(
        repository,
        """"lint", tags=["acme/app:1", f"acme/app:{BUILD_ID}"], context=Path("app"), dockerfile="app.df", stage="run",
        build_args={"BASE": base, "N": 3, "DEBUG": True, "FROM": Path("x/y"), "E": ""}, contexts={"lib": "../lib"},
        platforms="linux/amd64, linux/aarch64", secrets=["key.pem", "id=npm,env=NPM"], labels={"a.b": "1"},
        pull=True, max_age="12h", builder="classic", options="--no-cache", after="base", help="the app" """,
        before="from pathlib import Path\nbase = image('base')\nphony('lint')",
    )
    assert found.tags == ("acme/app:1", "acme/app:${BUILD_ID}")
    assert (found.context, found.dockerfile, found.stage) == ("app", "app.df", "run")
    base = found.build_args["BASE"]
    assert found.build_args == {"BASE": base, "N": "3", "DEBUG": "true", "FROM": "x/y", "E": ""}
    assert isinstance(base, ImageRule)
    assert base.target == "base"
    assert found.contexts == {"lib": "../lib"}
    assert found.platforms == ("linux/amd64", "linux/arm64")
    assert found.secrets == ("key.pem", "id=npm,env=NPM")
    assert (found.labels, found.pull, found.max_age, found.builder) == ({"a.b": "1"}, True, 43200, "classic")
    assert (found.options, found.after, found.help, found.parts) == (("--no-cache",), ("base",), "the app", ("lint",))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("['linux/amd64', 'linux/amd64']", ("linux/amd64",)),
        ("'arm64'", ("linux/arm64",)),
        ("'linux/x86_64,linux/arm64/v8'", ("linux/amd64", "linux/arm64")),
        ("'linux/arm,linux/armhf,linux/arm/v6'", ("linux/arm/v7", "linux/arm/v6")),
        ("f'linux/{BUILD_ID}'", ("linux/${BUILD_ID}",)),
    ],
)
def test_platforms_are_spelt_as_images_spell_them(repository: Repository, given: str, found: tuple[str, ...]) -> None:
    assert image(repository, f"platforms={given}").platforms == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("'key.pem'", ("key.pem",)),
        ("{'key': 'certs/key.pem'}", ("id=key,src=certs/key.pem",)),
        ("{'npm': var('NPM', secret=True)}", ("id=npm,env=NPM",)),
        ("'id=a,src=b'", ("id=a,src=b",)),
    ],
)
def test_secrets_become_what_docker_takes(repository: Repository, given: str, found: tuple[str, ...]) -> None:
    assert image(repository, f"secrets={given}").secrets == found


def test_publish_takes_a_rule_a_reference_or_several(repository: Repository) -> None:
    text = """
    app = image("app")
    tested = check("tested", structure_test(app, "t.yaml"))
    publish("a", image=app, to="ghcr.io/acme/app", tags=BUILD_ID)
    publish("b", image="acme/app:1", to=["a/b", "localhost:5000/c"], tags=["1", semver("1.2.3")], checks=[])
    publish("c", "lint", image=[app, "acme/arm:1"], to="x/y", tags=semver("1.2.3"), checks=[tested], requires="x")
    phony("lint")
    """
    app, tested, a, b, c, _ = rules(repository, text)
    assert isinstance(a, PublishRule)
    assert isinstance(b, PublishRule)
    assert isinstance(c, PublishRule)
    assert (a.images, a.to, a.tags, a.checks) == ((app,), ("ghcr.io/acme/app",), ("${BUILD_ID}",), None)
    assert (b.images, b.to, b.tags) == (("acme/app:1",), ("a/b", "localhost:5000/c"), ("1", Semver(version="1.2.3")))
    assert b.checks == ()
    assert (c.images, c.checks, c.requires, c.parts) == ((app, "acme/arm:1"), (tested,), ("x",), ("lint",))


# --- decorators, handles, help --------------------------------------------------------------------------------


def test_a_rule_decorates_the_function_that_is_its_recipe(repository: Repository) -> None:
    text = '''
    before = file("out.txt", "in.txt")
    phony("first", before)
    @before
    def make_it(ctx):
        """Put it
        together.

        At length.
        """
    phony("second", make_it)
    @phony("hello", "first")
    def hello():
        pass
    '''
    made, first, second, hello = rules(repository, text)
    assert first.parts == second.parts == (made,)
    assert [step.__name__ for step in made.recipe] == ["make_it"]
    assert (made.help, hello.help, hello.target) == ("Put it together.", "", "hello")
    assert isinstance(hello, PhonyRule)


def test_help_comes_from_the_argument_the_docstring_or_the_comment(repository: Repository) -> None:
    text = '''
    def recipe():
        """From the docstring."""
    # A comment.
    phony("argument", recipe, help="From the argument.")
    # A comment.
    phony("docstring", recipe)

    # --- section ---
    # The application,
    # for people.
    app = image(
        "comment"
    )
    # noqa: E501
    phony("pragma")
    # ----------
    phony("ruler")
    phony("none")  # no comment above
    for name in "ab":
        # One of a family.
        phony(name)
    # Not about the variable.
    phony("outer", f"{var('X')}")
    # The version to build.
    VERSION = var("VERSION", "1")
    '''
    repository.write({"1": ""})
    found = repository.load(text)
    assert {rule.target: rule.help for rule in found.rules} == {
        "argument": "From the argument.",
        "docstring": "From the docstring.",
        "comment": "The application, for people.",
        "pragma": "",
        "ruler": "",
        "none": "",
        "a": "One of a family.",
        "b": "One of a family.",
        "outer": "Not about the variable.",
    }
    assert {name: v.help for name, v in found.variables.items()} == {"X": "", "VERSION": "The version to build."}


def test_absolute_paths_in_the_repository_are_read_from_the_pipefile(repository: Repository) -> None:
    text = """
    from pathlib import Path
    here = Path(__file__).parent
    file(here / "out", here / "src", f"{here}/lib/", "/etc/hosts", sh("x"))
    """
    (made,) = rules(repository, text)
    assert (made.target, made.parts) == ("out", ("src", "lib/", "/etc/hosts"))


# --- complaints -----------------------------------------------------------------------------------------------

WRONG = [
    ("image('app', tag='x')", "image() has no argument 'tag'\n  did you mean 'tags'?"),
    ("phony('x', colour=1)", "phony() has no argument 'colour'\n  it takes target, after, help"),
    ("publish('x', image='a', to='b')", "publish(): missing a required argument: 'tags'\n  it takes target, image,"),
    ("phony()", "phony(): missing a required argument: 'target'"),
    ("phony('')", "phony '': the name is empty"),
    ("phony(3)", "the name of a phony must be a string, not 3"),
    ("phony('a\\nb')", "phony 'a\\nb': the name holds a newline"),
    ("phony('a\\0b')", "the name holds a NUL character"),
    ("phony(' a')", "the name starts or ends with a space\n  did you mean 'a'?"),
    ("phony('/a')", "phony '/a': the name is an absolute path\n  did you mean 'a'?"),
    ("phony('a//b')", "the name holds an empty part, '.' or '..'\n  did you mean 'a/b'?"),
    ("image('../a')", "image '../a': the name holds an empty part, '.' or '..'\n  did you mean 'a'?"),
    ("phony('A=b')", "the command line would read it as a variable"),
    ("@phony\ndef go(): pass", '@phony needs the target\'s name\n  write @phony("go")'),
    ("phony(image('a'))", "the first argument of phony() is the target's name, not a rule"),
    ("file('/tmp/x', sh('x'))", "file '/tmp/x': the name is an absolute path"),
    ("file('../x', sh('x'))", "file '../x' is outside the repository"),
    ("file('.', sh('x'))", "file '.' is the repository itself"),
    ("file('dist/*.whl', sh('x'))", "a target is one name, not a pattern"),
    ("file([], sh('x'))", "file() was given no target"),
    ("file(['a', './a'], sh('x'))", "file 'a': one of its targets stands there twice"),
    ("phony('x', None)", "a part is None: perhaps a function returned nothing"),
    ("phony('x', 3)", "3 is neither a prerequisite nor a command"),
    ("phony('x', {'a': 1})", "a dict is neither a prerequisite nor a command"),
    ("phony('x', b'a')", "b'a' is neither a prerequisite nor a command"),
    ("phony('x', '')", "a prerequisite is an empty string"),
    ("phony('x', 'a\\nb')", "the prerequisite 'a\\nb' holds a newline"),
    ("import io; phony('x', io.StringIO('a'))", "is neither a prerequisite nor a command"),
    ("phony('x', sh)", "sh stands there without its brackets\n  write sh(…)"),
    ("phony('x', after=sh('x'))", "after takes names, paths and rules, no command"),
    ("image('x', sh('x'))", "image 'x' takes no command: its recipe is the image itself"),
    ("image('x', stage=3)", "stage must be a string, not"),
    ("image('x', pull='maybe')", "image 'x': pull must be True or False, not 'maybe'"),
    ("image('x', help=3)", "image 'x': help must be a string, not 3"),
    ("image('x', tags=['a', ''])", "tags is empty"),
    ("image('x', builder='buildah')", "builder='buildah'\n  it is buildx, buildkit or classic"),
    ("image('x', platforms='linux/amd46')", "'amd46' is unknown\n  did you mean 'amd64'?"),
    ("image('x', platforms='linux/arm/7')", "platforms: 'linux/arm/7' is no platform"),
    ("image('x', platforms='plan9/arm')", "'plan9' is unknown"),
    ("image('x', max_age='soon')", "max_age='soon' is no length of time"),
    ("image('x', build_args={'A': None})", "build_args['A'] is None\n  leave it out"),
    ("image('x', build_args={'A': 1.10})", "build_args['A'] is the number 1.1: as a version it may lose"),
    ("image('x', build_args={'A': []})", "build_args['A'] must be a string, not a list"),
    ("image('x', build_args={'A': phony('p')})", "build_args['A'] is a phony, not an image"),
    ("image('x', build_args={'A B': '1'})", "build_args: 'A B' is no name"),
    ("image('x', build_args=['A=1'])", "build_args must be a mapping such as {'NAME': 'value'}, not a list"),
    ("image('x', secrets='a,b')", "secrets: docker cannot take the path 'a,b'"),
    ("image('x', secrets='src=a')", "secrets: 'src=a' has no id\n  write id=NAME,src=a"),
    ("image('x', secrets='id=a,path=b')", "secrets: 'id=a,path=b' holds 'path'"),
    ("image('x', secrets={'a b': 'c'})", "secrets: 'a b' is no ID of a secret"),
    ("image('x', tags='acme/App:1')", "image 'x': tags: invalid image reference 'acme/App:1': the repository"),
    ("image('x', tags=f'App:{BUILD_ID}')", "the repository 'App' must be lower case"),
    ("image('x', tags='app:${BUILDID}')", "tags holds ${BUILDID}, which nothing declares\n  did you mean 'BUILD_ID'?"),
    ("image('x', tags='app@sha256:' + 'a' * 64)", "holds a digest, which only a registry can give"),
    ("publish('x', image=None, to='a', tags='b')", "image is None\n  give an image's rule"),
    ("publish('x', image=phony('p'), to='a', tags='b')", "image is a phony"),
    ("publish('x', image='a b', to='a', tags='b')", "publish 'x': image: invalid image reference 'a b'"),
    ("publish('x', image=[], to='a', tags='b')", "image is empty"),
    ("publish('x', image=[image('i')] * 2, to='a', tags='b')", "image holds 'i' twice\n  an index has"),
    ("publish('x', image='a', to=[], tags='b')", "to is empty\n  give a repository"),
    ("publish('x', image='a', to='a:1', tags='b')", "to='a:1' holds a tag\n  the tags go into tags="),
    ("publish('x', image='a', to='a', tags=[])", "tags is empty"),
    ("publish('x', image='a', to='a', tags='b', requires='smoke/*')", "requires: 'smoke/*' is a pattern\n  name each"),
    ("publish('x', image='a', to='a', tags='b', requires=[phony('p')])", "requires must be a string, not the phony"),
    ("publish('x', image='a', to='a', tags='b/c:1')", "tags: 'b/c:1' is no tag\n  the repository goes into to="),
    ("publish('x', image='a', to='a', tags='b c')", "tags: 'b c' is no tag\n  did you mean 'b-c'?"),
    ("publish('x', image='a', to='a', tags='b' * 129)", "is no tag\n  up to 128 letters"),
    (
        "publish('x', image='a', to='a', tags=f'{VCS_REF}+x')",
        "publish 'x': tags: '${VCS_REF}+x' is no tag\n  a tag cannot hold '+': did you mean '${VCS_REF}_x'?",
    ),
    ("publish('x', image='a', to='a', tags='b', checks=[image('i')])", "checks: 'i' is no check but of kind image"),
    ("publish('x', sh('push'), image='a', to='a', tags='b')", "publish 'x' takes no command"),
    ("phony('x', sh('a'))(print)", "phony 'x' has a recipe already"),
    ("phony('x')(3)", "3 is neither a prerequisite nor a command"),
    ("phony('x')('a')", "phony 'x' was called with 'a', which is no recipe"),
    ("semver(1.2)", "semver: version must be a string, not 1.2"),
    ("check('x')", "check 'x' has no recipe"),
    ("check('x', sh('make test'))", "check 'x' names nothing that it reads"),
    ("check('x', print)", "would be green for ever"),
    ("check('x', run('golang', 'go test', mounts={'.': '/src'}))", "would be green for ever"),
    (
        "phony('x', 'docker build .')",
        "needs 'docker build .', which is no target and no file\n  did you mean sh('docker",
    ),
    ("phony('unit tests', sh('x')); phony('x', 'unit test')", "did you mean 'unit tests'?"),
    ("phony(f'push-{BUILD_ID}')", "phony 'push-${BUILD_ID}': BUILD_ID in its name is a late value"),
    ("file(f'app-{var(\"V\")}', sh('x'))", "V in its name is a late value\n  a target's name has to be known when"),
    ("default('al'); phony('all')", "default('al') is no target\n  did you mean 'all'?"),
    ("default(3)", "default() takes one target, not 3"),
    ("default('a'); default('b'); phony('a'); phony('b')", "default is 'a' already\n  said at Pipefile.py:2"),
    ("include()", "include() was given no Pipefile"),
    ("include('x/*')", "include('x/*') matches no Pipefile"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_a_mistake_is_told_at_its_line(repository: Repository, text: str, said: str) -> None:
    found = repository.problem(text)
    assert found.startswith("Pipefile.py:2: ")
    assert said in found


def test_async_recipes_are_refused(repository: Repository) -> None:
    found = repository.problem("async def go(): pass\nphony('x', go)")
    assert "the recipe go is an async function" in found


@pytest.mark.parametrize(
    "text",
    [
        "check('x', 'src/', sh('make test'))",
        "check('x', sh('make test'), max_age='1d')",
        "check('x', sh('smoke $IMAGE', IMAGE=image('app')))",
        "check('x', lint('Dockerfile'))",
        "check('x', run(image('app'), 'curl localhost'))",
        "check('x', run(image('app'), 'test', mounts={image('conf'): '/conf'}))",
        "phony('all tests', sh('x')); phony('x', 'all tests')",
    ],
)
def test_no_complaint_about(repository: Repository, text: str) -> None:
    assert repository.load(text).rules


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("to", "image=app, to=f'reg.example/{TOKEN}', tags='1'"),
        ("tags", "image=app, to='reg.example/app', tags=['1', f'x{TOKEN}']"),
        ("tags", "image=app, to='reg.example/app', tags=semver('1.0.0', suffix=TOKEN)"),
        ("image", "image=f'reg.example/{TOKEN}:1', to='reg.example/app', tags='1'"),
    ],
)
def test_a_secret_is_never_published(repository: Repository, where: str, given: str) -> None:
    """A tag with one was set, and shown in the plan and in the reasons."""
    text = f"TOKEN = var('TOKEN', secret=True)\napp = image('app')\npublish('push', {given})"
    found = repository.problem(text, TOKEN="hush")
    assert f"Pipefile.py:4: publish 'push': {where} holds the secret TOKEN, which everyone could read" in found
    assert "hush" not in found


def test_a_path_with_spaces_that_exists_is_a_path(repository: Repository) -> None:
    repository.write({"my docs/a b.txt": ""})
    assert rules(repository, "phony('x', 'my docs/a b.txt', 'my docs/*.txt', 'my docs/')")


@pytest.mark.parametrize(
    "where",
    [
        "build_args={'T': TOKEN}",
        "labels={'t': f'x{TOKEN}'}",
        "tags=f'app:{TOKEN}'",
        "contexts={'t': f'https://{TOKEN}@example.com/x.git'}",
        "options=['--build-arg', f'T={TOKEN}']",  # and it stood in the state folder, and among the processes
        "options='--build-arg TOKEN'",
        "options=['--pull', '--build-arg=TOKEN']",
    ],
)
def test_a_secret_never_gets_into_an_image(repository: Repository, where: str) -> None:
    text = f"TOKEN = var('TOKEN', secret=True)\nimage('app', {where})"
    found = repository.problem(text, TOKEN="hush")
    assert found.startswith("Pipefile.py:3: image 'app': ")
    assert 'the secret TOKEN, which everyone could read in the image\n  pass it with secrets={"token": TOKEN}' in found
    assert "hush" not in found


def test_all_mistakes_come_at_once_in_the_order_of_their_lines(repository: Repository) -> None:
    text = """
    check("green", sh("true"))
    app = image("app", tag="x")
    publish("push", image=app, to="acme/app", tags="1")
    phony("x", app, None)
    default("nothing")
    """
    found = repository.problems(text, overrides={"WRONG": "1"})
    assert [line.partition(": ")[0] for line in found[:4]] == [f"Pipefile.py:{n}" for n in (2, 3, 5, 6)]
    assert "no variable is called WRONG" in found[4]


def test_one_mistake_is_not_told_twice(repository: Repository) -> None:
    text = """
    app = image("the app", tags="App")
    app = image("the app", tag="x")
    A = var("A", choices=["x"])
    phony("all", app, "the app", after="the app")
    default("the app")
    """
    repository.problems(text)
    found = repository.problems(text.replace('image("the app", tags="App")', "0"), overrides={"A": "y"})
    assert [line.partition(": ")[0] for line in found] == ["Pipefile.py:3", "Pipefile.py:4"]


def test_words_work_only_while_a_pipefile_is_loaded() -> None:
    for word in (lambda: imgmake.phony("x"), lambda: imgmake.var("X"), lambda: imgmake.glob("*")):
        with pytest.raises(PipefileError, match="only while a Pipefile is loaded"):
            cast(Any, word)()


# --- names of images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "target", "name"),
    [
        ("My Shop", "app", "myshop-app"),
        ("shop", "config/dev", "shop-config/dev"),
        ("shop", "v1.2/app", "shop-v1-2/app"),
        ("shop.io", "App Image", "shopio-app-image"),
        ("_x_", "a__b--c._d", "x-a__b--c-d"),
        ("日本", "app", "app"),
        ("shop", "日本", "shop"),
    ],
)
def test_an_untagged_image_is_named_as_compose_names_it(folder: str, target: str, name: str) -> None:
    assert texts.legal_repository(folder, target) == name


@given(st.text(max_size=20), st.text(alphabet="aZ09._-/ é", max_size=20))
def test_the_name_of_an_untagged_image_is_always_legal_and_local(folder: str, target: str) -> None:
    name = texts.legal_repository(folder, target)
    assert references.parse(name).domain in ("docker.io", "localhost")
