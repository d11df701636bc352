# The SDKs of other languages: built from this checkout, installed as users install them, tested against the real sidecar.
# Sourced by `tests/run`.
#
# Owns what each language needs and how it is built. What is tested is in `bindings/LANGUAGE/tests`.

languages_dir=$target_dir/languages
# How `cases` starts the players of the languages that are built.
players=()
# How `turns` starts programs of the languages that are built.
turners=(--program curl=bindings/turns/curl)

source tests/support/swift.sh

# step WORDS COMMAND…: runs it, says what it is and how long it took; its output is shown only if it fails.
step() {
    local words=$1 started=$SECONDS log code
    shift
    log=$(mktemp)
    limited "$@" >"$log" 2>&1
    code=$?
    if ((code != 0)); then cat "$log"; fi
    rm -f "$log"
    printf '%-58s %4d s%s\n' "$words" $((SECONDS - started)) "$( ((code == 0)) || echo "   FAILED")"
    return $code
}

# The wheel as users install it, into the virtual environment of the benchmarks.
python_for_bench() {
    local venv=$1 build=$languages_dir/python-build wheels=$target_dir/bench/wheels
    mkdir -p "$languages_dir" && rm -rf "$wheels" &&
        python3 -m venv "$build" && "$build/bin/pip" install --quiet 'maturin>=1.16,<2' &&
        (cd bindings/python && PATH="$build/bin:$PATH" maturin build --quiet --out "$wheels") &&
        "$venv/bin/pip" install --quiet --no-index --force-reinstall "$wheels"/*.whl
}

# The profile `dev` for library and generator alike: one build of what they share.
python_sdk() {
    local venv=$languages_dir/python tests=bindings/python/tests outcome code passed failed
    need python3 "python3 python3-venv" && mkdir -p "$languages_dir" || return 1
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "python3 is older than 3.11"
        return 1
    }
    rm -rf "$venv" "$languages_dir/wheels"
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv || return 1
    step "python: a virtual environment with maturin" \
        sh -c "python3 -m venv '$venv-build' && '$venv-build/bin/pip' install --quiet 'maturin>=1.16,<2'" &&
        step "python: the wheel (sidelock-ffi, uniffi-bindgen)" env PATH="$venv-build/bin:$PATH" \
            sh -c "cd bindings/python && maturin build --quiet --profile dev --out '$languages_dir/wheels'" ||
        return 1
    step "python: the wheel in a fresh virtual environment" \
        sh -c "python3 -m venv '$venv' && '$venv/bin/pip' install --quiet --no-index '$languages_dir'/wheels/*.whl" &&
        step "python: pytest, mypy, pyright" "$venv/bin/pip" install --quiet --requirement $tests/requirements.txt || return 1
    # The generated module is not in the checkout: the check borrows the installed one's.
    rm -rf "$venv-types" && cp -r bindings/python "$venv-types" &&
        cp -r "$venv"/lib/python3*/site-packages/sidelock/_native "$venv-types/python/sidelock/" &&
        step "python: our own code under mypy --strict" sh -c "cd '$venv-types' && '$venv/bin/mypy'" &&
        step "python: the players of bindings/cases under mypy --strict" \
            sh -c "cd $tests/cases && '$venv/bin/mypy' --strict --cache-dir '$languages_dir/mypy' ./*.py" || return 1
    players+=(--player "python=$venv/bin/python $tests/cases/blocking.py" --player "asyncio=$venv/bin/python $tests/cases/aio.py")
    turners+=(--program "python=$venv/bin/python bindings/turns/python.py")
    outcome=$languages_dir/python.log
    SIDELOCK_BIN=$bin/sidelock limited "$venv/bin/python" -m pytest -q --no-header -p no:cacheprovider $tests 2>&1 | tee "$outcome"
    code=${PIPESTATUS[0]}
    passed=$(sed -nE 's/^.*\b([0-9]+) passed.*$/\1/p' "$outcome" | tail -1)
    failed=$(sed -nE 's/^.*\b([0-9]+) (failed|error).*$/\1/p' "$outcome" | tail -1)
    printf 'python: %d passed, %d failed\n' "${passed:-0}" "${failed:-0}"
    return "$code"
}

