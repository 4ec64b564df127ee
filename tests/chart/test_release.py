"""`.ci/release`, with the real helm, a real registry on this machine and the real cosign; `docker` is a stand-in that notes its words."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

from render import ROOT, of_kind, render

PATIENCE = 60  # seconds
TOOLS = "bash cat cp dirname env git grep mkdir rm sed".split()
VERSION = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
FILES = [".ci/release", ".gitignore", "CHANGELOG.md", "Cargo.toml", "Dockerfile", "tests/version"]


class Registry:
    """The registry that comes with crane, on loopback."""

    def __init__(self, folder):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{taken.getsockname()[1]}"
        with open(folder / "registry.log", "wb") as log:
            command = [os.environ["CRANE"], "registry", "serve", "--address", self.host]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.get("/v2/"):
            assert time.monotonic() < deadline, f"no registry in {PATIENCE} s: {(folder / 'registry.log').read_text()}"
            time.sleep(0.02)

    def get(self, path):
        """The answer's body, or nothing."""
        try:
            accept = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}
            with urllib.request.urlopen(urllib.request.Request(f"http://{self.host}{path}", headers=accept), timeout=10) as answer:
                return answer.read() or b"{}"
        except OSError:
            return None

    def names(self):
        """Every tag of every repository, less those that cosign keeps signatures under."""
        repositories = json.loads(self.get("/v2/_catalog") or "{}").get("repositories") or []
        tags = {repo: json.loads(self.get(f"/v2/{repo}/tags/list"))["tags"] for repo in repositories}
        return {f"{repo}:{tag}" for repo, these in tags.items() for tag in these if not tag.startswith("sha256-")}

    def close(self):
        self.process.kill()
        self.process.wait()


