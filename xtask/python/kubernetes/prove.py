"""The proof that what stands on Kubernetes is what Kubernetes, and those who check it, accept.

`prove.py LEVADA EXAMPLES KUSTOMIZE CHECKOV WORK` renders the worked example, with a program in it, and an
external platform that is hosted, and checks with the real programs: that Kustomize builds the base and every
environment; that each object is of the API's strict schema; that what pods are told leads to what is there;
that files come out of the model's copy as they went in; checkov and trivy without a failed check.
"""

import base64
import os
import pathlib
import shutil
import sys

import kubernetes_validate
import yaml

from proof import Failed, contents, edit, proved, render, run, same, say, scanned_by_checkov, scanned_by_trivy

CHECKOV_MIN = 200
TRIVY_MIN = 20
OTHER = "elsewhere.example/levada@sha256:" + "cd" * 32
IMAGE = "registry.example/airflow@sha256:" + "ab" * 32
TEAM = "zones/usa/teams/northwind"
# Files that a careless writer of YAML, or of keys, would not bring across.
HOSTILE = {
    "mask.py": b"import sys\n\n\tprint('# not a comment: ${x} {{ y }}')   \n",
    "no end.txt": b"one line without its end",
    "yes": b"no",
    "ends.txt": b"two ends\n\n",
    "\u00fcn\u00efcode \u6f22.txt": "  first line set in\nzweite: ü \u2028 x\n".encode(),
    "windows.txt": b"a\r\nb\r\n",
    "bytes.bin": bytes(range(256)),
    "empty": b"",
    "deep/er/---": b"---\n...\n%YAML 1.1\n",
}


def program(model):
    """Makes the transformer of the worked example a program with such files beside it."""
    edit(model, f"{TEAM}/nw_data.yaml", ("code: { sql: mask_customers.sql }", "code: { command: [python3, mask.py] }"))
    for path, content in HOSTILE.items():
        file = model / TEAM / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return {f"{TEAM}/{path}": content for path, content in HOSTILE.items()}


def built(kustomize, folder):
    """The objects of a Kustomize folder, each strictly of its schema."""
    objects = [it for it in yaml.safe_load_all(run([kustomize, "build", folder], folder)) if it]
    for thing in objects:
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
    return objects


def of_kind(objects, kind):
    return [it for it in objects if it["kind"] == kind]


def pods(objects):
    """Every pod that the objects make, with who makes it."""
    for thing in objects:
        spec = thing.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield thing["kind"], template


def leads_somewhere(objects):
    """What objects name is there: claims, maps, accounts; and one network policy holds every pod."""
    named = {(it["kind"], it["metadata"]["name"]) for it in objects}
    [policy] = of_kind(objects, "NetworkPolicy")
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    for maker, template in pods(objects):
        spec = template["spec"]
        volumes = {it["name"]: it for it in spec["volumes"]}
        wanted = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            maps = [it.get("configMap") for it in volume.get("projected", {}).get("sources", [])] + [volume.get("configMap")]
            wanted += [("ConfigMap", it["name"]) for it in maps if it]
        for container in spec["containers"]:
            same(f"mounts of a {maker}", {it["name"] for it in container["volumeMounts"]}, set(volumes))
        for it in wanted:
            if it not in named:
                raise Failed(f"a {maker} names {it}, which is not there")
        if not chosen <= template["metadata"]["labels"].items():
            raise Failed(f"pods of a {maker} are in no network policy")
    for kind in ["Service", "PodDisruptionBudget"]:
        [thing] = of_kind(objects, kind)
        selector = thing["spec"]["selector"]
        selected = [maker for maker, it in pods(objects) if selector.get("matchLabels", selector).items() <= it["metadata"]["labels"].items()]
        same(f"whose pods a {kind} selects", selected, ["Deployment"])


def copied(objects):
    """The files that the pods of the Deployment find at /model."""
    maps = {it["metadata"]["name"]: it for it in of_kind(objects, "ConfigMap")}
    [deployment] = of_kind(objects, "Deployment")
    [volume] = [it for it in deployment["spec"]["template"]["spec"]["volumes"] if it["name"] == "model"]
    if "projected" in volume:
        same("the mode of the model's files", volume["projected"]["defaultMode"], 0o555)
    found = {}
    for source in volume.get("projected", {}).get("sources", []):
        held = maps[source["configMap"]["name"]]
        for item in source["configMap"]["items"]:
            key = item["key"]
            text = held.get("data", {}).get(key)
            found[item["path"]] = text.encode() if text is not None else base64.b64decode(held["binaryData"][key])
    return found


def same_files(what, found, expected):
    same(what, sorted(found), sorted(expected))
    for path, text in expected.items():
        same(f"{what}: {path}", found[path], text)


