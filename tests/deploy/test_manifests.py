"""The manifests are what Kubernetes takes, and plain, kustomize and Helm put the same sidecar into a pod."""

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
from conftest import BINARY, DEPLOY, ROOT, documents, run, tool

# The first version with native sidecars switched on, and the newest that the schemas know.
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Custom resources are not in Kubernetes' schemas; `test_monitoring` looks at them.
CUSTOM = {"PodMonitor", "PrometheusRule"}


def kustomized(folder: Path) -> list[dict]:
    return documents(run(tool("kubectl"), "kustomize", folder))


def charted(tmp_path: Path, *options: str) -> list[dict]:
    helm, home = tool("helm"), {"HOME": str(tmp_path)}
    charts = shutil.copytree(DEPLOY / "helm", tmp_path / "helm")
    run(helm, "dependency", "build", charts / "orders", **home)
    run(helm, "lint", "--strict", charts / "orders", **home)
    return documents(run(helm, "template", "shop", charts / "orders", *options, **home))


def fenced(language: str) -> list[str]:
    """The README's blocks of this language in its section about Kubernetes."""
    section = (ROOT / "README.md").read_text().split("\n## In Kubernetes\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def pods(manifests: list[dict]) -> list[dict]:
    """The templates of the pods that have a sidecar."""
    templates = [manifest["spec"]["template"] for manifest in manifests if "template" in manifest.get("spec", {})]
    return [template for template in templates if template["metadata"]["labels"].get("sidelock") == "enabled"]


def sidecar(pod: dict) -> dict:
    return pod["spec"]["initContainers"][0]


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What comes of the README's files, with this repository beside them."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(DEPLOY, folder / "sidelock" / "deploy")
    for text in fenced("yaml"):
        name = re.match(r"# (\S+\.yaml)", text)
        assert name, "the first line of each block names its file"
        (folder / name[1]).write_text(text)
    return kustomized(folder)


@pytest.fixture(scope="module")
def sources(readme: list[dict], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """All that may reach a cluster, by where it comes from."""
    return {
        "plain": documents((DEPLOY / "kubernetes/sidecar.yaml").read_text()),
        "kustomize": kustomized(DEPLOY / "kubernetes/example"),
        "monitoring": kustomized(DEPLOY / "kubernetes/monitoring"),
        "helm": charted(tmp_path_factory.mktemp("chart")),
        "readme": readme,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(sources: dict[str, list[dict]], version: str) -> None:
    for source, manifests in sources.items():
        assert manifests, source
        for manifest in manifests:
            if manifest["kind"] not in CUSTOM:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_manifest_would_be_noticed() -> None:
    manifest = documents((DEPLOY / "kubernetes/sidecar.yaml").read_text())[1]
    sidecar(manifest["spec"]["template"])["restartpolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_every_way_puts_the_same_sidecar_into_the_pod(sources: dict[str, list[dict]]) -> None:
    found = {source: pods(manifests) for source, manifests in sources.items() if source != "monitoring"}
    assert all(len(pods) == 1 for pods in found.values()), found
    varies = {"env", "envFrom", "image"}
    fixed = {
        source: {name: it for name, it in sidecar(pod).items() if name not in varies} for source, [pod] in found.items()
    }
    for source, [pod] in found.items():
        assert fixed[source] == fixed["plain"], source
        assert pod["spec"]["securityContext"]["supplementalGroups"] == [65532], source
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["sidelock"] == {"name": "sidelock", "emptyDir": {}}, source
        assert volumes["sidelock-redis"]["secret"]["optional"] is True, source


def test_the_sidecar_is_a_native_one_without_rights(sources: dict[str, list[dict]]) -> None:
    for source in ("plain", "kustomize", "helm", "readme"):
        container = sidecar(pods(sources[source])[0])
        assert container["restartPolicy"] == "Always", "it starts before the app and ends after it"
        rights = container["securityContext"]
        assert (rights["runAsUser"], rights["runAsGroup"], rights["runAsNonRoot"]) == (65532, 65532, True)
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "cpu" not in container["resources"]["limits"]


def test_probes_ask_what_is_meant_for_them(sources: dict[str, list[dict]]) -> None:
    container = sidecar(pods(sources["plain"])[0])
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    port = {port["name"]: port["containerPort"] for port in container["ports"]}["sidelock"]
    assert f":{port}" in container["args"][-1]


def test_the_app_finds_the_socket(sources: dict[str, list[dict]]) -> None:
    for source in ("plain", "kustomize", "helm", "readme"):
        [pod] = pods(sources[source])
        [app] = pod["spec"]["containers"]
        variables = {variable["name"]: variable.get("value") for variable in app["env"]}
        assert variables["SIDELOCK_SOCKET"] == "/run/sidelock/s/sidelock.sock", source
        shared = [mount["mountPath"] for mount in app["volumeMounts"] if mount["name"] == "sidelock"]
        assert shared == ["/run/sidelock"], source


def test_settings_in_the_manifests_are_settings(sources: dict[str, list[dict]]) -> None:
    for source in ("plain", "kustomize", "helm", "readme"):
        manifests = sources[source]
        container = sidecar(pods(manifests)[0])
        settings = {variable["name"]: variable["value"] for variable in container["env"]}
        for reference in container.get("envFrom", []):
            name = reference["configMapRef"]["name"]
            [values] = [it["data"] for it in manifests if it["kind"] == "ConfigMap" and it["metadata"]["name"] == name]
            settings |= values
        assert settings["SIDELOCK_REDIS_URL"].startswith("redis://"), source
        said = run(BINARY, "config", "print", *container["args"][1:], KUBERNETES_SERVICE_HOST="10.96.0.1", **settings)
        assert settings["SIDELOCK_REDIS_URL"] in said and 'probe_listen = "0.0.0.0:9464"' in said, source


def test_the_component_takes_other_workloads_and_comes_before_their_init_containers(tmp_path: Path) -> None:
    workload = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: worker, labels: {sidelock: enabled}}
spec:
  serviceName: worker
  selector: {matchLabels: {app: worker}}
  template:
    metadata: {labels: {app: worker}}
    spec:
      initContainers: [{name: migrate, image: worker:1}]
      containers: [{name: worker, image: worker:1}]
"""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "worker.yaml").write_text(workload)
    bystander = workload.replace("sidelock: enabled", "app: other").replace("worker", "other")
    (tmp_path / "other.yaml").write_text(bystander)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [worker.yaml, other.yaml]\ncomponents: [deploy/kubernetes/component]\n"
        "configMapGenerator: [{name: sidelock, literals: [SIDELOCK_REDIS_URL=redis://redis]}]\n"
    )
    manifests = {it["metadata"]["name"]: it for it in kustomized(tmp_path) if it["kind"] == "StatefulSet"}
    names = {
        name: [container["name"] for container in manifest["spec"]["template"]["spec"]["initContainers"]]
        for name, manifest in manifests.items()
    }
    assert names == {"worker": ["sidelock", "migrate"], "other": ["migrate"]}


def test_a_cron_job_has_the_same_sidecar(tmp_path: Path, sources: dict[str, list[dict]]) -> None:
    cron = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, labels: {sidelock: enabled}}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: nightly, image: nightly:1}]
"""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "cron.yaml").write_text(cron)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [cron.yaml]\ncomponents: [deploy/kubernetes/component]\n"
        "configMapGenerator: [{name: sidelock, literals: [SIDELOCK_REDIS_URL=redis://redis]}]\n"
    )
    [manifest] = [it for it in kustomized(tmp_path) if it["kind"] == "CronJob"]
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
    template = manifest["spec"]["jobTemplate"]["spec"]["template"]
    ours, theirs = sidecar(template), sidecar(pods(sources["plain"])[0])
    varies = {"env", "envFrom", "image"}
    assert {k: v for k, v in ours.items() if k not in varies} == {k: v for k, v in theirs.items() if k not in varies}
    assert template["spec"]["securityContext"]["supplementalGroups"] == [65532]
    assert [volume["name"] for volume in template["spec"]["volumes"]] == ["sidelock", "sidelock-redis"]


def test_a_file_of_settings_gets_into_the_pod_as_the_page_says(tmp_path: Path) -> None:
    [told] = re.findall(r"```yaml\n(configMapGenerator:\n  - name: sidelock-files.*?)```", (DEPLOY / "README.md").read_text(), re.S)
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    for name in ("sidelock.toml", "my-acl.wasm"):
        (tmp_path / name).write_text("")
    (tmp_path / "kustomization.yaml").write_text(f"resources: [deploy/kubernetes/example]\n{told}")
    manifests = kustomized(tmp_path)
    [pod] = pods(manifests)
    mounts = {mount["name"]: mount["mountPath"] for mount in sidecar(pod)["volumeMounts"]}
    assert mounts["sidelock-files"] == "/etc/sidelock/files" and "sidelock-redis" in mounts
    assert {"name": "SIDELOCK_CONFIG", "value": "/etc/sidelock/files/sidelock.toml"} in sidecar(pod)["env"]
    [files] = [it for it in manifests if it["metadata"]["name"].startswith("sidelock-files")]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["sidelock-files"]["configMap"]["name"] == files["metadata"]["name"]


def test_the_unit_lets_policies_be_compiled() -> None:
    unit = (DEPLOY / "systemd/sidelock.service").read_text()
    assert "\nMemoryDenyWriteExecute=" not in unit, "wasmtime makes machine code: every policy would be refused"
