"""A real kube-apiserver with its etcd, on loopback, for the time of a test: it judges manifests as a cluster would."""

import contextlib
import ctypes
import http.client
import json
import pathlib
import secrets
import signal
import socket
import ssl
import subprocess
import tempfile
import time

PATIENCE = 120  # seconds that it may take to start on a busy machine


class Refused(Exception):
    """What the API server says against a manifest."""


def end_with_me():
    """Has the kernel end the server when this process is killed (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class ApiServer:
    """Use it with `with`: it starts, and is gone afterwards."""

    def __init__(self, binaries):
        self.binaries = pathlib.Path(binaries)
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.resources = {}
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack:
            self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
            self.start()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def start(self):
        key = self.folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f'{self.token},test,1,"system:masters"\n')
        etcd, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.run(
            "etcd", f"--data-dir={self.folder}/etcd", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peers}", "--unsafe-no-fsync",
        )  # fmt: skip
        # ServiceAccount wants a controller that makes `default`; everything else is as in a cluster.
        server = self.run(
            "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={self.port}", "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder}/certificates", f"--token-auth-file={tokens}", "--authorization-mode=RBAC",
            "--service-account-issuer=https://test", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", "--service-cluster-ip-range=10.0.0.0/24,fd00:10::/112",
            "--disable-admission-plugins=ServiceAccount", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
        )  # fmt: skip
        self.wait(lambda: self.get("/readyz", server) == b"ok", "it is ready")

    def run(self, name, *arguments):
        log = self.stack.enter_context(open(self.folder / f"{name}.log", "wb"))
        process = subprocess.Popen([self.binaries / name, *arguments], stdout=log, stderr=log, preexec_fn=end_with_me)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def wait(self, happens, what):
        deadline = time.monotonic() + PATIENCE
        while not happens():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {PATIENCE} s: {what}\n{(self.folder / 'kube-apiserver.log').read_text()[-3000:]}")
            time.sleep(0.1)

    def get(self, path, server):
        """The answer, or nothing while nobody listens."""
        if server.poll() is not None:
            raise ChildProcessError((self.folder / "kube-apiserver.log").read_text()[-3000:])
        with contextlib.suppress(OSError, Refused):
            return self.ask("GET", path)[0]
        return None

    def ask(self, method, path, body=None):
        """The answer and the warnings beside it; raises what is refused."""
        context = ssl._create_unverified_context()  # its certificate is of its own making, and it is on loopback
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, body and json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status >= 300:
                with contextlib.suppress(ValueError, KeyError):
                    raise Refused(json.loads(answer)["message"])
                raise Refused(f"{response.status} {answer[:500]}")
            return answer, response.headers.get_all("Warning", [])

    def path(self, manifest, namespace):
        """Where manifests of its kind are, in its own namespace where it has one."""
        namespace = manifest["metadata"].get("namespace", namespace)
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self.resources:
            for resource in json.loads(self.ask("GET", root)[0])["resources"]:
                if "/" not in resource["name"]:
                    self.resources[version, resource["kind"]] = resource["name"], resource["namespaced"]
        name, namespaced = self.resources[version, kind]
        return f"{root}/namespaces/{namespace}/{name}" if namespaced else f"{root}/{name}"

    def create(self, manifest, namespace="chat", dry_run=False):
        """Creates it, unknown fields refused; gives the warnings."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.ask("POST", self.path(manifest, namespace) + query, manifest)[1]

    def define(self, definition):
        """Takes a CustomResourceDefinition, and waits until it serves the kind."""
        self.create(definition)
        spec = definition["spec"]
        version = next(v["name"] for v in spec["versions"] if v["served"])
        path = f"/apis/{spec['group']}/{version}/namespaces/default/{spec['names']['plural']}"

        def serves():
            with contextlib.suppress(Refused):
                return self.ask("GET", path)
            return None

        self.wait(serves, path)

    def kubeconfig(self):
        """A file that helm finds the server by."""
        parts = {
            "clusters": {"cluster": {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}},
            "users": {"user": {"token": self.token}},
            "contexts": {"context": {"cluster": "test", "user": "test", "namespace": "chat"}},
        }
        config = {key: [{"name": "test", **part}] for key, part in parts.items()} | {"current-context": "test"}
        file = self.folder / "kubeconfig"
        file.write_text(json.dumps(config))
        return file
