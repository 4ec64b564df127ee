"""Who watches a release of the chart sees it: scraping, rules, dashboard, OpenTelemetry; and TLS finds its files."""

import json
import pathlib
import re
import shutil
import tempfile
import unittest

import yaml

import readme
from matrix import EVERYTHING, FILES, MATRIX
from render import CHART, CLUSTERED, ROOT, merge, of_kind, pods, render

RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "chat-gateway.json").read_text())


def env_of(manifests, kind="Deployment"):
    """The variables of a workload's first container, by name."""
    spec = of_kind(manifests, kind)["spec"]["template"]["spec"]
    return {env["name"]: env.get("value", env.get("valueFrom")) for env in spec["containers"][0]["env"]}


class Surroundings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {name: render(values) for name, values in MATRIX.items()}
        cls.rendered |= {file: render(files=[file]) for file in FILES}

    def test_a_rule_and_a_dashboard_are_those_of_deploy(self):
        for name in ("everything", "long names", "values-production.yaml"):
            manifests = self.rendered[name]
            self.assertEqual(of_kind(manifests, "PrometheusRule")["spec"], RULES)
            files = of_kind(manifests, "ConfigMap", "-dashboard")["data"]
            self.assertEqual([json.loads(file) for file in files.values()], [DASHBOARD])

    def test_the_charts_folder_is_enough(self):
        for copy, original in readme.COPIES.items():
            self.assertFalse((CHART / copy).is_symlink(), copy)
            self.assertEqual((CHART / copy).read_bytes(), (ROOT / original).read_bytes(), f"{copy}: run tests/chart/readme.py")
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(CHART, pathlib.Path(folder) / "elsewhere", symlinks=True)
            self.assertEqual([path for path in copy.rglob("*") if path.is_symlink()], [])
            self.assertEqual(render(MATRIX["everything"], chart=copy), self.rendered["everything"])

    def test_production_has_a_gateway_and_shows_an_ingress(self):
        text = (CHART / "values-production.yaml").read_text()
        block = re.search(r"^# ingress:\n(?:# .*\n)+", text, re.MULTILINE)[0]
        ingress = yaml.safe_load(re.sub(r"^# ", "", block, flags=re.MULTILINE)) | {"httpRoute": {"enabled": False}}
        hosts = {}
        for ours, values in (("HTTPRoute", {}), ("Ingress", ingress)):
            manifests = render(values, files=["values-production.yaml"])
            self.assertEqual([m["kind"] for m in manifests if m["kind"] in ("HTTPRoute", "Ingress")], [ours])
            hosts[ours] = env_of(manifests)["ALLOWED_HOSTS"]
        self.assertEqual(hosts["HTTPRoute"], hosts["Ingress"])

    def test_the_rules_find_what_is_scraped(self):
        wanted = set(re.findall(r'job=~"([^"]*)"', json.dumps(RULES).replace('\\"', '"')))
        self.assertTrue(wanted)
        for name, manifests in self.rendered.items():
            for monitor in (m for m in manifests if m["kind"] in ("ServiceMonitor", "PodMonitor")):
                spec = monitor["spec"]
                endpoint = (spec.get("endpoints") or spec["podMetricsEndpoints"])[0]
                set_to = {r["targetLabel"]: r for r in endpoint["relabelings"]}
                self.assertEqual(spec["namespaceSelector"], {"matchNames": ["chat"]}, name)
                for pattern in wanted:
                    self.assertRegex(set_to["job"]["replacement"], f"^{pattern}$", name)

    def test_the_standard_variables_are_those_that_deploy_documents(self):
        known = set(re.findall(r"\b(?:OTEL|PGSSL|SSL)[A-Z_]+", (ROOT / "deploy" / "README.md").read_text()))
        known |= {"OTEL_EXPORTER_OTLP_CLIENT_KEY"}  # there as …_CLIENT_KEY
        for name, manifests in self.rendered.items():
            sent = {env for env in env_of(manifests) if env.startswith(("OTEL_", "PGSSL", "SSL_"))}
            self.assertLessEqual(sent, known, name)
        env = env_of(self.rendered["everything"])
        attributes = dict(pair.split("=") for pair in env["OTEL_RESOURCE_ATTRIBUTES"].split(","))
        self.assertEqual(attributes["service.instance.id"], "$(K8S_POD_NAME)")
        for value in attributes.values():
            for variable in re.findall(r"\$\((\w+)\)", value):
                before = list(env)[: list(env).index("OTEL_RESOURCE_ATTRIBUTES")]
                self.assertIn(variable, before)  # Kubernetes fills in only what came before

    def test_the_chart_is_of_the_version_that_it_installs(self):
        version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
        self.assertEqual(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"], version)

    def test_metrics_go_one_way_unless_both_are_wanted(self):
        metrics = {name: env_of(manifests).get("OTEL_METRICS_EXPORTER") for name, manifests in self.rendered.items()}
        self.assertEqual(metrics["clustered, traces"], "none")
        self.assertEqual(metrics["clustered, pod monitor"], "none")
        self.assertIsNone(metrics["everything"])
        self.assertIsNone(metrics["embedded, metrics"])
        self.assertEqual(env_of(self.rendered["embedded, metrics"])["OTEL_TRACES_EXPORTER"], "none")

    def test_each_file_that_a_variable_names_is_mounted(self):
        seen = set()
        for name, manifests in self.rendered.items():
            for pod, _, spec in pods(manifests):
                volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
                for container in spec["containers"]:
                    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container.get("volumeMounts", [])}
                    for env in container.get("env", []):
                        if str(env.get("value", "")).startswith("/etc/chat-gateway/"):
                            folder, file = env["value"].rsplit("/", 1)
                            source = mounts[folder].get("secret") or mounts[folder].get("configMap")
                            paths = {item["path"] for item in source.get("items", [])} or {"tls.crt", "tls.key"}
                            self.assertIn(file, paths, f"{name}: {pod}")
                            seen.add(env["name"])
        wanted = {"PGSSLROOTCERT", "SSL_CERT_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE"}
        wanted |= {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"}
        self.assertEqual(seen, wanted)

    def test_the_migration_connects_as_the_replicas_do(self):
        for name, manifests in self.rendered.items():
            if any(m["kind"] == "Job" for m in manifests):
                migration, replica = env_of(manifests, "Job"), env_of(manifests)
                for variable in ("PGSSLMODE", "PGSSLROOTCERT"):
                    self.assertEqual(migration.get(variable), replica.get(variable), name)
        self.assertEqual(env_of(self.rendered["clustered, authority"])["PGSSLMODE"], "verify-full")
        self.assertEqual(env_of(self.rendered["everything"])["PGSSLMODE"], "verify-ca")
        self.assertNotIn("PGSSLMODE", env_of(self.rendered["clustered"]))

    def test_scaling_down_is_calm_and_within_what_kubernetes_takes(self):
        for name, manifests in self.rendered.items():
            for scaler in (m for m in manifests if m["kind"] == "HorizontalPodAutoscaler"):
                down = scaler["spec"]["behavior"]["scaleDown"]
                self.assertGreaterEqual(down["stabilizationWindowSeconds"], 600, name)
                self.assertEqual([(policy["type"], policy["value"]) for policy in down["policies"]], [("Pods", 1)])
                grace = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                self.assertGreaterEqual(down["policies"][0]["periodSeconds"], min(grace, 1800), name)
                self.assertLessEqual(down["policies"][0]["periodSeconds"], 1800, name)

    def test_a_policy_lets_through_what_is_needed(self):
        def ports(rule):
            return {(port["protocol"], port["port"]) for port in rule["ports"]}

        policy = of_kind(self.rendered["everything"], "NetworkPolicy", "gateway")["spec"]
        egress = {port: rule.get("to") for rule in policy["egress"] for port in ports(rule)}
        wanted = EVERYTHING["networkPolicy"]
        self.assertEqual(egress[("TCP", 5432)], wanted["servers"])
        self.assertEqual(egress[("TCP", 6379)], wanted["servers"])
        self.assertEqual(egress[("TCP", 4317)], wanted["collectors"])
        self.assertLessEqual({("UDP", 53), ("TCP", 53), ("TCP", 9999)}, set(egress))
        ingress = {port: rule.get("from") for rule in policy["ingress"] for port in ports(rule)}
        self.assertEqual(ingress[("TCP", "ops")], wanted["operators"])
        self.assertIn(wanted["clients"][0], ingress[("TCP", "http")])
        embedded = of_kind(self.rendered["embedded, metrics"], "NetworkPolicy", "gateway")["spec"]["egress"]
        names = {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)}
        self.assertEqual({port for rule in embedded for port in ports(rule)}, {*names, ("TCP", 80)})
        values = merge(CLUSTERED, {"networkPolicy": {"enabled": True, "databasePort": 6432, "dnsPorts": [53]}})
        pooled = of_kind(render(values), "NetworkPolicy", "gateway")["spec"]["egress"]
        pooled = {port for rule in pooled for port in ports(rule)}
        self.assertIn(("TCP", 6432), pooled)
        self.assertFalse({("UDP", 5353), ("TCP", 5353)} & pooled)


if __name__ == "__main__":
    unittest.main()