# Compiler, standard library and coroutines from npm's package of them, JNA from Debian: no Maven is needed. Sets `libraries`
# (a class path) and `kotlinc` (a command) of its caller.
kotlin_tools() {
    local npm=$languages_dir/kotlin/npm from=bindings/kotlin
    need java openjdk-17-jre-headless && need npm npm && need strip binutils && mkdir -p "$npm" || return 1
    [[ -e /usr/share/java/jna.jar ]] || apt_install libjna-java || return 1
    libraries=/usr/share/java/jna.jar:$(printf "$npm/node_modules/kotlin-compiler/lib/%s.jar:" kotlin-stdlib kotlin-test kotlinx-coroutines-core-jvm)
    # The JVM's second compiler is for what lives longer than this.
    kotlinc=(java -Xmx1g -Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseParallelGC
        -cp "$npm/node_modules/kotlin-compiler/lib/kotlin-compiler.jar" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler
        -kotlin-home "$npm/node_modules/kotlin-compiler" -no-reflect -no-stdlib -Werror -Wextra -jvm-target 17)
    if ! cmp --silent $from/tests/package.json "$npm/package.json" || [[ ! -d $npm/node_modules/kotlin-compiler ]]; then
        cp $from/tests/package.json "$npm/" &&
            step "kotlin: compiler and coroutines" npm --prefix "$npm" install --silent --no-audit --no-fund --no-package-lock
    fi
}

# kotlin_package TO PROFILE: the library, and the package around it, without a warning.
kotlin_package() {
    local to=$1 from=bindings/kotlin
    mkdir -p "$to" && step "kotlin: the library (sidelock-ffi), and what uniffi makes of it" $from/generate "$2" "$to/generated" &&
        step "kotlin: the package, without a warning" "${kotlinc[@]}" -Xexplicit-api=strict \
            -cp "$libraries" -d "$to/sidelock.jar" "$to/generated/kotlin" $from/src/main/kotlin
}

# The package as users build it, and a user of it for the benchmarks, which live long enough for both of the JVM's compilers.
kotlin_peer() {
    local to=$languages_dir/kotlin-bench libraries kotlinc
    kotlin_tools && kotlin_package "$to" bindings &&
        "${kotlinc[@]}" -cp "$libraries:$to/sidelock.jar" -d "$to/bench.jar" bindings/kotlin/tests/Bench.kt || return 1
    printf '#!/bin/sh\nexec java -cp %s BenchKt\n' "$libraries:$to/sidelock.jar:$to/bench.jar:$to/generated/resources" >"$target_dir/bench/peers/kotlin" &&
        chmod +x "$target_dir/bench/peers/kotlin"
}

kotlin_sdk() {
    local to=$languages_dir/kotlin from=bindings/kotlin libraries run kotlinc
    kotlin_tools && kotlin_package "$to" dev || return 1
    awk '/^```kotlin$/ { inside = 1; next } /^```$/ { if (inside) exit } inside' $from/README.md >"$to/Readme.kt" &&
        step "kotlin: tests, samples, the README's lines, the player" "${kotlinc[@]}" \
            -cp "$libraries:$to/sidelock.jar" -d "$to/tests.jar" "$to/Readme.kt" $from/samples $from/tests || return 1
    run="java -Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp $libraries:$to/sidelock.jar:$to/tests.jar:$to/generated/resources"
    players+=(--player "kotlin=$run PlayerKt")
    turners+=(--program "kotlin=$run TurnsKt")
    # shellcheck disable=SC2086 # a command in words
    SIDELOCK_BIN=$bin/sidelock limited $run RunnerKt
}
