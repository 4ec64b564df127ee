"""The Dockerfile, read as BuildKit reads it (tests/chart/dockerfile): nothing runs emulated, and the image asks for little."""

import json
import os
import re
import subprocess
import unittest

import yaml

from render import CHART, ROOT

DOCKERFILE = ROOT / "Dockerfile"
PLATFORMS = ("amd64", "arm64")
USER = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]


def read(file, *architectures):
    """What BuildKit on amd64 makes of it, for each of these."""
    run = subprocess.run([os.environ["DOCKERFILE"], file, *architectures], capture_output=True, text=True, check=False)
    if run.returncode:
        raise ValueError(run.stderr)
    return json.loads(run.stdout)


class Dockerfile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.built = read(DOCKERFILE, *PLATFORMS)

    def test_every_command_runs_on_the_builders_own_platform(self):
        for architecture in PLATFORMS:
            built = self.built[architecture]
            self.assertEqual(built["Image"]["architecture"], architecture)
            self.assertEqual({run["Platform"] for run in built["Runs"]}, {"linux/amd64"}, architecture)
            self.assertTrue(any("build --release --locked" in run["Command"][-1] for run in built["Runs"]))

    def test_buildkit_warns_of_nothing(self):
        for architecture in PLATFORMS:
            self.assertIsNone(self.built[architecture]["Warnings"], architecture)

    def test_another_platform_is_refused(self):
        with self.assertRaisesRegex(ValueError, "for-s390x"):
            read(DOCKERFILE, "s390x")

    def test_a_user_of_ones_own_may_write_where_it_has_to(self):
        for architecture in PLATFORMS:
            config = self.built[architecture]["Image"]["config"]
            self.assertEqual(config["User"], f"{USER['runAsUser']}:{USER['runAsGroup']}", "as the chart has it")
            self.assertIn("DATA_DIR=/data", config["Env"])
        # OpenShift's users are of the group 0.
        self.assertRegex(DOCKERFILE.read_text(), r"mkdir --mode=0770 /data")
        self.assertIn(f"COPY --from=build --chown={USER['runAsUser']}:0 /data /data\n", DOCKERFILE.read_text())

    def test_the_image_says_what_it_is(self):
        for architecture in PLATFORMS:
            labels = self.built[architecture]["Image"]["config"]["Labels"]
            base = re.findall(r"^FROM (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)[-1]
            self.assertEqual(labels["org.opencontainers.image.base.name"], base)
            self.assertLessEqual({f"org.opencontainers.image.{key}" for key in ("title", "description", "licenses")}, set(labels))

    def test_what_the_source_includes_is_copied(self):
        copied = re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
        copied = [ROOT / name for names in copied for name in names.split()]
        admitted = [ROOT / line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        wanted = [ROOT / "Cargo.toml", ROOT / "Cargo.lock"]
        for source in [*(ROOT / "src").rglob("*.rs"), *(ROOT / "migrations" / "src").rglob("*.rs")]:
            wanted.append(source)
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
                wanted.append((source.parent / name).resolve())
        for file in wanted:
            for there in (copied, admitted):
                self.assertTrue(any(file.is_relative_to(path) for path in there), file)


if __name__ == "__main__":
    unittest.main()
