"""The image: what is in it, and that it does in a pod what the manifest says: without rights, with a read-only root,
before Redis is there, with Kubernetes' names."""

import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ALONE, BINARY, DEPLOY, PATIENCE, Program, documents, run, tool
from rig import REDIS_NAME, NameServer, Pod, neighbour

RIG = pytest.mark.skipif(not ALONE, reason="no namespaces of our own (root only)")
SETTINGS, DEPLOYMENT = documents((DEPLOY / "kubernetes/sidecar.yaml").read_text())
POD = DEPLOYMENT["spec"]["template"]["spec"]
SIDECAR, APP = POD["initContainers"][0], POD["containers"][0]
GROUPS = POD["securityContext"]["supplementalGroups"]
FILES = {
    "/usr/local/bin/sidelock",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict, Path]]:
    """The image as it was built: its configuration, and its files."""
    buildah, store = tool("buildah"), tmp_path_factory.mktemp("store")
    (store / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{store}/graph"\nrunroot = "{store}/run"\n'
    )
    settings = {"CONTAINERS_STORAGE_CONF": str(store / "storage.conf"), "BUILDAH_ISOLATION": "chroot"}
    first, again = (run(DEPLOY / "image/build", BINARY, "sidelock:test", **settings) for _ in range(2))
    assert first == again, "the same binary makes the same image"
    described = json.loads(run(buildah, "inspect", "--type", "image", "sidelock:test", **settings))
    container = run(buildah, "from", "--pull-never", "sidelock:test", **settings).strip()
    yield described["OCIv1"]["config"], Path(run(buildah, "mount", container, **settings).strip())
    run(buildah, "umount", container, **settings)


