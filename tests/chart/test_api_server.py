"""A real API server takes what the chart renders, and what it becomes: its validation, its Pod Security, its own defaults."""

import copy
import json
import os
import subprocess
import tempfile
import unittest

import schemas
from api_server import ApiServer, Refused
from matrix import FILES, INLINE, MATRIX
from render import CHART, IMAGE, merge, pods, render
from test_rollout import bumped

BINARIES = os.environ.get("API_SERVER")
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


@unittest.skipUnless(BINARIES and schemas.FOLDER, "wants kube-apiserver: tests/chart/run --api-server")
class AnApiServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(ApiServer(BINARIES))
        for definition in schemas.definitions():
            cls.server.define(definition)
        cls.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "chat", "labels": RESTRICTED}})
        cls.server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}})
        priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1}
        cls.server.create(priority)
        runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}
        cls.server.create(runtime)
        cls.rendered = {name: render(values) for name, values in MATRIX.items()}
        cls.rendered |= {file: render(files=[file]) for file in FILES}

    def test_it_takes_every_manifest_without_a_warning(self):
        for name, manifests in self.rendered.items():
            for manifest in manifests:
                with self.subTest(name, manifest=f"{manifest['kind']}/{manifest['metadata']['name']}"):
                    self.assertEqual(self.server.create(manifest, dry_run=True), [])

    def test_it_lets_every_pod_into_a_restricted_namespace(self):
        for name, manifests in self.rendered.items():
            for owner, labels, spec in pods(manifests):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-", "labels": labels}, "spec": spec}
                with self.subTest(name, pod=owner):
                    self.assertEqual(self.server.create(pod, dry_run=True), [])

    def test_it_refuses_what_is_wrong(self):
        manifests = self.rendered["everything"]
        for owner, _, spec in pods(manifests):
            spec = copy.deepcopy(spec)
            del spec["containers"][0]["securityContext"]["capabilities"]
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-"}, "spec": spec}
            with self.subTest(owner), self.assertRaisesRegex(Refused, "violates PodSecurity"):
                self.server.create(pod, dry_run=True)
        for manifest in manifests:
            unknown = merge(manifest, {"spec": {"surprise": 1}} if "spec" in manifest else {"surprise": 1})
            with self.subTest(manifest["kind"]), self.assertRaisesRegex(Refused, "unknown field"):
                self.server.create(unknown, dry_run=True)

    def helm(self, *arguments, values=None):
        command = [os.environ["HELM"], *arguments, "--kubeconfig", str(self.server.kubeconfig())]
        run = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_each_installation_says_what_to_do_next(self):
        for name, values in MATRIX.items():
            command = ["install", "dry", str(CHART), "--namespace", "chat", "--dry-run=server", "--values", "-"]
            with self.subTest(name):
                notes = self.helm(*command, values=merge(IMAGE, values)).partition("NOTES:")[2]
                deployment = next(m for m in self.rendered[name] if m["kind"] == "Deployment")["metadata"]["name"]
                # The rendering's release is called `r`.
                deployment = deployment.removeprefix("r-")
                self.assertRegex(notes, rf"rollout status deployment/\S*{deployment}\n")
                self.assertIn("helm test dry --namespace chat\n", notes)
                # Helm writes nothing for a value that is none.
                self.assertRegex(notes, r"port-forward service/\S+ 8080:\d+\n +http://127.0.0.1:8080/|https?://[a-z]\S*/\n")
                self.assertNotIn("%!", notes)
                embedded = "DATABASE_URL" not in json.dumps(self.rendered[name])
                self.assertEqual("runs embedded" in notes, embedded)

    def test_replicas_are_anothers_and_a_chart_of_another_version_changes_no_pod(self):
        def deployment():
            return json.loads(self.server.ask("GET", path)[0])

        path = "/apis/apps/v1/namespaces/chat/deployments/scaled-chat-gateway"
        clustered = merge(IMAGE, MATRIX["clustered"])
        scaled = merge(IMAGE, MATRIX["clustered, scaled by another"])
        options = ["--namespace", "chat", "--no-hooks", "--values", "-"]
        self.helm("install", "scaled", str(CHART), *options, values=merge(clustered, {"replicas": 5}))
        self.addCleanup(self.helm, "uninstall", "scaled", "--namespace", "chat", "--no-hooks")
        self.assertEqual(deployment()["spec"]["replicas"], 5)
        self.helm("upgrade", "scaled", str(CHART), *options, values=scaled)
        self.assertEqual(deployment()["spec"]["replicas"], 1, "as values.yaml says")
        scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "scaled-chat-gateway", "namespace": "chat"}}
        self.server.ask("PUT", f"{path}/scale", scale | {"spec": {"replicas": 7}})
        before = deployment()
        with tempfile.TemporaryDirectory() as folder:
            self.helm("upgrade", "scaled", str(bumped(folder, version="9.8.7")), *options, values=scaled)
        self.assertEqual(deployment()["metadata"]["labels"]["helm.sh/chart"], "chat-gateway-9.8.7")
        self.assertEqual(deployment()["spec"], before["spec"])

    def test_a_release_goes_from_a_trial_to_production_and_back(self):
        helm = self.helm
        # Hooks are Jobs, which no controller here would ever finish.
        image = f"image.repository={IMAGE['image']['repository']}"
        chart = [str(CHART), "--namespace", "chat", "--no-hooks", "--set", image, "--values"]
        helm("install", "real", *chart, str(CHART / "values-try.yaml"))
        helm("upgrade", "real", *chart, "-", values=INLINE)
        helm("upgrade", "real", *chart, "-", values=MATRIX["everything"])
        # The API server refuses a change of a Job, and of a selector.
        for tag in ("1", "2"):
            helm("upgrade", "real", *chart, "-", values=merge(MATRIX["clustered, inline, a Job"], {"image": {"tag": tag}}))
        helm("upgrade", "real", *chart, str(CHART / "values-production.yaml"))
        helm("rollback", "real", "1", "--namespace", "chat", "--no-hooks")
        self.assertIn("real", helm("list", "--namespace", "chat"))
        helm("uninstall", "real", "--namespace", "chat", "--no-hooks")
        claims = json.loads(self.server.ask("GET", "/api/v1/namespaces/chat/persistentvolumeclaims")[0])["items"]
        self.assertEqual(len(claims), 1, "what people wrote outlives the release")


if __name__ == "__main__":
    unittest.main()
