"""Rolling updates: what starts one, and where the sessions are meanwhile."""

import pathlib
import re
import shutil
import tempfile
import unittest

import rollout
from matrix import MATRIX
from render import CHART, CLUSTERED, merge, of_kind, render

MOST = 1.3  # times its usual sessions that a replica may have


def bumped(folder, **lines):
    """A copy of the chart with other lines in its Chart.yaml."""
    copy = shutil.copytree(CHART, pathlib.Path(folder) / "-".join(lines))
    text = (copy / "Chart.yaml").read_text()
    for key, value in lines.items():
        text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
    (copy / "Chart.yaml").write_text(text)
    return copy


def spec(values, **options):
    """The Deployment's."""
    return of_kind(render(values, **options), "Deployment")["spec"]


class Rollout(unittest.TestCase):
    def test_no_replica_collects_the_sessions_of_those_that_leave(self):
        for files in ([], ["values-production.yaml"]):
            rendered = spec(CLUSTERED, files=files)
            strategy = rendered["strategy"]["rollingUpdate"]
            (container,) = rendered["template"]["spec"]["containers"]
            drain = next(int(env["value"]) for env in container["env"] if env["name"] == "DRAIN_SECONDS")
            pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            for replicas in (3, 12):
                with self.subTest(files, replicas=replicas):
                    worst, _ = rollout.fullest(
                        replicas,
                        strategy["maxSurge"],
                        strategy["maxUnavailable"],
                        rendered.get("minReadySeconds", 0),
                        (pre_stop, drain),
                    )
                    self.assertLess(worst, MOST)

    def test_the_figures_beside_the_values_are_those_of_the_model(self):
        text = re.sub(r"\n *# ", " ", (CHART / "values.yaml").read_text())
        said = re.findall(r"with (\S+) and (\d+) s ([\d.]+) times at (\d+) replicas and ([\d.]+) at (\d+)", text)
        self.assertEqual(len(said), 3)
        for surge, min_ready, *figures in said:
            surge = surge if surge.endswith("%") else int(surge)
            for worst, replicas in zip(figures[::2], figures[1::2], strict=True):
                self.assertEqual(worst, f"{rollout.fullest(int(replicas), surge, 0, int(min_ready))[0]:.1f}")

    def test_its_numbers_can_be_given(self):
        given = spec(merge(CLUSTERED, {"rollout": {"maxSurge": 0, "maxUnavailable": "34%", "minReadySeconds": 700}}))
        self.assertEqual(given["strategy"]["rollingUpdate"], {"maxSurge": 0, "maxUnavailable": "34%"})
        self.assertEqual(given["minReadySeconds"], 700)
        self.assertGreater(given["progressDeadlineSeconds"], 700)

    def test_a_chart_of_another_version_restarts_nobody(self):
        with tempfile.TemporaryDirectory() as folder:
            chart = bumped(folder, version="9.8.7")
            for name in ("default", "clustered", "everything", "everything, inline"):
                with self.subTest(name):
                    self.assertEqual(spec(MATRIX[name], chart=chart), spec(MATRIX[name]))
            labels = of_kind(render(chart=chart), "Deployment")["metadata"]["labels"]
            self.assertEqual(labels["helm.sh/chart"], "chat-gateway-9.8.7")
            # Nor does another application's, where the image is one's own.
            chart = bumped(folder, version="9.8.7", appVersion="9.8.7")
            own = merge(MATRIX["everything"], {"image": {"tag": "v1"}})
            self.assertEqual(spec(own, chart=chart), spec(own))
            label = "app.kubernetes.io/version"
            self.assertEqual(spec(own)["template"]["metadata"]["labels"][label], "v1")
            self.assertEqual(spec({}, chart=chart)["template"]["metadata"]["labels"][label], "9.8.7")

    def test_another_may_say_how_many_replicas_there_are(self):
        manifests = render(merge(CLUSTERED, {"autoscaling": {"external": True}}))
        self.assertNotIn("replicas", of_kind(manifests, "Deployment")["spec"])
        self.assertEqual([m for m in manifests if m["kind"] == "HorizontalPodAutoscaler"], [])
        of_kind(manifests, "PodDisruptionBudget")


if __name__ == "__main__":
    unittest.main()
