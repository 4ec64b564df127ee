"""Clusters that differ: of two address families or of one, with users of their own."""

import ctypes
import os
import re
import struct
import subprocess
import tempfile
import unittest
import urllib.request

from matrix import FILES, MATRIX
from render import CLUSTERED, IMAGE, merge, of_kind, pods, render

AS_THE_CHART_SAYS = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
CONTAINERS = {"chat-gateway", "migrate", "wait-for-schema", "test"}  # the chart's
OPENSHIFT = ["--api-versions", "security.openshift.io/v1"]


def without_ipv6():
    """Has the kernel refuse this process IPv6 sockets, as one that was started with ipv6.disable=1 does: EAFNOSUPPORT."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # Classic BPF over struct seccomp_data: the call's number, then the low half of its first argument.
    socket, af_inet6, allow, refuse = 41, 10, 0x7FFF0000, 0x00050000 | 97
    program = struct.pack("<HBBI", 0x20, 0, 0, 0)  # load the number
    program += struct.pack("<HBBI", 0x15, 0, 3, socket)
    program += struct.pack("<HBBI", 0x20, 0, 0, 16)
    program += struct.pack("<HBBI", 0x15, 0, 1, af_inet6)
    program += struct.pack("<HBBI", 0x06, 0, 0, refuse) + struct.pack("<HBBI", 0x06, 0, 0, allow)
    code = ctypes.create_string_buffer(program)
    length = len(program) // 8
    filters = ctypes.create_string_buffer(struct.pack("@HP", length, ctypes.addressof(code)))
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filters, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def containers(spec):
    """All of a pod."""
    return spec["containers"] + spec.get("initContainers", [])


def contexts(manifests):
    """The security contexts of every pod, and of those containers that are the chart's."""
    for name, _, spec in pods(manifests):
        yield name, spec.get("securityContext"), [c.get("securityContext") for c in containers(spec) if c["name"] in CONTAINERS]


class Platforms(unittest.TestCase):
    def test_both_services_are_of_the_families_that_are_asked_for(self):
        asked = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
        for values, wanted in (({}, {}), ({"service": asked}, asked)):
            services = [m["spec"] for m in render(values) if m["kind"] == "Service"]
            self.assertEqual(len(services), 2)
            for service in services:
                self.assertEqual({key: service[key] for key in asked if key in service}, wanted)

    @unittest.skipUnless(os.uname().machine == "x86_64", "the number of socket(2) is that of x86-64")
    def test_a_pod_without_ipv6_starts_on_the_charts_addresses(self):
        (container,) = of_kind(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
        listens = {env["name"]: env["value"] for env in container["env"] if env["name"].endswith("LISTEN_ADDR")}
        self.assertEqual(set(listens), {"LISTEN_ADDR", "OPS_LISTEN_ADDR"})
        free = {name: re.sub(r":\d+$", ":0", address) for name, address in listens.items()}
        with tempfile.TemporaryDirectory() as folder:
            server = subprocess.Popen(
                [os.environ["CHAT_GATEWAY"]], env={"DATA_DIR": folder, **free}, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, preexec_fn=without_ipv6,
            )  # fmt: skip
            try:
                said = server.stdout.readline()
                port = re.search(r"http://\S*?:(\d+)", said)[1]
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/openapi.json", timeout=10)
                self.assertEqual(answer.status, 200)
            finally:
                server.kill()
                server.wait()
                server.stdout.close()

    def test_openshift_gives_the_user(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                for pod, context, _ in contexts(render(values)):
                    if "podSecurityContext" not in values:
                        self.assertLessEqual(AS_THE_CHART_SAYS.items(), context.items(), pod)
                for pod, context, inner in contexts(render(values, options=OPENSHIFT)):
                    if "podSecurityContext" not in values:
                        self.assertEqual(set(context) & set(AS_THE_CHART_SAYS), set(), pod)
                    self.assertIs(context["runAsNonRoot"], True)
                    self.assertTrue(all(container["readOnlyRootFilesystem"] for container in inner))
        # One that somebody has chosen stays.
        chosen = {"podSecurityContext": {"runAsUser": 1000680000}}
        for _, context, _ in contexts(render(merge(MATRIX["everything"], chosen), options=OPENSHIFT)):
            self.assertEqual(context["runAsUser"], 1000680000)
            self.assertNotIn("fsGroup", context)

    def test_security_contexts_can_be_given_and_emptied(self):
        for values in (MATRIX["default"], MATRIX["everything, inline"], merge(CLUSTERED, {"migrations": {"mode": "job"}})):
            none = merge(values, {"podSecurityContext": None, "securityContext": None})
            for pod, context, inner in contexts(render(none)):
                self.assertEqual((context, set(map(str, inner))), (None, {"None"}), pod)
            own = merge(values, {"podSecurityContext": {"supplementalGroups": [7]}, "securityContext": {"privileged": False}})
            for pod, context, inner in contexts(render(own)):
                self.assertEqual(context["supplementalGroups"], [7], pod)
                self.assertTrue(all(container["privileged"] is False for container in inner), pod)
                self.assertLessEqual(AS_THE_CHART_SAYS.items(), context.items(), pod)

    def test_no_container_is_left_out(self):
        rendered = [render(values) for values in MATRIX.values()] + [render(files=[file]) for file in FILES]
        found = [container for manifests in rendered for _, _, spec in pods(manifests) for container in containers(spec)]
        self.assertLessEqual(CONTAINERS, {container["name"] for container in found})
        image = IMAGE["image"]["repository"]
        self.assertLessEqual({c["name"] for c in found if c["image"].startswith(image)}, CONTAINERS)


if __name__ == "__main__":
    unittest.main()
