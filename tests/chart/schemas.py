"""The schemas of custom resources, from the definitions that their projects ship; unknown fields are refused."""

import functools
import os
import pathlib

import jsonschema
import yaml

# Where tests/chart/run has put the definitions; nowhere without Go.
FOLDER = os.environ.get("CUSTOM_RESOURCES")
CUSTOM = {"HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}


def definitions():
    """Each CustomResourceDefinition."""
    return [yaml.safe_load(path.read_text()) for path in sorted(pathlib.Path(FOLDER).glob("*.yaml"))]


def strict(schema):
    """The same, with fields that it does not know refused."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict) and not is_open:
        made["additionalProperties"] = False
    return made


@functools.cache
def validator(api_version, kind):
    """Of this version of this kind."""
    group, version = api_version.split("/")
    for definition in definitions():
        spec = definition["spec"]
        if (spec["group"], spec["names"]["kind"]) == (group, kind):
            schema = next(v["schema"]["openAPIV3Schema"] for v in spec["versions"] if v["name"] == version and v["served"])
            return jsonschema.Draft4Validator(strict(schema))
    raise LookupError(f"no definition of {kind} in {api_version}")


def errors(manifest):
    """What is wrong with it, as sentences."""
    found = validator(manifest["apiVersion"], manifest["kind"]).iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
