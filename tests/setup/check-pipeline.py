#!/usr/bin/env python3
"""Checks a pipeline of examples/ci against the schema of what it is for; says what is wrong with it, and fails.

usage: check-pipeline.py FILE

GitLab's and GitHub's schemas come with check-jsonschema, Kubernetes' with kubernetes-validate, that of Argo Workflows with hera: ./test
installs them. For Tekton no package has one: what a Task holds is listed below, and what it shares with a Pod is checked as a Pod.
"""

import json
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
from ruamel.yaml import YAML

KUBERNETES = "1.34"


def documents(file):
    """As plain values; YAML 1.2, to which `on` is a word like any other."""
    return json.loads(json.dumps(list(YAML(typ="safe", pure=True).load_all(Path(file)))))


def kubernetes(document):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def json_schema(file, schema):
    subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", file], check=True)


def argo(document):
    from hera.workflows import models

    model = getattr(models, document["kind"])
    read = model.model_validate(document)
    # What the model does not know it drops.
    kept = json.loads(read.model_dump_json(by_alias=True, exclude_unset=True))
    if kept != document:
        raise ValueError(f"the model keeps\n{json.dumps(kept, indent=1)}\nof\n{json.dumps(document, indent=1)}")


# Of tekton.dev/v1: the fields of each object, those that must be there with a `!`.
TEKTON = {
    "task": "apiVersion! kind! metadata! spec!",
    "spec": "description displayName params results sidecars stepTemplate steps! volumes workspaces",
    "param": "name! type description properties default enum",
    "workspace": "name! description mountPath readOnly optional",
    "result": "name! type properties description value",
    "step": "name image! command args workingDir env envFrom script timeout workspaces onError stdoutConfig stderrConfig ref params results "
    "when computeResources volumeMounts volumeDevices imagePullPolicy securityContext displayName",
}
TYPES = dict.fromkeys("apiVersion kind name description displayName mountPath script timeout onError image workingDir value".split(), str)
TYPES |= {"optional": bool, "readOnly": bool, "args": list, "command": list}
# The fields that a step does not share with a container.
OF_STEPS_ALONE = "script timeout workspaces onError stdoutConfig stderrConfig ref params results when computeResources displayName".split()


def fields(kind, value):
    names = TEKTON[kind].split()
    known = {name.rstrip("!") for name in names}
    missing = {name[:-1] for name in names if name.endswith("!")} - value.keys()
    if missing or value.keys() - known:
        raise ValueError(f"a {kind}: missing {sorted(missing)}, unknown {sorted(value.keys() - known)}")
    for name, held in value.items():
        if not isinstance(held, TYPES.get(name, object)):
            raise ValueError(f"{name} of a {kind} is no {TYPES[name].__name__}: {held}")


def tekton(document):
    if (document["apiVersion"], document["kind"]) != ("tekton.dev/v1", "Task"):
        raise ValueError("only a Task of tekton.dev/v1 is known here")
    fields("task", document)
    spec = document["spec"]
    fields("spec", spec)
    for kind, values in [("param", "params"), ("workspace", "workspaces"), ("result", "results"), ("step", "steps")]:
        for value in spec.get(values, []):
            fields(kind, value)
    for param in spec.get("params", []):
        wanted = {"string": str, "array": list, "object": dict}[param.get("type", "string")]
        if "default" in param and not isinstance(param["default"], wanted):
            raise ValueError(f"the default of {param['name']} is no {wanted.__name__}")
    containers = [{key: value for key, value in step.items() if key not in OF_STEPS_ALONE} for step in spec["steps"]]
    pod = {"containers": containers, "volumes": spec.get("volumes", [])}
    kubernetes({"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": pod})


def check(file):
    for document in documents(file):
        group = document.get("apiVersion", "").split("/")[0]
        if group == "argoproj.io":
            argo(document)
        elif group == "tekton.dev":
            tekton(document)
        elif group:
            kubernetes(document)
        else:
            json_schema(file, "github-workflows" if "jobs" in document else "gitlab-ci")


check(sys.argv[1])
