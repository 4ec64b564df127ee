"""What each value of the platform's does: a table of values and what becomes of them, and the few that want a story."""

import unittest

from matrix import EVERYTHING, INLINE, MATRIX, NATIVE_SIDECAR, SIDECAR
from render import CLUSTERED, RenderError, merge, of_kind, pods, render

POD = "Deployment.spec.template.spec"
REPLICA = f"{POD}.containers.0"
JOB = "Job.spec.template"
ROUTE = "HTTPRoute.spec.rules"
SCRAPE = "ServiceMonitor.spec.endpoints.0"
ABSENT = object()
# What a rendering has where "everything" is given: a path from a kind, and what is there.
EXPECTED = {
    "Deployment.metadata.annotations": {"owner": "chat", "reloader.stakater.com/auto": "true"},
    "Deployment.metadata.labels.a": "b",
    "Deployment.spec.template.metadata.annotations.a": "b",
    "Deployment.spec.template.metadata.annotations.c": ABSENT,
    "Deployment.spec.template.metadata.labels.a": "b",
    "Deployment.spec.template.metadata.labels.c": ABSENT,
    "Job.metadata.annotations.a": "b",
    "Job.metadata.labels.a": "b",
    f"{JOB}.metadata.annotations": {"c": "d", "linkerd.io/inject": "disabled"},
    f"{JOB}.metadata.labels.c": "d",
    f"{JOB}.metadata.labels.a": ABSENT,
    f"{JOB}.spec.initContainers": [NATIVE_SIDECAR],
    f"{JOB}.spec.containers.0.envFrom": EVERYTHING["extraEnvFrom"],
    f"{POD}.initContainers": [NATIVE_SIDECAR],
    f"{POD}.containers.1": SIDECAR,
    f"{REPLICA}.envFrom": EVERYTHING["extraEnvFrom"],
    f"{REPLICA}.terminationMessagePolicy": "FallbackToLogsOnError",
    f"{REPLICA}.livenessProbe.initialDelaySeconds": 5,
    f"{REPLICA}.livenessProbe.failureThreshold": 6,
    f"{REPLICA}.livenessProbe.periodSeconds": 10,
    f"{REPLICA}.readinessProbe.periodSeconds": 2,
    f"{POD}.imagePullSecrets": [{"name": "mirror"}, {"name": "registry"}],
    "Deployment.spec.revisionHistoryLimit": 3,
    "Service.metadata.labels.a": "b",
    "Service.spec.ports.0.nodePort": 30080,
    "Ingress.metadata.labels.a": "b",
    "HTTPRoute.metadata.annotations.a": "b",
    "HTTPRoute.metadata.labels.a": "b",
    f"{ROUTE}.0.timeouts": {"request": "0s"},
    f"{ROUTE}.0.filters": EVERYTHING["httpRoute"]["filters"],
    f"{ROUTE}.1": EVERYTHING["httpRoute"]["extraRules"][0],
    "HorizontalPodAutoscaler.spec.metrics.2": EVERYTHING["autoscaling"]["metrics"][0],
    "HorizontalPodAutoscaler.spec.behavior.scaleUp.stabilizationWindowSeconds": 30,
    "HorizontalPodAutoscaler.spec.behavior.scaleUp.policies.0.type": "Percent",
    "HorizontalPodAutoscaler.spec.behavior.scaleDown.stabilizationWindowSeconds": 900,
    "NetworkPolicy.spec.ingress.2": EVERYTHING["networkPolicy"]["extraIngress"][0],
    "ServiceMonitor.metadata.namespace": "monitoring",
    "ServiceMonitor.metadata.annotations.a": "b",
    f"{SCRAPE}.scrapeTimeout": "30s",
    f"{SCRAPE}.relabelings.2": EVERYTHING["serviceMonitor"]["relabelings"][0],
    f"{SCRAPE}.metricRelabelings": EVERYTHING["serviceMonitor"]["metricRelabelings"],
    "ConfigMap.metadata.name": "r-more",
    "ServiceAccount.metadata.labels.a": "b",
    "Pod.metadata.annotations.a": "b",
    "Pod.metadata.labels.a": "b",
} | {
    f"{spec}.{key}": EVERYTHING[key]
    for spec in (POD, f"{JOB}.spec", "Pod.spec")
    for key in ("affinity", "dnsConfig", "dnsPolicy", "hostAliases", "nodeSelector", "priorityClassName")
    + ("hostUsers", "runtimeClassName", "schedulerName", "tolerations")
} | {
    f"Service.spec.{key}": EVERYTHING["service"][key]
    for key in ("externalTrafficPolicy", "internalTrafficPolicy", "loadBalancerClass", "loadBalancerSourceRanges")
    + ("sessionAffinity", "trafficDistribution")
}  # fmt: skip
# The same, where one thing is given.
ALONE = [
    ({"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "timeouts": None}}, f"{ROUTE}.0.timeouts", ABSENT),
    ({"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}, f"{ROUTE}.0.timeouts", {"request": "0s"}),
    ({"revisionHistoryLimit": 0}, "Deployment.spec.revisionHistoryLimit", 0),
    ({"terminationMessagePolicy": ""}, f"{REPLICA}.terminationMessagePolicy", ABSENT),
    ({"serviceAccount": {"mountToken": True}}, f"{POD}.automountServiceAccountToken", True),
    ({"persistence": {"accessModes": ["ReadWriteOncePod"]}}, "PersistentVolumeClaim.spec.accessModes", ["ReadWriteOncePod"]),
    ({"persistence": {"annotations": {"a": "b"}}}, "PersistentVolumeClaim.metadata.annotations.a", "b"),
    ({"persistence": {"annotations": {"helm.sh/resource-policy": "no"}}},
     "PersistentVolumeClaim.metadata.annotations", {"helm.sh/resource-policy": "keep"}),
    (MATRIX["clustered, pod monitor"], "PodMonitor.metadata.namespace", "monitoring"),
    (MATRIX["clustered, pod monitor"], "PodMonitor.spec.podMetricsEndpoints.0.scrapeTimeout", "15s"),
    (merge(CLUSTERED, {"migrations": {"podLabels": {"sidecar.istio.io/inject": "true"}}}),
     f"{JOB}.metadata.labels.sidecar-istio-io/inject", "true"),
    (merge(CLUSTERED, {"migrations": {"podAnnotations": {"linkerd.io/inject": None}}}), f"{JOB}.metadata.annotations", ABSENT),
    (merge(CLUSTERED, {"migrations": {"backoffLimit": 9}}), "Job.spec.backoffLimit", 9),
    (CLUSTERED, "PodDisruptionBudget.spec.minAvailable", ABSENT),
    (merge(CLUSTERED, {"podDisruptionBudget": {"minAvailable": "50%"}}), "PodDisruptionBudget.spec.minAvailable", "50%"),
    (merge(CLUSTERED, {"podDisruptionBudget": {"minAvailable": 2}}), "PodDisruptionBudget.spec.maxUnavailable", ABSENT),
]  # fmt: skip


def at(manifests, path):
    """What is at a path: a kind, of which the first is meant, and then keys and indices. A dot in a key is written as a dash."""
    kind, *keys = path.split(".")
    # The server's own come first, but for the hooks'.
    node = min((m for m in manifests if m["kind"] == kind), key=lambda m: len(m["metadata"]["name"]))
    for key in keys:
        if isinstance(node, list):
            node = node[int(key)] if int(key) < len(node) else ABSENT
        else:
            node = {name.replace(".", "-"): value for name, value in node.items()}.get(key, ABSENT)
        if node is ABSENT:
            return ABSENT
    return node


class Values(unittest.TestCase):
    def test_each_value_is_found_where_it_belongs(self):
        manifests = render(MATRIX["everything"])
        for path, expected in EXPECTED.items():
            with self.subTest(path):
                self.assertEqual(at(manifests, path), expected)
        for values, path, expected in ALONE:
            with self.subTest(path, values=values):
                self.assertEqual(at(render(values), path), expected)

    def test_common_labels_and_annotations_are_on_everything_and_select_nothing(self):
        for manifest in render(MATRIX["everything, inline"]):
            with self.subTest(f"{manifest['kind']}/{manifest['metadata']['name']}"):
                if manifest["metadata"]["name"] != "r-more":
                    self.assertEqual(manifest["metadata"]["labels"]["team"], "chat")
                    self.assertEqual(manifest["metadata"]["annotations"]["owner"], "chat")
                self.assertNotIn("team", str(manifest.get("spec", {}).get("selector")))
                template = manifest.get("spec", {}).get("template")
                if template:
                    self.assertEqual(template["metadata"]["labels"]["team"], "chat")
                    self.assertNotIn("owner", template["metadata"].get("annotations", {}))

    def test_every_image_comes_from_the_registry_of_the_umbrella(self):
        def images(values):
            found = render(merge(CLUSTERED, values))
            return {c["image"] for _, _, spec in pods(found) for c in spec["containers"] + spec.get("initContainers", [])}

        mirror = {"global": {"imageRegistry": "mirror.test:5000/all/"}}
        self.assertEqual(
            images(mirror), {"mirror.test:5000/all/chat-gateway:0.1.0", "mirror.test:5000/all/curlimages/curl:8.11.1"}
        )
        for repository in ("team/chat", "localhost/team/chat", "host:5000/team/chat", "registry.test/team/chat"):
            self.assertIn("mirror.test:5000/all/team/chat:0.1.0", images({**mirror, "image": {"repository": repository}}))
        self.assertIn("registry.test/team/chat:0.1.0", images({"image": {"repository": "registry.test/team/chat"}}))

    def test_extra_objects_are_templates(self):
        text = 'apiVersion: v1\nkind: Secret\nmetadata: { name: {{ include "chat.fullname" . }}-more }\ntype: {{ .Values.nameOverride | default "Opaque" }}'
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Namespace }}"}, "data": {"a": "1"}}
        manifests = render({"extraObjects": [text, made]})
        self.assertEqual(of_kind(manifests, "Secret", "-more")["type"], "Opaque")
        self.assertEqual(of_kind(manifests, "ConfigMap", "chat")["data"], {"a": "1"})

    def test_resource_attributes_are_beside_the_charts(self):
        def attributes(values):
            manifests = render({"otlp": {"endpoint": "http://c", "resourceAttributes": values}})
            env = {env["name"]: env.get("value") for env in at(manifests, f"{REPLICA}.env")}
            return dict(pair.split("=") for pair in env["OTEL_RESOURCE_ATTRIBUTES"].split(","))

        own = {"deployment.environment.name": "production", "k8s.cluster.name": "one"}
        self.assertEqual(attributes(own), attributes({}) | own)
        self.assertEqual(attributes({"service.namespace": "shop"})["service.namespace"], "shop")

    def test_a_release_without_any_of_them_has_none_of_them(self):
        manifests = render(CLUSTERED)
        for path in EXPECTED:
            kind = path.split(".")[0]
            if path.startswith((POD, JOB, "Service.")) and kind in {m["kind"] for m in manifests}:
                if "Probe" not in path and "terminationMessage" not in path and "linkerd" not in str(EXPECTED[path]):
                    with self.subTest(path):
                        self.assertIs(at(manifests, path), ABSENT)


    def test_valkey_is_taken_as_redis_is(self):
        for scheme in ("redis", "rediss", "valkey", "valkeys"):
            render(merge(INLINE, {"redis": {"url": f"{scheme}://r"}}))
        with self.assertRaisesRegex(RenderError, "redis.url is not rediss:// or valkeys://"):
            render(merge(INLINE, {"redis": {"url": "valkey://r", "tls": {"ca": {"secretName": "a"}}}}))


class Migrations(unittest.TestCase):
    def job(self, *values):
        return at(render(merge(INLINE, *values)), "Job")

    def test_values_of_before_there_was_a_mode_mean_what_they_meant(self):
        for values, mode in (({"enabled": False}, "none"), ({"enabled": True}, "hook"), ({}, "hook")):
            self.assertEqual(render(merge(INLINE, {"migrations": values})), render(merge(INLINE, {"migrations": {"mode": mode}})))

    def test_a_hook_finds_its_secret_and_its_policy_before_it(self):
        manifests = render(MATRIX["clustered, a hook behind a policy"])
        job = of_kind(manifests, "Job")
        hooks = [m for m in manifests if "pre-install" in m["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
        weights = {m["kind"]: int(m["metadata"]["annotations"]["helm.sh/hook-weight"]) for m in hooks}
        self.assertEqual(set(weights), {"Job", "NetworkPolicy", "Secret"})
        self.assertLess(max(weights["Secret"], weights["NetworkPolicy"]), weights["Job"])
        policy = next(m for m in hooks if m["kind"] == "NetworkPolicy")["spec"]
        labels = job["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(policy["podSelector"]["matchLabels"].items(), labels.items())
        ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
        self.assertLessEqual({53, 5432}, ports)
        self.assertNotIn("ingress", policy, "nobody connects to a Job")

    def test_a_job_of_the_release_uses_what_comes_with_the_release(self):
        manifests = render(MATRIX["clustered, inline, a Job"])
        self.assertFalse([m for m in manifests if "pre-install" in str(m["metadata"].get("annotations"))])
        job = of_kind(manifests, "Job")
        spec = job["spec"]["template"]["spec"]
        self.assertEqual(spec["serviceAccountName"], of_kind(manifests, "ServiceAccount")["metadata"]["name"])
        secret = spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"]
        self.assertIn(secret, [m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"])
        policy = of_kind(manifests, "NetworkPolicy", "gateway")["spec"]["podSelector"]["matchExpressions"][0]
        self.assertIn(job["spec"]["template"]["metadata"]["labels"][policy["key"]], policy["values"])

    def test_replicas_wait_for_a_job_and_for_nothing_else(self):
        waits = at(render(merge(MATRIX["everything, a Job"])), f"{POD}.initContainers")
        self.assertEqual([container["name"] for container in waits], ["proxy", "wait-for-schema"], "a proxy is there by then")
        wait, job = waits[1], self.job(EVERYTHING, {"migrations": {"mode": "job"}})["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(wait["args"], ["migrate", "--wait", "600"])
        same = ("env", "envFrom", "image", "resources", "securityContext", "volumeMounts")
        self.assertEqual({key: wait[key] for key in same}, {key: job[key] for key in same})
        for name in ("clustered", "clustered, no migrations", "default"):
            self.assertIs(at(render(MATRIX[name]), f"{POD}.initContainers"), ABSENT, name)
        slow = {"migrations": {"mode": "job", "deadlineSeconds": 7200}}
        deadline = at(render(merge(CLUSTERED, slow)), "Deployment.spec.progressDeadlineSeconds")
        self.assertGreater(deadline, 7200, "a roll-out that waits for the Job has not failed")

    def test_the_owner_of_the_tables_migrates_and_nobody_else_is_one(self):
        owner = {"migrations": {"existingSecret": {"name": "owner", "key": "url"}}}
        for mode in ("hook", "job"):
            manifests = render(merge(INLINE, owner, {"migrations": {"mode": mode}}))
            whose = {}
            for _, labels, spec in pods(manifests):
                for container in spec.get("initContainers", []) + spec["containers"]:
                    urls = [env["valueFrom"]["secretKeyRef"] for env in container["env"] if env["name"] == "DATABASE_URL"]
                    whose |= {container["name"]: url for url in urls}
            self.assertEqual(whose.pop("migrate"), {"name": "owner", "key": "url"})
            self.assertTrue(whose)
            self.assertNotIn("owner", str(whose))
            self.assertNotIn("r-chat-gateway-migrate-env", [m["metadata"]["name"] for m in manifests])

    def test_a_job_that_does_something_else_has_another_name(self):
        mode = {"migrations": {"mode": "job"}}
        names = [
            self.job(mode, values)["metadata"]["name"]
            for values in ({}, {"image": {"tag": "2"}}, {"extraEnv": [{"name": "A", "value": "1"}]}, {"nodeSelector": {"a": "b"}})
        ]
        self.assertEqual(len(set(names)), len(names))
        # What is not the Job's leaves it as it is, and so does its own annotation, which may change.
        for values in ({"replicas": 5}, {"podLabels": {"a": "b"}}, {"migrations": {"annotations": {"a": "b"}}}):
            self.assertEqual(self.job(mode, values)["metadata"]["name"], names[0], values)
        self.assertRegex(names[0], r"^r-chat-gateway-migrate-[0-9a-f]{8}$")
        self.assertEqual(self.job()["metadata"]["name"], "r-chat-gateway-migrate", "a hook is removed before the next")

    def test_a_sidecar_of_the_replicas_does_not_hang_the_job(self):
        for mode in ("hook", "job"):
            mesh = {"podLabels": {"sidecar.istio.io/inject": "true"}, "podAnnotations": {"linkerd.io/inject": "enabled"}}
            manifests = render(merge(CLUSTERED, mesh, {"migrations": {"mode": mode}}))
            replica, job = (at(manifests, f"{kind}.spec.template.metadata") for kind in ("Deployment", "Job"))
            self.assertEqual((replica["labels"]["sidecar.istio.io/inject"], job["labels"]["sidecar.istio.io/inject"]), ("true", "false"))
            self.assertEqual(job["annotations"], {"linkerd.io/inject": "disabled"})

    def test_an_account_of_ones_own_is_the_hooks_too(self):
        own = {"serviceAccount": {"create": False, "name": "mine"}}
        self.assertEqual(self.job(own)["spec"]["template"]["spec"]["serviceAccountName"], "mine")
        self.assertNotIn("serviceAccountName", self.job()["spec"]["template"]["spec"], "the chart's comes after the hook")


if __name__ == "__main__":
    unittest.main()