def environments(kustomize, rendered):
    folder = rendered / "kubernetes"
    bases = built(kustomize, folder / "base")
    leads_somewhere(bases)
    for overlay in sorted((folder / "overlays").iterdir()) if (folder / "overlays").is_dir() else []:
        objects = built(kustomize, overlay)
        leads_somewhere(objects)
        same(f"objects in {overlay.name}", len(objects), len(bases))
        spaces = {it["metadata"].get("namespace", it["metadata"]["name"]) for it in objects}
        if len(spaces) != 1:
            raise Failed(f"{overlay.name} is in {spaces}")
        [claim], [deployment] = of_kind(objects, "PersistentVolumeClaim"), of_kind(objects, "Deployment")
        size = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        storage = claim["spec"]["resources"]["requests"]["storage"]
        if overlay.name == "trial":
            same("images", {pod["spec"]["containers"][0]["image"] for _, pod in pods(objects)}, {OTHER})
            [job] = of_kind(objects, "Job")
            [base] = of_kind(bases, "Job")
            if job["metadata"]["name"] == base["metadata"]["name"]:
                raise Failed("the Job of another image has the name of the first, which can't change")
        say(f"{overlay.name}: {len(objects)} objects in namespace {spaces.pop()}, {size['cpu']} cpu, {size['memory']}, {storage}")
    return bases


def worked_example(levada, example, kustomize, checkov, work):
    model, rendered = work / "model", work / "rendered"
    shutil.copytree(example, model, ignore=shutil.ignore_patterns(".levada", "rendered"))
    (model / ".gitignore").write_text("secret\n", encoding="utf-8")
    secret = model / TEAM / "secret/password"
    secret.parent.mkdir()
    secret.write_text("hunter2", encoding="utf-8")
    expected = program(model)
    edit(model, "ecosystem.yaml", ("          production: {", f"          trial: {{ image: '{OTHER}' }}\n          production: {{"))
    render(levada, "Azure Platform", model, rendered)
    objects = environments(kustomize, rendered)
    # The SQL that nobody names any more lies in the program's folder, too.
    expected[f"{TEAM}/mask_customers.sql"] = (model / TEAM / "mask_customers.sql").read_bytes()
    same_files("the program's folder in its pods", copied(objects), expected)
    if any(b"hunter2" in text for text in contents(rendered).values()):
        raise Failed("a file that git ignores was copied")
    say(f"{len(expected)} files of a program's folder come out of the manifests as they went in, and none that git ignores")
    scanned_by_checkov(checkov, rendered, "kubernetes", CHECKOV_MIN, len(objects))
    scanned_by_trivy(rendered / "kubernetes", "kubernetes", TRIVY_MIN)
    before = contents(rendered)
    with (model / TEAM / "mask.py").open("a", encoding="utf-8") as file:
        file.write("print('more')\n")
    render(levada, "Azure Platform", model, rendered)
    after = contents(rendered)
    changed = [path for path in before if before[path] != after[path]]
    same("files that a line of a program changes", changed, ["kubernetes/base/model-0000.yaml"])
    say("a line more in a program: one file changes, and no pod starts anew")


def hosted(levada, example, kustomize, checkov, work):
    model, rendered = work / "hosted-model", work / "hosted"
    shutil.copytree(example, model, ignore=shutil.ignore_patterns(".levada", "rendered", "__pycache__"))
    stands = f'style: batch\n    host: {{ kubernetes: airflow, image: "{IMAGE}" }}'
    edit(model, "ecosystem.yaml", ("style: batch", stands))
    files = {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    # What holds secrets is no model, even where the environment names another place.
    os.environ["LEVADA_SECRETS"] = "/nowhere"
    (model / "levada.toml").write_text('# hunter2\nsecrets = "keys"\n', encoding="utf-8")
    (model / "keys/db").mkdir(parents=True)
    (model / "keys/db/password").write_text("hunter2", encoding="utf-8")
    render(levada, "Airflow", model, rendered)
    if any(b"hunter2" in text for text in contents(rendered).values()):
        raise Failed("a secret was copied")
    if not list(rendered.glob("dags/*")):
        raise Failed("the platform's own files are not beside the manifests")
    objects = environments(kustomize, rendered)
    expected = {path: text for path, text in files.items() if not any(part.startswith(".") for part in path.split("/"))}
    same_files("the model's copy", copied(objects), expected)
    [deployment] = of_kind(objects, "Deployment")
    same("the image", deployment["spec"]["template"]["spec"]["containers"][0]["image"], IMAGE)
    manifests = rendered / "kubernetes"
    scanned_by_checkov(checkov, manifests, "kubernetes", CHECKOV_MIN // 3, len(objects))
    scanned_by_trivy(manifests, "kubernetes", TRIVY_MIN)
    say(f"a hosted external platform: {len(objects)} objects beside its own files, {len(expected)} files of the model in its pod")


def main():
    levada, examples, kustomize, checkov, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    kustomize.chmod(0o755)
    worked_example(levada, examples / "kubernetes", kustomize, checkov, work)
    hosted(levada, examples / "airflow-platform", kustomize, checkov, work)


if __name__ == "__main__":
    proved(main)
