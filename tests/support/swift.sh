# The Swift SDK: built without a warning, tested against the real sidecar, used as a stranger's package would use it.
# Sourced by `tests/support/languages.sh`, whose `step`, `players` and `turners` it uses.
#
# Owns where the compiler comes from: Debian 12 has none, so it lives in a Debian 13 root of its own, which is kept.

swift_root=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sidelock/trixie
swift_packages=(swiftlang libc6-dev)
swift_dir=$languages_dir/swift
in_swift_root=(tests/support/in-trixie "$swift_root" "$PWD" "$target_dir" --)
# `FOLDER VERB…` after it. What SwiftPM keeps beside packages stays in the root.
# shellcheck disable=SC2016 # for the inner shell
swift_in=(env HOME=/root "${in_swift_root[@]}" sh -c 'cd "$0" && exec swift "$@"')

# Begins what takes minutes and little of the processor, beside the builds of other languages. `swift_sdk` waits for it.
swift_begin() {
    tests/support/trixie --possible >/dev/null || return 0
    # Before, not beside: others need packages too, and an update of apt's lists waits for no other one.
    [[ -d $swift_root ]] || need debootstrap debootstrap || return 0
    mkdir -p "$languages_dir"
    tests/support/trixie "$swift_root" "${swift_packages[@]}" >"$languages_dir/trixie.log" 2>&1 &
}

swift_sdk() {
    local why outcome=$languages_dir/swift.log code passed failed folders
    why=$(tests/support/trixie --possible) || {
        echo "swift: skipped, all of it: $why"
        return 0
    }
    local symbols=$swift_dir/symbols strict=(-Xswiftc -warnings-as-errors)
    strict+=(-Xswiftc -emit-symbol-graph -Xswiftc -emit-symbol-graph-dir -Xswiftc "$symbols")
    mkdir -p "$symbols"
    step "swift: a Debian 13 root with a compiler" tests/support/trixie "$swift_root" "${swift_packages[@]}" &&
        step "swift: the library, and what is generated from it" bindings/swift/prepare --profile dev &&
        step "swift: package, tests, player, samples: no warning" \
            "${swift_in[@]}" bindings/swift build --build-tests --scratch-path "$swift_dir" "${strict[@]}" || return 1
    swift_docs "$symbols" || return 1
    players+=(--player "swift=${in_swift_root[*]} $swift_dir/debug/player")
    turners+=(--program "swift=${in_swift_root[*]} $swift_dir/debug/turns")
    folders=$(mktemp -d)
    TMPDIR=$folders SIDELOCK_BIN=$bin/sidelock limited "${swift_in[@]}" bindings/swift test --skip-build --disable-xctest \
        --scratch-path "$swift_dir" "${strict[@]}" 2>&1 | tee "$outcome" | grep -vE 'started\.|passed after'
    code=${PIPESTATUS[0]}
    rm -rf "$folders"
    failed=$(grep -cE '✘.* Test [a-zA-Z]+\(.*\) failed' "$outcome")
    passed=$(grep -cE '✔.* Test [a-zA-Z]+\(.*\) passed' "$outcome")
    printf 'swift: %d passed, %d failed\n' "$passed" "$failed"
    swift_stranger "${strict[@]}" && return "$code"
}

# The program that `tests/run bench` measures: optimised, as is the library that it loads.
swift_peer() {
    local scratch=$languages_dir/swift-release to=$target_dir/bench/peers
    tests/support/trixie --possible && mkdir -p "$scratch" "$to" &&
        tests/support/trixie "$swift_root" "${swift_packages[@]}" >"$scratch/root.log" 2>&1 &&
        bindings/swift/prepare --profile bindings &&
        "${swift_in[@]}" bindings/swift build --quiet -c release --product bench --scratch-path "$scratch" &&
        printf '#!/bin/sh\nexec "%s" "%s" "%s" "%s" -- env LD_LIBRARY_PATH="%s" "%s" "$@"\n' "$PWD/tests/support/in-trixie" \
            "$swift_root" "$PWD" "$target_dir" "$target_dir/bindings" "$scratch/release/bench" >"$to/swift" && chmod +x "$to/swift"
}

# Everything public has a comment, and what comments refer to is there.
swift_docs() {
    local public=$1.public undocumented='
import json, sys
symbols = [s for s in json.load(open(sys.argv[1]))["symbols"] if "location" in s]
bare = [".".join(s["pathComponents"]) for s in symbols if "docComment" not in s]
sys.exit(("no comment: " + ", ".join(bare)) if bare or not symbols else 0)'
    rm -rf "$public" && mkdir "$public" && cp "$1"/Sidelock{,@*}.symbols.json "$public" &&
        step "swift: everything public has a comment" python3 -c "$undocumented" "$public/Sidelock.symbols.json" &&
        step "swift: what comments refer to is there" "${in_swift_root[@]}" /usr/libexec/swift/bin/docc convert \
            --warnings-as-errors --additional-symbol-graph-dir "$public" --fallback-display-name Sidelock \
            --fallback-bundle-identifier sidelock --output-path "$swift_dir/docs"
}

# A package that depends on ours by its path: the lines of the README, as they stand there.
swift_stranger() {
    local folder=$languages_dir/swift-stranger code sidecar place
    rm -rf "$folder/Package.swift" "$folder/Sources"
    mkdir -p "$folder/Sources/app"
    readme_block Package.swift | sed "s|path: \"[^\"]*\"|path: \"$PWD/bindings/swift\"|" >"$folder/Package.swift"
    readme_block Sources/app/main.swift >"$folder/Sources/app/main.swift"
    step "swift: the README's package, which depends on ours by path" "${swift_in[@]}" "$folder" build "$@" || return 1
    place=$(mktemp -d)
    "$bin/sidelock" serve --store memory --socket "$place/s" --admin-socket "$place/admin" >"$place/log" 2>&1 &
    sidecar=$!
    "$bin/sidelock" wait --timeout 20s --socket "$place/s" &&
        SIDELOCK_SOCKET=$place/s step "swift: … runs" "${in_swift_root[@]}" "$folder/.build/debug/app"
    code=$?
    kill "$sidecar" && wait "$sidecar"
    rm -rf "$place"
    return $code
}

# readme_block FILE: the lines that the README gives for a file.
readme_block() {
    awk -v file="$1" '$0 == "`" file "`" { wanted = 1 } wanted && /^```$/ { exit } inside { print } wanted && /^```swift$/ { inside = 1 }' \
        bindings/swift/README.md
}
