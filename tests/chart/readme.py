#!/usr/bin/env python3
"""Writes what the chart has from elsewhere: its README, an introduction and a table made of the comments in values.yaml, and
copies of the dashboard and the rules, since links out of its folder would not survive its being copied."""

import itertools
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "helm" / "chat-gateway"
COMPARED = pathlib.Path(__file__).with_name("compared.md")
COPIES = {
    "files/dashboard.json": "deploy/grafana/chat-gateway.json",
    "files/rules.yaml": "deploy/prometheus/rules.yaml",
}
INTRODUCTION = """\
# chat-gateway on Kubernetes

<!-- Made by tests/chart/readme.py from values.yaml; a test compares them. -->

The image is yours to make, `REGISTRY=registry.example/team .ci/release v0.1.0` does it ([deploy/release.md](../../deploy/release.md)), and
publishes a chart that names it: such a chart wants none of the `--set image.repository=…` below. On one machine, `docker build --tag
chat-gateway:0.1.0 .` and `kind load docker-image chat-gateway:0.1.0` do, with `--set image.repository=chat-gateway`.

To try it, embedded, one replica with one volume:

    helm install chat helm/chat-gateway --values helm/chat-gateway/values-try.yaml --set image.repository=…

For production, several replicas on Postgres and Redis that you run, make a Secret with the keys `DATABASE_URL`, `REDIS_URL`
and `JWT_SECRET`, and adapt [`values-production.yaml`](values-production.yaml):

    kubectl create secret generic chat-gateway-secrets --from-env-file=secrets.env
    helm install chat helm/chat-gateway --values helm/chat-gateway/values-production.yaml --set image.repository=…

Then `helm test chat` signs up, sends a message and reads it back. Kubernetes 1.30 or newer.

- In a rolling update the new replicas come first; each old one then leaves the balancer, tells its sessions to reconnect over
  `drain.seconds`, and ends. The grace period is computed from that. Another version of the chart with the same image restarts nobody.
- A Job brings the schema up to date before each install and upgrade, by Helm's hooks or beside all else (`migrations.mode`); a replica
  refuses an older schema and takes a later one.
- Every pod meets the "restricted" Pod Security Standard and has no token of Kubernetes.
- Values that do not fit together, and unknown ones, end the render with a sentence.
- Postgres by TLS: `database.tls.ca` names a Secret or ConfigMap with its authority, and is verified in full. Redis by TLS: a URL
  that begins with `rediss://`, and `redis.tls.ca` where its authority is none of the public ones. Valkey is as good: `valkeys://`.

To watch it with the Prometheus operator, as in kube-prometheus-stack, its selectors' labels given:

    serviceMonitor: { enabled: true, labels: { release: kube-prometheus-stack } }
    prometheusRule: { enabled: true, labels: { release: kube-prometheus-stack } }
    dashboard: { enabled: true }

To scale by sessions, `autoscaling.sessions` wants an adapter that serves the metric; prometheus-adapter's rule for it:

    rules:
      custom:
        - seriesQuery: chat_sessions{namespace!="",pod!=""}
          resources: { overrides: { namespace: { resource: namespace }, pod: { resource: pod } } }
          metricsQuery: sum by (<<.GroupBy>>) (<<.Series>>{<<.LabelMatchers>>})

## With what is there already

- **Argo CD** takes Helm's hooks for its own (PreSync). Where a first sync has to make the Secret too, as by an **ExternalSecret** (which
  may be among `extraObjects`), a hook would wait for it in vain: `migrations.mode: job` makes the Job with all else. New replicas wait
  for it in an init container, `wait-for-schema`, whose log says what is missing, and old ones go on. Its name is made of what it does,
  since a Job cannot be changed; one that failed is removed by hand before the same is tried again.
- A namespace that denies what **no NetworkPolicy** allows: with `networkPolicy.enabled` the hook brings a policy that is there before
  it, and `helm test` has one. On OpenShift names are asked for at port 5353 (`networkPolicy.dnsPorts`).
- **Istio, Linkerd**: a sidecar that does not end would keep the Job from ending, so its pod asks for none (`migrations.podLabels`,
  `migrations.podAnnotations`). With native sidecars, or where Postgres is in the mesh:
  `migrations: { podLabels: { sidecar.istio.io/inject: "true" } }`.
- A **proxy to the database** as a sidecar (Cloud SQL's) goes into `initContainers` and `migrations.initContainers`, with
  `restartPolicy: Always`: it is there before the others and ends with the Job. In the mode `hook` the Job has the ServiceAccount only
  where that is yours (`serviceAccount: { create: false, name: … }`): the chart's comes after it.
- **Reloader** restarts the replicas when a Secret of yours changes: `deploymentAnnotations: { reloader.stakater.com/auto: "true" }`.
- **GKE's Gateway** refuses a route with timeouts: `httpRoute: { timeouts: null }`, and a GCPBackendPolicy with a long `timeoutSec` for the
  Service among `extraObjects`.
- An **umbrella chart**: `global.imageRegistry` and `global.imagePullSecrets` go for every image here.

## Values

| value | default | what it is |
| --- | --- | --- |
"""
OF_KUBERNETES = {"resources", "podSecurityContext", "securityContext"}
LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: (?P<value>.*))?$")


def rows(text):
    """Each leaf with its default and the comment above it; a part's own comment is a row without default."""
    path, comment, lines = [], [], text.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
            continue
        match = LINE.match(line)
        if not match:
            comment = []
            continue
        depth = len(match["indent"]) // 2
        path = [*path[:depth], match["key"]]
        value = match["value"]
        # Some are values of Kubernetes: one row for what they are as a whole.
        inside = OF_KUBERNETES & set(path[:-1])
        if comment and not inside:
            if value is None and path[-1] in OF_KUBERNETES:
                deeper = itertools.takewhile(re.compile(" " * (len(match["indent"]) + 1)).match, lines[number + 1 :])
                value = "; ".join(inner.strip() for inner in deeper)
            shown = "" if value in (None, "null", '""') else f"`{value}`"
            yield f"| `{'.'.join(path)}` | {shown} | {' '.join(comment)} |"
        elif value is not None and not inside:
            raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment")
        comment = []


def generate():
    """The whole README, as it has to be."""
    table = "\n".join(rows((CHART / "values.yaml").read_text()))
    return f"{INTRODUCTION}{table}\n{COMPARED.read_text()}"


if __name__ == "__main__":
    (CHART / "README.md").write_text(generate())
    for copy, original in COPIES.items():
        (CHART / copy).unlink(missing_ok=True)
        (CHART / copy).write_bytes((ROOT / original).read_bytes())