class Release(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.source, self.bin, self.record = self.folder / "source", self.folder / "bin", self.folder / "record"
        self.registry = Registry(self.folder)
        self.addCleanup(self.registry.close)
        for file in FILES:
            (self.source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.source / file)
        shutil.copytree(ROOT / "helm", self.source / "helm")
        self.changes = re.sub(r"(?m)^(## .* - )Unreleased$", r"\g<1>2026-01-31", (ROOT / "CHANGELOG.md").read_text())
        (self.source / "CHANGELOG.md").write_text(self.changes)
        self.git("init", "--quiet")
        self.commit()
        # Only what is here may be used, so that a tool can be missing.
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        (self.bin / "python3").symlink_to(pathlib.Path(sys.executable).resolve())
        (self.bin / "helm").symlink_to(os.environ["HELM"])
        (self.bin / "cosign").symlink_to(os.environ["COSIGN"])
        (self.bin / "docker").symlink_to(ROOT / "tests/chart/release/docker")
        self.run_tool("cosign", "generate-key-pair")
        (self.folder / "no-log.json").write_text(self.run_tool("cosign", "signing-config", "create").stdout)

    def environment(self, **more):
        names = {"PATH": str(self.bin), "HOME": str(self.folder), "DOCKER_RECORD": str(self.record), "COSIGN_PASSWORD": ""}
        return names | {"GIT_CONFIG_NOSYSTEM": "1"} | more

    def git(self, *words):
        names = ["-c", "user.name=t", "-c", "user.email=t@test.test", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *names, *words], cwd=self.source, check=True, capture_output=True)

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a version")

    def append(self, file):
        (self.source / file).write_text((self.source / file).read_text() + "\n")

    def run_tool(self, *words):
        return subprocess.run(
            [self.bin / words[0], *words[1:]], cwd=self.folder, env=self.environment(), check=True, capture_output=True, text=True
        )

    def release(self, version="v" + VERSION, **environment):
        """Runs it without a registry."""
        command = [self.source / ".ci/release", version]
        return subprocess.run(
            command, env=self.environment(**environment), capture_output=True, text=True, check=False, timeout=PATIENCE * 2
        )

    def publish(self, version="v" + VERSION, **environment):
        """Runs it with the registry here, and without a Sigstore."""
        key = {"COSIGN_KEY": str(self.folder / "cosign.key"), "COSIGN_FLAGS": f"--signing-config {self.folder / 'no-log.json'}"}
        where = {"REGISTRY": f"{self.registry.host}/team", "PLAIN_HTTP": "true"}
        return self.release(version, **(where | key | environment))

    def told(self, *begin):
        """What `docker` was told that begins so."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if tuple(call["words"][: len(begin)]) == begin]

    def refuses(self, run, sentence):
        self.assertNotEqual(run.returncode, 0, run.stdout)
        self.assertRegex(run.stderr, sentence)
        self.assertEqual(self.told("buildx", "build"), [])

    def test_it_pushes_an_image_and_a_chart_that_names_it_and_signs_both(self):
        self.git("remote", "add", "origin", "https://me:secret@git.test/team/chat.git")
        run = self.publish()
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(self.registry.names(), {f"team/chat-gateway:{VERSION}", f"team/charts/chat-gateway:{VERSION}"})
        image, chart = re.findall(r"(\S+)@(sha256:\w{64})$", run.stdout, re.MULTILINE)[-2:]
        (build,) = self.told("buildx", "build")
        words = build["words"]
        for word in ("--provenance=mode=max", "--sbom=true", "linux/amd64,linux/arm64", "type=image,push=true,rewrite-timestamp=true"):
            self.assertIn(word, words)
        labels = dict(after.split("=", 1) for word, after in zip(words, words[1:]) if word == "--label")
        self.assertEqual(labels["org.opencontainers.image.version"], VERSION)
        self.assertEqual(labels["org.opencontainers.image.source"], "https://git.test/team/chat.git")
        self.assertRegex(labels["org.opencontainers.image.revision"], r"^[0-9a-f]{40}$")
        self.assertRegex(labels["org.opencontainers.image.created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(build["epoch"], r"^\d+$")
        # The chart, from the registry and with no value given.
        oci = f"oci://{self.registry.host}/team/charts/chat-gateway"
        self.run_tool("helm", "pull", "--plain-http", oci, "--version", VERSION, "--untar")
        manifests = render(chart=self.folder / "chat-gateway", image={})
        (container,) = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["image"], f"{self.registry.host}/team/chat-gateway@{image[1]}")
        # The signatures, of each platform's manifest too.
        index = json.loads(self.registry.get(f"/v2/team/chat-gateway/manifests/{image[1]}"))
        signed = [f"team/chat-gateway@{part['digest']}" for part in index["manifests"]]
        signed += [f"team/chat-gateway@{image[1]}", f"team/charts/chat-gateway@{chart[1]}"]
        self.assertEqual(len(signed), 4)
        verify = ["cosign", "verify", "--private-infrastructure", "--key", "cosign.pub"]
        for reference in signed:
            self.run_tool(*verify, f"{self.registry.host}/{reference}")
        self.git("diff", "--exit-code")

    def test_what_is_there_is_not_written_over(self):
        self.assertEqual(self.publish().returncode, 0)
        before = {name: self.registry.get(f"/v2/{name.replace(':', '/manifests/')}") for name in self.registry.names()}
        self.record.unlink()
        self.append("CHANGELOG.md")
        self.commit()
        self.refuses(self.publish(), f"team/chat-gateway:{VERSION} is there already")
        self.assertEqual(before, {name: self.registry.get(f"/v2/{name.replace(':', '/manifests/')}") for name in before})

    def test_a_chart_that_is_there_is_not_written_over(self):
        self.run_tool("helm", "package", str(self.source / "helm/chat-gateway"))
        charts = f"oci://{self.registry.host}/team/charts"
        self.run_tool("helm", "push", "--plain-http", f"chat-gateway-{VERSION}.tgz", charts)
        self.refuses(self.publish(), f"charts/chat-gateway {VERSION} is there already")

    def test_a_registry_that_does_not_answer_is_no_yes(self):
        self.registry.close()
        self.refuses(self.publish(), r"does not say whether \S+ is there: .*refused")

    def test_a_registry_may_deny_what_it_has_not_yet(self):
        self.refuses(self.publish(DOCKER_DENIED="true"), "does not say whether .*: 403 Forbidden")
        run = self.publish(DOCKER_DENIED="true", FIRST_RELEASE="true")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.record.unlink()
        self.refuses(self.publish(FIRST_RELEASE="true"), "is there already")

    def test_an_image_without_what_is_said_about_it_is_no_release(self):
        run = self.publish(DOCKER_ATTESTATION="{}")
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("has no SBOM", run.stderr)
        self.assertEqual(self.registry.names(), {f"team/chat-gateway:{VERSION}"}, "the chart does not follow")

    def test_without_a_registry_it_does_what_needs_none(self):
        run = self.release()
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, r"skipped: the image, which wants a Docker that runs")
        self.assertRegex(run.stdout, r"skipped: the SBOM, which wants syft")
        self.assertTrue((self.source / f"target/release-{VERSION}/chat-gateway-{VERSION}.tgz").is_file())
        self.assertEqual(self.registry.names(), set())
        (self.bin / "syft").write_text('#!/bin/sh\necho "$@" >"$HOME/syft"\n')
        (self.bin / "syft").chmod(0o755)
        run = self.release(DOCKER_RUNS="true")
        self.assertNotIn("skipped", run.stdout)
        (build,) = self.told("buildx", "build")
        self.assertIn("--load", build["words"])
        self.assertNotIn("type=image,push=true,rewrite-timestamp=true", build["words"])
        self.assertIn(f"spdx-json=target/release-{VERSION}/SBOM.json", (self.folder / "syft").read_text())

    def test_versions_have_to_agree(self):
        for file, pattern, said in (
            ("Cargo.toml", r"(?m)^version = .*$", "Cargo.toml has 9.8.7"),
            ("helm/chat-gateway/Chart.yaml", r"(?m)^version: .*$", f"{VERSION} is to be released, but Chart.yaml has the version 9.8.7"),
            ("helm/chat-gateway/Chart.yaml", r"(?m)^appVersion: .*$", "Chart.yaml the appVersion 9.8.7"),
            ("CHANGELOG.md", r"(?m)^## .*$", "CHANGELOG.md begins with '## .9.8.7"),
        ):
            path, text = self.source / file, (self.source / file).read_text()
            with self.subTest(said):
                changed = re.sub(pattern, lambda line: re.sub(r"\d+\.\d+\.\d+", "9.8.7", line[0]), text)
                self.assertNotEqual(changed, text)
                path.write_text(changed)
                self.refuses(self.release(), said)
            path.write_text(text)
        self.refuses(self.release("v9.8.7"), f"9.8.7 is to be released, but this is {VERSION}")

    def test_a_version_without_its_day_is_not_pushed(self):
        (self.source / "CHANGELOG.md").write_text(re.sub(r"(?m)^(## .* - ).*$", r"\1Unreleased", self.changes, count=1))
        self.commit()
        self.assertEqual(self.release().returncode, 0)
        self.refuses(self.publish(), f"CHANGELOG.md has no day for {VERSION}")

    def test_only_what_is_committed_is_pushed(self):
        self.append("Dockerfile")
        self.refuses(self.publish(), "changes that are not committed")
        run = self.release()
        self.assertEqual(run.returncode, 0)
        self.assertIn("changes that are not committed", run.stdout)
        self.git("tag", f"v{VERSION}")
        self.commit()
        self.refuses(self.publish(), f"the tag v{VERSION} is of commit")

    def test_each_missing_tool_is_named(self):
        for tool in ("docker", "cosign", "helm"):
            (self.bin / tool).unlink()
        self.refuses(self.publish(), "no helm, .*; no docker with buildx, .*; no cosign, ")
        self.refuses(self.release(), "there is no helm, which packages and pushes the chart\n")

    def test_it_says_how_it_is_used(self):
        for words in ("", "latest", "1.2"):
            run = self.release(words)
            self.assertEqual(run.returncode, 2)
            self.assertIn("REGISTRY=registry.example/team .ci/release v1.2.3", run.stderr)
        self.refuses(self.publish(REGISTRY="https://registry.test/team"), "REGISTRY is a host and a path")


if __name__ == "__main__":
    unittest.main()
