# Policies: every plugin and every template, from source to a component that answers its own cases, by the verbs that users
# have. Sourced by `tests/run`; wants `step` of languages.sh.
#
# Owns what each language needs to make WebAssembly. What is asked of a policy is in its `*.case.toml`.

policies_dir=$target_dir/policies

# wasm_c: clang with wasi-libc and compiler-rt for wasm32.
wasm_c() {
    local packages="clang lld wasi-libc libclang-rt-dev-wasm32"
    if [[ ! -e /usr/lib/wasm32-wasi/libc.a || -z $(find /usr/lib/llvm-* -name 'libclang_rt.builtins-wasm32.a' 2>/dev/null) ]]; then
        # shellcheck disable=SC2086 # several packages are several words
        apt_install $packages
    fi
    need clang "$packages" && need wasm-ld lld
}

# wasm_rust: a rustup that has the target, or else Debian's rustc with the sources of its standard library, which cargo then
# builds; rust-lld of the rustup that is there links.
wasm_rust() {
    local sysroot=$(rustc --print sysroot)
    if [[ -d $sysroot/lib/rustlib/wasm32-unknown-unknown ]]; then return 0; fi
    [[ -x /usr/bin/rustc && -e /usr/lib/rustlib/src/rust/library/Cargo.lock ]] || apt_install rustc-web rust-web-src || return 1
    local linker=$(find "$sysroot"/.. "$sysroot" -name rust-lld -path '*/bin/*' 2>/dev/null | head -1)
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=${linker:-wasm-ld}
}

# wasm_js, wasm_python: what `policy build` would fetch for each folder, once for all.
wasm_js() {
    need node "nodejs npm" && need npm npm || return 1
    [[ -x $policies_dir/npm/node_modules/.bin/componentize-qjs ]] ||
        npm install --silent --no-audit --no-fund --prefix "$policies_dir/npm" componentize-qjs@0.4 || return 1
}

wasm_python() {
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv || return 1
    [[ -x $policies_dir/python/bin/componentize-py ]] ||
        { python3 -m venv "$policies_dir/python" && "$policies_dir/python/bin/pip" install --quiet 'componentize-py>=0.25,<0.26'; }
}

# from_source FOLDER OUT: builds a policy, and asks it its cases: from their files, and those that travel in it.
from_source() {
    local folder=$1 out=$2 name what failed=0
    name=$(basename "$folder")
    step "policies: $name, in $(sed -n 's/^language = "\(.*\)"$/\1/p' "$folder/policy.toml")" \
        "$bin/sidelock" policy build "$folder" --out "$out" || return 1
    for what in "$folder --out $out --junit $out/$name.xml" "$out/$name.wasm"; do
        # shellcheck disable=SC2086 # several words are wanted
        limited "$bin/sidelock" policy test $what | grep -v '^ok '
        ((PIPESTATUS[0] == 0)) || failed=1
    done
    return $failed
}

# prepared WORDS FUNCTION: says how long it took.
prepared() {
    local started=$SECONDS code
    "$2" >"$policies_dir/prepared.log" 2>&1
    code=$?
    ((code == 0)) || cat "$policies_dir/prepared.log"
    printf '%-58s %4d s%s\n' "policies: $1" $((SECONDS - started)) "$( ((code == 0)) || echo "   FAILED")"
    return $code
}

# In a shell of its own: what it sets for Rust's guests is for nobody else.
policies() (
    local failed=0 folder language
    mkdir -p "$policies_dir" || return 1
    prepared "clang, lld, wasi-libc" wasm_c && prepared "rustc for wasm32" wasm_rust &&
        prepared "componentize-qjs" wasm_js && prepared "componentize-py" wasm_python || return 1
    export PATH=$policies_dir/npm/node_modules/.bin:$policies_dir/python/bin:$PATH CARGO_TARGET_DIR=$policies_dir/rust
    for folder in sidecar/policy/plugins/*/; do
        from_source "${folder%/}" "$policies_dir/plugins" || failed=1
    done
    rm -rf "$policies_dir/new"
    mkdir -p "$policies_dir/new"
    for language in rust c js python; do
        "$bin/sidelock" policy new --lang $language "my-$language" --into "$policies_dir/new" >/dev/null &&
            from_source "$policies_dir/new/my-$language" "$policies_dir/new/my-$language" || failed=1
    done
    reloads || failed=1
    return $failed
)

# reloads: a script's next version takes the place of the one before once a second, under load.
reloads() {
    local from=$policies_dir/new/my-js other=$policies_dir/new/my-other-js
    mkdir -p "$other" && sed 's|"private/"|"elsewhere/"|' "$from/main.js" >"$other/main.js" && cp "$from/policy.toml" "$other" &&
        "$bin/sidelock" policy build "$other" --out "$other" >/dev/null || return 1
    step "policies: a new version in JavaScript each second" \
        "$bin/examples/reloads" "$from/my-js.wasm" "$other/"*.wasm private/k 8
}
