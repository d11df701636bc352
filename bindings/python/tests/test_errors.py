"""What a user can run into without a mistake in the program: each its own error, which says what to do."""

import os
import re
import subprocess
import sys

import pytest
from conftest import redis, serve

import sidelock


def refused(client: sidelock.Client) -> sidelock.SidelockError:
    with pytest.raises(sidelock.SidelockError) as caught:
        client.lock("k").acquire(wait=0)
    return caught.value


def test_no_sidecar_is_told_with_where_it_should_be(tmp_path):
    error = refused(sidelock.Client(tmp_path / "nothing.sock"))
    assert isinstance(error, sidelock.SidecarUnreachable) and isinstance(error, ConnectionError)
    assert error.code == "unreachable"
    assert re.search(r"there is nothing; start one with `sidelock serve`.*nothing\.sock", str(error))


def test_a_file_that_is_no_socket_is_told_from_a_socket_that_nobody_listens_at(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    error = refused(sidelock.Client(plain))
    assert isinstance(error, sidelock.SidecarUnreachable) and "that is no socket" in str(error)
    sidecar = serve(tmp_path)
    sidecar.stop()
    error = refused(sidecar.client())
    assert isinstance(error, sidelock.SidecarUnreachable) and "start the sidecar again" in str(error)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_told_what_lets_it_in(tmp_path):
    sidecar = serve(tmp_path)
    # A folder that this user may enter, down to the socket.
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    text = f"""
import os, sidelock
os.setgroups([]); os.setgid(4242); os.setuid(4242)
try: sidelock.Client({sidecar.socket!r}).sidecar()
except sidelock.SidecarUnreachable as error: print(error.code, error)
"""
    said = []
    for mode in (0o666, 0o600):
        os.chmod(sidecar.socket, mode)
        said.append(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
    sidecar.stop()
    assert said[0].startswith("peer_refused") and "--allow-uid 4242" in said[0]
    assert said[1].startswith("unreachable") and "this user may not open the socket" in said[1]


def test_a_restart_under_the_client_loses_its_leases_and_nothing_else(tmp_path):
    first = serve(tmp_path)
    sl = first.client()
    lease = sl.lock("k").acquire()
    first.stop()
    assert lease.lost.wait(10) and lease.lost.reason == "sidecar_restarted"
    second = serve(tmp_path)
    with pytest.raises(sidelock.LeaseLost, match="acquire again to go on") as caught:
        lease.release()
    assert caught.value.reason == "sidecar_restarted"
    with sl.lock("k", wait=10) as again:
        assert again.fence > lease.fence
    second.stop()


def test_a_store_that_is_away_is_told_with_when_to_come_again(tmp_path):
    with redis(tmp_path) as store:
        sidecar = serve(tmp_path, "--redis", store.url)
    error = refused(sidecar.client())
    assert isinstance(error, sidelock.StoreUnavailable) and isinstance(error, ConnectionError)
    assert error.code == "store_unavailable" and error.retry_after > 0
    assert "reconnects to its store by itself" in str(error)
    sidecar.stop()
