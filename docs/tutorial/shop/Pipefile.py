"""The shop: artifact, images, tests, tags."""

from imgmake import BUILD_ID, check, default, file, image, lint, phony, run, sh, structure_test, tag, var

REPO = var("REPO", "example/shop")
DOCKERFILE = "multi-stage-runtime.df"
JAR = "target/shop-0.1.0.jar"

file(JAR, "pom.xml", "src/", run("maven:3.8-openjdk-17", "mvn -B clean verify", mounts={".": "/project"}))
phony("app-artifacts", JAR)

check("lint-dockerfile", lint(DOCKERFILE))
app = image("app-image", "lint-dockerfile", tags=f"{REPO}:{BUILD_ID}", dockerfile=DOCKERFILE, stage="app-image")
image("app-image-debug", app, tags=f"{REPO}:{BUILD_ID}-debug", dockerfile=DOCKERFILE, stage="app-image-debug")
check("image-tests", structure_test(app, "structure-tests.yaml"))

phony("tag", "image-tests", tag(app, f"{REPO}:{var('TAG')}"))

phony("metadata", sh("echo BUILD_ID is $BUILD_ID"))
phony("inspect-image-labels", sh("docker image inspect -f '{{json .Config.Labels}}' $IMAGE", IMAGE=app))
phony("clean", sh("rm -rf target"))
phony("all", "app-artifacts", "app-image", "image-tests")
default("all")
