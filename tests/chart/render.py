"""Renders the chart with the real helm, and knows what `chat-gateway --help` lists."""

import faulthandler
import functools
import json
import os
import pathlib
import re
import subprocess

import yaml

# No test waits for ever: past half an hour the process says where it does, and ends.
faulthandler.dump_traceback_later(1800, exit=True)

ROOT = pathlib.Path(__file__).parents[2]
CHART = ROOT / "helm" / "chat-gateway"
CLUSTERED = {
    "database": {"existingSecret": {"name": "urls"}},
    "redis": {"existingSecret": {"name": "urls"}},
    "tokens": {"existingSecret": {"name": "urls"}},
}
# The chart's own is a placeholder, and refused.
IMAGE = {"image": {"repository": "registry.test/chat-gateway"}}
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """What helm says when it does not render."""


def render(values=None, files=(), kube_version="1.33.0", chart=CHART, image=None, options=()):
    """The manifests, as a list, of a release named `r`."""
    command = [os.environ["HELM"], "template", "r", str(chart), "--namespace", "chat", "--kube-version", kube_version, *options]
    for file in files:
        command += ["--values", str(CHART / file)]
    command += ["--values", "-"]
    rendered = helm_template(*command, values=json.dumps(merge(IMAGE if image is None else image, values or {})))
    return [manifest for manifest in yaml.load_all(rendered, FAST) if manifest]


@functools.cache
def helm_template(*command, values):
    """What helm prints: the same for the same, so that the classes of tests share the matrix."""
    run = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RenderError(run.stderr)
    return run.stdout


def merge(*parts):
    """One dict of several, the later ones first, as helm merges values files."""
    merged = {}
    for part in parts:
        for key, value in part.items():
            deeper = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key], value) if deeper else value
    return merged


def of_kind(manifests, kind, suffix=""):
    """The one manifest of this kind whose name ends so."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} of kind {kind} with a name in …{suffix}"
    return found[0]


def pods(manifests):
    """Every pod that the manifests lead to: a name, its labels and its spec."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] == "Pod":
            yield name, manifest["metadata"]["labels"], manifest["spec"]
        elif manifest["kind"] in ("Deployment", "Job"):
            template = manifest["spec"]["template"]
            yield name, template["metadata"]["labels"], template["spec"]


def settings_in_help():
    """Each setting that the binary has, with its default."""
    help_text = subprocess.run([os.environ["CHAT_GATEWAY"], "--help"], capture_output=True, text=True, check=True, env={})
    chunks = " ".join(help_text.stdout.split()).split("[env: ")[1:]
    return {
        re.match(r"\w+", chunk)[0]: (re.search(r"\[default: ([^]]*)\]", chunk) or [None, ""])[1] for chunk in chunks
    }