@RIG
def test_it_has_the_binary_what_it_links_and_nothing_else(image: tuple[dict, Path]) -> None:
    _, root = image
    there = {f"/{path.relative_to(root)}" for path in root.rglob("*") if not path.is_dir()}
    linked = set(re.findall(r"/\S+", run("ldd", BINARY)))
    assert there == FILES | linked
    assert (root / "run/sidelock").stat().st_mode & 0o7777 == 0o1777
    assert "BEGIN CERTIFICATE" in (root / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert not [path for path in root.rglob("*") if path.stat().st_mode & 0o6000], "nothing raises rights"


@RIG
def test_it_serves_as_a_user_of_its_own(image: tuple[dict, Path]) -> None:
    config, _ = image
    assert (config["User"], config["Entrypoint"], config["Cmd"]) == ("65532:65532", ["sidelock"], ["serve"])
    variables = dict(variable.split("=", 1) for variable in config["Env"])
    [shared] = [it for it in APP["env"] if it["name"] == "SIDELOCK_SOCKET"]
    assert variables["SIDELOCK_SOCKET"] == shared["value"], "app and sidecar mean the same socket"


class Sidecar:
    """The sidecar of the manifest, in a pod."""

    def __init__(self, config: dict, pod: Pod) -> None:
        self.pod = pod
        self.environment = dict(variable.split("=", 1) for variable in config["Env"])
        self.environment |= SETTINGS["data"] | {it["name"]: it["value"] for it in SIDECAR["env"]}
        self.environment |= {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        self.socket = pod.shared / Path(self.environment["SIDELOCK_SOCKET"]).relative_to("/run/sidelock")

    def start(self, *arguments: object) -> Program:
        rights = SIDECAR["securityContext"]
        command = ["/usr/local/bin/sidelock", *(arguments or SIDECAR["args"])]
        return self.pod.start(*command, user=rights["runAsUser"], groups=GROUPS, environment=self.environment)

    def says(self, *arguments: object) -> tuple[int, str]:
        """A verb, run in the container as `kubectl exec` would."""
        with self.start(*arguments) as program:
            said, _ = program.process.communicate(timeout=PATIENCE)
            return program.process.returncode, said

    def probe(self, path: str) -> int:
        port = SIDECAR["ports"][0]["containerPort"]
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def until(self, path: str, status: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.probe(path) != status:
            assert time.monotonic() < deadline, f"{path} never answered {status}"
            time.sleep(0.02)


@pytest.fixture
def sidecar(image: tuple[dict, Path]) -> Iterator[Sidecar]:
    config, root = image
    with Pod(root) as pod:
        yield Sidecar(config, pod)


@RIG
def test_in_a_pod_it_does_what_the_manifest_says(sidecar: Sidecar, tmp_path: Path) -> None:
    names = NameServer.for_name(REDIS_NAME)
    assert sidecar.says("--version")[1].startswith("sidelock ")
    binary = shutil.copy(BINARY, sidecar.pod.folder / "sidelock")
    app = {"SIDELOCK_SOCKET": str(sidecar.socket)}

    with sidecar.start() as serving:
        sidecar.until(SIDECAR["startupProbe"]["httpGet"]["path"], 200)
        for probe in ("readinessProbe", "livenessProbe"):
            assert sidecar.probe(SIDECAR[probe]["httpGet"]["path"]) == 200, f"{probe} is not tied to Redis"
        assert sidecar.says("healthcheck") == (0, "")
        assert sidecar.says("healthcheck", "--store")[0] == 1, "there is no Redis yet"
        with Program("redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path) as redis:
            redis.line("eady to accept connections")
            sidecar.until("/readyz/store", 200)
            assert REDIS_NAME in names.asked, "the name was looked up as Kubernetes has it"

            outsider = neighbour(binary, "lock", "k", groups=[], environment=app)
            assert outsider.returncode == 5 and "this user may not open the socket" in outsider.stderr, outsider
            lock = neighbour(binary, "lock", "k", groups=GROUPS, environment=app)
            assert lock.returncode == 0, lock
            code, said = sidecar.says("doctor")
            assert "fleet" in said and "redis" in said, (code, said)
            code, said = sidecar.says("doctor", "--bundle", "-")
            assert json.loads(said)["sidecar"]["info"]["scope"] == "fleet", (code, said)
            assert "k" in sidecar.says("ls")[1]
            lease = re.search(r"SIDELOCK_LEASE=(\S+)", lock.stdout)
            assert lease
            unlock = neighbour(binary, "unlock", lease[1], groups=GROUPS, environment=app)
            assert unlock.returncode == 0, unlock
            assert serving.ends() == 0
    assert not sidecar.socket.exists(), "the socket goes with it"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """What the Secret for Redis over TLS has: the authority. Beside it, what Redis has."""
    openssl, there = tool("openssl"), tmp_path / "secret"
    there.mkdir()
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run(*new, "-subj", "/CN=authority", "-keyout", tmp_path / "ca.key", "-out", there / "ca.crt")
    sign = ["-CA", there / "ca.crt", "-CAkey", tmp_path / "ca.key", "-addext", "subjectAltName=DNS:redis"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-subj", "/CN=redis"]
    run(*new, *sign, *leaf, "-keyout", tmp_path / "redis.key", "-out", tmp_path / "redis.crt")
    (there / "password").write_text("hunter2\n")
    return there


@RIG
def test_in_a_pod_it_reaches_redis_by_name_over_tls(image: tuple[dict, Path], secret: Path, tmp_path: Path) -> None:
    names = NameServer.for_name(REDIS_NAME)
    config, root = image
    pair = ["--tls-cert-file", tmp_path / "redis.crt", "--tls-key-file", tmp_path / "redis.key"]
    asked = ["--tls-ca-cert-file", secret / "ca.crt", "--tls-auth-clients", "no", "--requirepass", "hunter2"]
    place = ["--bind", "127.0.0.1", "--port", "0", "--tls-port", "6379", "--save", "", "--dir", tmp_path]
    with Pod(root, secret) as pod, Program("redis-server", *place, *pair, *asked) as redis:
        redis.line("eady to accept connections")
        sidecar = Sidecar(config, pod)
        sidecar.environment |= {"SIDELOCK_REDIS_URL": "rediss://redis:6379"}
        sidecar.environment |= {"SIDELOCK_REDIS_PASSWORD_FILE": "/etc/sidelock/redis/password"}
        code, said = sidecar.says("doctor", "--redis", "rediss://redis:6379")
        assert code == 1 and "name that one in redis.ca_file" in said, "the image's own authorities do not know it"
        sidecar.environment |= {"SIDELOCK_REDIS_CA_FILE": "/etc/sidelock/redis/ca.crt"}
        with sidecar.start() as serving:
            sidecar.until("/readyz/store", 200)
            assert REDIS_NAME in names.asked
            code, said = sidecar.says("doctor")
            assert "over TLS" in said and "hunter2" not in said, (code, said)
            assert sidecar.says("run", "k", "--", "/usr/local/bin/sidelock", "--version")[0] == 0
            assert serving.ends() == 0


@RIG
def test_its_root_can_not_be_written(sidecar: Sidecar) -> None:
    sidecar.environment["SIDELOCK_SOCKET"] = "/etc/s/sidelock.sock"
    del sidecar.environment["SIDELOCK_REDIS_URL"]
    code, said = sidecar.says("serve", "--store", "memory")
    assert code == 1 and "Read-only file system" in said, (code, said)
