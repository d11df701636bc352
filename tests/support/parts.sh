# What `tests/run` is made of: parts with budgets, counted results, a summary. Sourced, not run.
#
# Owns counting and time. Must not know what a part does.

budget_factor=1
passed_total=0
failed_total=0
rows=()
failing=()

target_dir=$(cargo metadata --format-version 1 --no-deps 2>/dev/null |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
target_dir=${target_dir:-${CARGO_TARGET_DIR:-target}}
bin=$target_dir/ci
logs=$target_dir/test-logs
mkdir -p "$logs"

# part NAME BUDGET: runs the function part_NAME, shows and keeps its output, counts its results.
part() {
    local name=$1 budget=$(($2 * budget_factor)) function=part_${1//-/_} log=$logs/$1.log started=$SECONDS code
    if ! declare -F "$function" >/dev/null; then
        printf 'tests/run: there is no part "%s"; see tests/run --help\n' "$name" >&2
        exit 2
    fi
    printf '\n== %s (budget %d s) ==\n' "$name" "$budget"
    part_limit=$((budget * 3))
    "$function" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    local seconds=$((SECONDS - started)) counts passed failed skipped verdict=ok
    counts=$(count "$log")
    passed=${counts% *} failed=${counts#* } skipped=$(skips "$log")
    # A part that reports no results of its own is one result; one that failed without saying so is one failure.
    if ((code == 0 && passed + failed + skipped == 0)); then passed=1; fi
    if ((code != 0 && failed == 0)); then failed=1; fi
    if ((failed > 0)); then verdict=FAILED failing+=("$name"); fi
    if ((skipped > 0)); then verdict="$verdict, $skipped skipped"; fi
    if ((seconds > budget)); then verdict="$verdict, over budget"; fi
    passed_total=$((passed_total + passed))
    failed_total=$((failed_total + failed))
    rows+=("$(printf '%-12s %8d %8d %8d %8d   %s' "$name" "$passed" "$failed" "$seconds" "$budget" "$verdict")")
    printf -- '-- %s: %s, %d s\n' "$name" "$verdict" "$seconds"
}

# Sums what test harnesses and our own programs report: `… 12 passed; 0 failed …` or `12 passed, 0 failed`.
count() {
    sed -nE 's/^.*[^0-9]?\b([0-9]+) passed[;,] ([0-9]+) failed.*$/\1 \2/p' "$1" |
        awk '{ passed += $1; failed += $2 } END { printf "%d %d", passed, failed }'
}

# How many lines say that something was left out; each says why.
skips() {
    grep -cE '^(skipped: |[a-z]+: skipped|SKIPPED \[)' "$1"
}

# limited COMMAND…: kills the command, with all that it started, when the part takes far longer than it should.
limited() {
    timeout --kill-after=10 "$part_limit" "$@"
    local code=$?
    if ((code == 124 || code == 137)); then printf 'killed after %d s: %s\n' "$part_limit" "$*"; fi
    return $code
}

# tests_of SELECTION… [-- HARNESS ARGUMENTS…]: runs tests from the one graph. No selection is no test, not every test.
tests_of() {
    case "${1---}" in --) echo "0 passed, 0 failed (no test targets)" && return 0 ;; esac
    limited cargo test --locked --workspace --profile ci --no-fail-fast "$@"
}

# targets FOLDER…: `--test NAME` for every integration test that stands in these packages.
targets() {
    local folder file
    for folder in "$@"; do
        for file in "$folder"/tests/*.rs "$folder"/tests/*/main.rs; do
            file=${file%/main.rs}
            if [[ -e $file ]]; then printf -- '--test\n%s\n' "$(basename "$file" .rs)"; fi
        done
    done
}

# need COMMAND PACKAGES [HINT]: installs Debian packages if the command is missing and we may; says what to do if not.
need() {
    local command=$1 packages=$2 hint=${3-"install it, or run this once as root on Debian"}
    if command -v "$command" >/dev/null; then return 0; fi
    if [[ -n $packages && $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        printf 'installing %s for %s\n' "$packages" "$command"
        # shellcheck disable=SC2086 # several packages are several words
        without_starting_services apt_install $packages && command -v "$command" >/dev/null && return 0
    fi
    printf '%s is missing: %s\n' "$command" "$hint${packages:+ (Debian: apt-get install $packages)}"
    return 1
}

apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    # Somebody else may be at it: that is waited for.
    local apt=(apt-get -o DPkg::Lock::Timeout=120)
    "${apt[@]}" install -y --no-install-recommends "$@" ||
        { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; }
}

# Debian starts a daemon when it installs one. The tests start their own, and nobody asked for another.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d code
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    "$@"
    code=$?
    rm -f "$policy"
    return $code
}

# What failed, in the words of whoever found it out: a harness's `failures:`, a line that says FAILED or refuses to build, a seed,
# and what is indented below it, or what a step printed before it. Whoever is shown only the end of a long run sees the cause, too.
failures() {
    printf '\n== what failed in %s ==\n' "$1"
    awk '
        /^failures:$/ { section = 1 }
        / s   FAILED$/ { for (i = NR - 10; i < NR; i++) if (i in before) print before[i] }
        { before[NR] = $0; delete before[NR - 10] }
        section || /FAILED|^error|^killed after|^seed [0-9]+ failed/ { print; below = 1; if (/^test result/) section = 0; next }
        below && /^    / { print; next }
        { below = 0 }' "$logs/$1.log" | head -n 300
}

# What failed, the table, and the last line.
summary() {
    local name
    for name in "${failing[@]}"; do failures "$name"; done
    printf '\n%-12s %8s %8s %8s %8s\n' part passed failed seconds budget
    printf '%s\n' "${rows[@]}"
    printf '\n%d passed, %d failed\n' "$passed_total" "$failed_total"
    ((failed_total == 0))
}
