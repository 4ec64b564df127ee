"""What the chart renders is valid, restricted, and fits together, over a matrix of options."""

import functools
import re
import unittest

import kubernetes_validate

import schemas
from matrix import EVERYTHING, FILES, MATRIX
from render import ROOT, of_kind, pods, render

__all__ = ["AFTER_THE_DRAIN", "EVERYTHING", "FILES", "MATRIX"]

def limit(name):
    """A time limit in the server's source, in seconds; of several the last, which is that of all."""
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    value = re.search(rf"const {name}: .*Duration.* = (.*);", sources)[1]
    return int(re.findall(r"Duration::from_secs\((\d+)\)", value)[-1])


# Until the server ends itself after the drain: the sessions and the workers; the last spans, then the last metrics.
AFTER_THE_DRAIN = limit("DEADLINE") + 2 * limit("FLUSH")
# It reads a version's definitions, which are large, for every manifest.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
KUBE_VERSIONS = [f"1.{minor}" for minor in range(30, 38)]


def on_each(test):
    """Runs a test on every rendering and names the ones on which it fails."""

    @functools.wraps(test)
    def on_all(self):
        for name, manifests in self.rendered.items():
            with self.subTest(name):
                test(self, manifests)

    return on_all


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {name: render(values) for name, values in MATRIX.items()}
        cls.rendered |= {file: render(files=[file]) for file in FILES}

    @on_each
    def test_they_are_valid_in_every_supported_kubernetes(self, manifests):
        for manifest in manifests:
            if manifest["kind"] not in schemas.CUSTOM:
                for version in KUBE_VERSIONS:
                    kubernetes_validate.validate(manifest, version, strict=True)

    @unittest.skipUnless(schemas.FOLDER, "wants the definitions of custom resources")
    @on_each
    def test_custom_resources_are_what_their_definitions_say(self, manifests):
        for manifest in manifests:
            if manifest["kind"] in schemas.CUSTOM:
                self.assertEqual(schemas.errors(manifest), [], manifest["kind"])

    @on_each
    def test_every_pod_meets_the_restricted_pod_security_standard(self, manifests):
        for name, _, spec in pods(manifests):
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True, name)
            self.assertNotEqual(spec["securityContext"].get("runAsUser"), 0, name)
            self.assertIs(spec["automountServiceAccountToken"], False, name)
            for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
                self.assertNotIn(forbidden, spec, name)
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
            for volume in spec.get("volumes", []):
                self.assertLessEqual(set(volume) - {"name"}, allowed, name)
            for container in spec["containers"] + spec.get("initContainers", []):
                security = container["securityContext"]
                self.assertIs(security["allowPrivilegeEscalation"], False, name)
                self.assertIs(security["readOnlyRootFilesystem"], True, name)
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]}, name)
                self.assertNotIn("hostPort", str(container.get("ports")), name)
                self.assertIn("memory", container["resources"]["limits"], name)

    @on_each
    def test_the_grace_period_covers_the_drain(self, manifests):
        spec = of_kind(manifests, "Deployment")["spec"]
        pod = spec["template"]["spec"]
        container = pod["containers"][0]
        drain = int(next(env["value"] for env in container["env"] if env["name"] == "DRAIN_SECONDS"))
        pre_stop = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], pre_stop + drain + AFTER_THE_DRAIN)
        self.assertGreater(spec["progressDeadlineSeconds"], pod["terminationGracePeriodSeconds"])
        # A balancer that asks the readiness hears of it before the replica stops to accept.
        readiness = container["readinessProbe"]
        if pre_stop:
            self.assertGreaterEqual(pre_stop, readiness["periodSeconds"] * readiness["failureThreshold"])
        for probe in ("startupProbe", "livenessProbe"):
            self.assertEqual(container[probe]["httpGet"], {"path": "/healthz", "port": "ops"})

    @on_each
    def test_selectors_and_ports_meet_what_they_mean(self, manifests):
        deployment = of_kind(manifests, "Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        ports = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
        self.assertLessEqual(deployment["spec"]["selector"]["matchLabels"].items(), labels.items())
        for service in (m for m in manifests if m["kind"] == "Service"):
            self.assertLessEqual(service["spec"]["selector"].items(), labels.items())
            self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, ports)
            for name, other, _ in pods(manifests):
                if not name.startswith("Deployment"):
                    self.assertFalse(service["spec"]["selector"].items() <= other.items(), name)
        for monitor in (m for m in manifests if m["kind"] == "ServiceMonitor"):
            ops = of_kind(manifests, "Service", "-ops")
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            self.assertLessEqual(wanted, ops["metadata"]["labels"].items())
            others = [m for m in manifests if m["kind"] == "Service" and m is not ops]
            self.assertFalse(any(wanted <= other["metadata"]["labels"].items() for other in others))
        for manifest in manifests:
            self.assertLessEqual(len(manifest["metadata"]["name"]), 63)

    @on_each
    def test_every_volume_is_mounted_and_every_mount_has_a_volume(self, manifests):
        for name, _, spec in pods(manifests):
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            containers = spec["containers"] + spec.get("initContainers", [])
            mounts = [{m["name"] for m in container.get("volumeMounts", [])} for container in containers]
            self.assertEqual(mounts[0] | volumes, mounts[0], name)
            self.assertEqual(set().union(*mounts), volumes, name)

    def test_a_secret_that_is_referred_to_is_made_before_it_is_needed(self):
        for name in ("clustered, inline", "clustered, inline, a Job", "everything, inline", "long names", "long names, a Job"):
            manifests = self.rendered[name]
            secrets = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Secret"}
            annotations = {f"{m['kind']}/{m['metadata']['name']}": m["metadata"].get("annotations", {}) for m in manifests}
            for pod, _, spec in pods(manifests):
                for env in spec["containers"][0].get("env", []):
                    if env["name"] in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET"):
                        reference = env["valueFrom"]["secretKeyRef"]
                        secret = secrets[reference["name"]]
                        self.assertIn(reference["key"], secret["stringData"])
                        is_hook = "helm.sh/hook" in secret["metadata"].get("annotations", {})
                        self.assertEqual(is_hook, "helm.sh/hook" in annotations[pod], pod)

    @on_each
    def test_a_lone_replica_is_replaced_and_many_are_rolled(self, manifests):
        spec = of_kind(manifests, "Deployment")["spec"]
        env = {env["name"] for env in spec["template"]["spec"]["containers"][0]["env"]}
        clustered = "DATABASE_URL" in env
        self.assertEqual("REDIS_URL" in env, clustered)
        self.assertLessEqual(clustered, "JWT_SECRET" in env)  # embedded makes its own where none is given
        self.assertEqual("DATA_DIR" in env, not clustered)
        self.assertEqual(spec["strategy"]["type"], "RollingUpdate" if clustered else "Recreate")
        scaled = any(m["kind"] == "HorizontalPodAutoscaler" for m in manifests)
        self.assertLessEqual(scaled, "replicas" not in spec)
        many = "replicas" not in spec or spec["replicas"] > 1
        self.assertEqual(any(m["kind"] == "PodDisruptionBudget" for m in manifests), many)

    def test_numbers_are_written_as_people_write_them(self):
        manifests = self.rendered["everything"]
        env = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
        values = {entry["name"]: entry.get("value") for entry in env}
        self.assertEqual(values["WARM_LOG_BYTES"], "1048576")
        self.assertEqual(values["TRUSTED_PROXIES"], "10.0.0.0/8,::1")
        self.assertEqual(values["HIDE_UNKNOWN_USERS"], "false")
        sessions = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["metrics"][1]["pods"]["target"]
        self.assertEqual(sessions["averageValue"], "5000000")
        annotations = of_kind(manifests, "Ingress")["metadata"]["annotations"]
        self.assertEqual(annotations["x"], "y")
        self.assertEqual(values["OTEL_TRACES_SAMPLER_ARG"], "0.25")
        egress = of_kind(manifests, "NetworkPolicy", "gateway")["spec"]["egress"]
        self.assertIn([{"protocol": "TCP", "port": 4317}], [rule["ports"] for rule in egress])
        self.assertIn("nginx.ingress.kubernetes.io/proxy-read-timeout", annotations)
