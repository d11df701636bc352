# The servers that take the place of this machine's Redis: newer ones, from a Debian 13 root. Sourced by `tests/run`.
#
# Owns where they come from, and what is run against them. `REDIS_SERVER` names the program that the tests start.

servers_root=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sidelock/trixie
servers_dir=$target_dir/servers
newer_servers=(redis-server valkey-server)

# Everything that the stores promise, and a sidecar before each: locks over a fleet, Sentinel, Cluster, TLS, rotated passwords, ACL, doctor, strict.
newer_servers_too() {
    local why server checked=0
    why=$(tests/support/trixie --possible) || {
        echo "stores: skipped on newer servers than $(redis-server --version): $why"
        return 0
    }
    mkdir -p "$servers_dir"
    tests/support/trixie "$servers_root" "${newer_servers[@]}" >"$servers_dir/trixie.log" 2>&1 ||
        { cat "$servers_dir/trixie.log" && return 1; }
    [[ -x $bin/sidelock ]] || part_compile || return 1
    for server in "${newer_servers[@]}"; do
        printf '#!/bin/sh\nexec "%s/tests/support/in-trixie" "%s" -- "%s" "$@"\n' "$PWD" "$servers_root" "$server" >"$servers_dir/$server"
        chmod +x "$servers_dir/$server"
        printf '\n-- on %s\n' "$("$servers_dir/$server" --version)"
        REDIS_SERVER=$servers_dir/$server tests_of --test store -- redis || checked=1
        REDIS_SERVER=$servers_dir/$server tests_of --test fleet --test sentinel --test cluster --test tls --test credentials --test acl --test doctor --test strict -- --test-threads=1 || checked=1
    done
    return $checked
}
