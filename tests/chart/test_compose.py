"""deploy/compose.yaml, read as `docker compose` reads it, and the files that it mounts.

There need be no Docker here: the library of `docker compose` says what would be run (tests/chart/compose), the real collector
whether it takes its configuration. promtool says it of Prometheus' (tests/run rules).
"""

import json
import os
import pathlib
import re
import subprocess
import unittest
import urllib.parse

import yaml

from render import ROOT, settings_in_help
from test_manifests import AFTER_THE_DRAIN

DEPLOY = ROOT / "deploy"
REPLICAS = ("replica-1", "replica-2", "replica-3")
WATCHERS = {"otel-collector", "jaeger", "prometheus", "grafana"}
SECRETS = {"POSTGRES_PASSWORD": "of letters", "JWT_SECRET": "of 32 bytes or more, so that it is long enough"}


def load(**environment):
    """What the library makes of the file: its exit status, the project or what it says instead."""
    run = subprocess.run(
        [os.environ["COMPOSE"], DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False, env=environment
    )
    return (run.returncode, run.stderr) if run.returncode else (0, json.loads(run.stdout))


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


class Composition(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        status, project = load(**SECRETS)
        assert status == 0, project
        cls.services = project["services"]

    def test_it_has_all_that_a_cluster_and_its_operators_want(self):
        chat = {"postgres", "redis", "migrate", "haproxy", *REPLICAS}
        self.assertEqual(set(self.services), chat | WATCHERS)

    def test_it_wants_a_password_and_a_key(self):
        for name in SECRETS:
            status, said = load(**{other: value for other, value in SECRETS.items() if other != name})
            self.assertNotEqual(status, 0)
            self.assertIn(f"{name} is missing a value: set a", said)

    def test_every_variable_of_a_replica_is_a_setting(self):
        documented = set(re.findall(r"\bOTEL_[A-Z_]+", (DEPLOY / "README.md").read_text()))
        known = set(settings_in_help()) | documented
        for name, service in self.services.items():
            if service["image"] == "chat-gateway":
                self.assertLessEqual(set(service["environment"]), known, name)

    def test_a_replica_has_time_to_drain(self):
        for name in REPLICAS:
            service = self.services[name]
            grace = int(service["stop_grace_period"].removesuffix("s"))
            self.assertGreaterEqual(grace, int(service["environment"]["DRAIN_SECONDS"]) + AFTER_THE_DRAIN, name)

    def test_haproxy_gets_every_variable_that_it_reads(self):
        config = (DEPLOY / "haproxy.cfg").read_text()
        self.assertEqual(set(self.services["haproxy"]["environment"]), set(re.findall(r"\$\{(\w+)\}", config)))
        tunnel = int(re.search(r"timeout tunnel +(\d+)s", config)[1])
        self.assertGreater(tunnel, int(settings_in_help()["IDLE_SECONDS"]))

    def test_nothing_is_published_to_other_machines(self):
        published = {}
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertEqual(port["host_ip"], "127.0.0.1", name)
                self.assertNotIn(port["published"], published, "two services want one port")
                published[port["published"]] = name
        self.assertEqual(
            published, {"8080": "haproxy", "3000": "grafana", "9090": "prometheus", "16686": "jaeger"}
        )

    def test_images_are_pinned(self):
        for name, service in self.services.items():
            if "build" not in service:
                self.assertRegex(service["image"], r"^[\w/-]+:v?\d+[\w.-]*$", name)
        for name in WATCHERS:
            self.assertRegex(self.services[name]["image"], r":v?\d+\.\d+\.\d+$", name)

    def test_replicas_and_watchers_may_do_little(self):
        for name in WATCHERS | set(REPLICAS):
            service = self.services[name]
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_the_chat_starts_without_what_watches_it(self):
        wanted, seen = ["haproxy", *REPLICAS], set()
        while wanted:
            name = wanted.pop()
            seen.add(name)
            wanted += set(self.services[name].get("depends_on", {})) - seen
        self.assertEqual(seen & WATCHERS, set())

    def test_what_is_mounted_is_there_and_is_not_written_to(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                if volume["type"] == "bind":
                    self.assertTrue(pathlib.Path(volume["source"]).is_file(), volume["source"])
                    self.assertTrue(volume["read_only"], f"{name}: {volume['source']}")

    def mounted(self, service, file):
        """Where a file of deploy/ is in the container."""
        volumes = self.services[service]["volumes"]
        return next(v["target"] for v in volumes if v["source"] == str(DEPLOY / file))

    def test_each_replica_says_which_it_is_and_samples_by_the_parent(self):
        for name in REPLICAS:
            environment = self.services[name]["environment"]
            self.assertEqual(environment["OTEL_RESOURCE_ATTRIBUTES"], f"service.instance.id={name}")
            self.assertTrue(environment["OTEL_TRACES_SAMPLER"].startswith("parentbased_"))

    def test_traces_go_from_the_replicas_by_the_collector_to_jaeger(self):
        config = read("otel-collector.yaml")
        port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rsplit(":", 1)[1]
        for name in REPLICAS:
            endpoint = self.services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
            self.assertEqual(endpoint, f"http://otel-collector:{port}")
        (exporter,) = config["service"]["pipelines"]["traces"]["exporters"]
        self.assertEqual(config["exporters"][exporter]["endpoint"], "jaeger:4317")

    def test_the_collector_takes_its_configuration(self):
        command = [os.environ["COLLECTOR"], "validate", "--config", DEPLOY / "otel-collector.yaml"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        version = re.search(r"^version=v(\S+)$", (ROOT / "tests" / "collector").read_text(), re.MULTILINE)[1]
        image = self.services["otel-collector"]["image"]
        self.assertEqual(image, f"otel/opentelemetry-collector:{version}", "the version that tests/collector builds")

    def test_prometheus_scrapes_each_replica_and_loads_the_rules(self):
        config = read("prometheus/prometheus.yml")
        (job,) = [job for job in config["scrape_configs"] if "chat-gateway" in job["job_name"]]
        ports = {name: self.services[name]["environment"]["OPS_LISTEN_ADDR"].rsplit(":", 1)[1] for name in REPLICAS}
        targets = [target for group in job["static_configs"] for target in group["targets"]]
        self.assertEqual(targets, [f"{name}:{port}" for name, port in ports.items()])
        mounted = self.mounted("prometheus", "prometheus/prometheus.yml")
        self.assertIn(f"--config.file={mounted}", self.services["prometheus"]["command"])
        (rules,) = config["rule_files"]
        self.assertEqual(
            self.mounted("prometheus", "prometheus/rules.yaml"), str(pathlib.PurePath(mounted).parent / rules)
        )

    def test_grafana_shows_the_dashboard_to_everybody_and_lets_nobody_in(self):
        (source,) = read("grafana/provisioning/datasources.yaml")["datasources"]
        self.assertEqual(urllib.parse.urlsplit(source["url"]).netloc, "prometheus:9090")
        interval = read("prometheus/prometheus.yml")["global"]["scrape_interval"]
        self.assertEqual(source["jsonData"]["timeInterval"], interval, "rates would look back over too little")
        (provider,) = read("grafana/provisioning/dashboards.yaml")["providers"]
        dashboard = self.mounted("grafana", "grafana/chat-gateway.json")
        self.assertEqual(str(pathlib.PurePath(dashboard).parent), provider["options"]["path"])
        environment = self.services["grafana"]["environment"]
        self.assertEqual(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"], dashboard)
        self.assertEqual(environment["GF_AUTH_ANONYMOUS_ORG_ROLE"], "Viewer")
        for closed in ("GF_AUTH_DISABLE_LOGIN_FORM", "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"):
            self.assertEqual(environment[closed], "true")
        self.assertEqual(environment["GF_AUTH_BASIC_ENABLED"], "false")
        for directory in ("datasources", "dashboards"):
            target = self.mounted("grafana", f"grafana/provisioning/{directory}.yaml")
            self.assertTrue(target.startswith(f"/etc/grafana/provisioning/{directory}/"), target)
