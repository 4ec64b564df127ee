"""What the chart and the image set is what `chat-gateway --help` lists."""

import json
import re
import unittest

import yaml

import readme
from render import CHART, ROOT, pods, render, settings_in_help
from test_manifests import EVERYTHING, FILES, MATRIX

# The chart decides these; `settings` has all others.
OF_THE_CHART = {
    "LISTEN_ADDR", "OPS_LISTEN_ADDR", "DATA_DIR", "DATABASE_URL", "REDIS_URL", "JWT_SECRET", "DRAIN_SECONDS",
}  # fmt: skip


class Settings(unittest.TestCase):
    def test_every_variable_of_the_chart_is_a_setting(self):
        known = set(settings_in_help()) | {env["name"] for env in EVERYTHING["extraEnv"]}
        runs = [render(values) for values in MATRIX.values()] + [render(files=[file]) for file in FILES]
        for manifests in runs:
            for name, labels, spec in pods(manifests):
                if labels["app.kubernetes.io/component"] != "test":
                    names = {env["name"] for env in spec["containers"][0]["env"]}
                    # The standard ones, which --help leaves to deploy/README.md, and what they are made of.
                    ours = {env for env in names if not env.startswith(("OTEL_", "PGSSL", "SSL_CERT_", "K8S_"))}
                    self.assertLessEqual(ours, known, name)

    def test_every_setting_can_be_given(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        self.assertEqual(set(schema["properties"]["settings"]["properties"]) | OF_THE_CHART, set(settings_in_help()))

    def test_the_hosts_of_ingress_and_route_are_those_that_are_served(self):
        def hosts(values):
            for _, labels, spec in pods(render(values)):
                if labels["app.kubernetes.io/component"] == "server":
                    env = {env["name"]: env.get("value") for env in spec["containers"][0]["env"]}
                    return env.get("ALLOWED_HOSTS")

        ingress = {"ingress": {"enabled": True, "hosts": ["chat.example", "*.chat.example"]}}
        route = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}
        names = hosts(ingress).split(",")
        self.assertEqual(names[:2], ["chat.example", "*.chat.example"])
        self.assertEqual(len([name for name in names if name.endswith(".svc.cluster.local")]), 1)
        self.assertIn("r.example", hosts({"httpRoute": {**route["httpRoute"], "hostnames": ["r.example"]}}))
        self.assertIsNone(hosts({}), "nobody knows the names")
        self.assertIsNone(hosts({**ingress, **route}), "a route for any name")
        self.assertEqual(hosts({**ingress, "settings": {"ALLOWED_HOSTS": ["x.example"]}}), "x.example")
        self.assertEqual(hosts({**ingress, "settings": {"ALLOWED_HOSTS": ""}}), "")

    def test_the_schema_knows_every_value(self):
        schema = json.loads((CHART / "values.schema.json").read_text())

        def keys(node):
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
            return node.get("properties") or {}

        def compare(values, node, path):
            for key, value in values.items():
                self.assertIn(key, keys(node), path)
                if isinstance(value, dict) and keys(keys(node)[key]):
                    compare(value, keys(node)[key], path + (key,))

        values = yaml.safe_load((CHART / "values.yaml").read_text())
        compare(values, schema, ())
        self.assertEqual(set(values), set(keys(schema)))

    def test_every_variable_of_the_image_is_a_setting(self):
        image = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
        lines = re.findall(r"^ENV (.*)$", image, re.MULTILINE)
        self.assertLessEqual({pair.split("=")[0] for line in lines for pair in line.split()}, set(settings_in_help()))

    def test_the_comparison_names_values_that_there_are(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for line in readme.COMPARED.read_text().splitlines():
            for path in re.findall(r"`([\w.]+)`", line):
                with self.subTest(path):
                    node = values
                    for key in path.split("."):
                        self.assertIn(key, node)
                        node = node[key]

    def test_the_charts_readme_is_current(self):
        written = (CHART / "README.md").read_text()
        self.assertEqual(written, readme.generate(), "run tests/chart/readme.py")
