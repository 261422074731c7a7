#!/usr/bin/env bash
# Runs the tests of one build folder and closes with the plain line "N passed, N failed" (", N skipped" where something
# was skipped).
#
#   BUILD=build tests/run.sh           everything; where SANITIZED names a second build folder (ASan and UBSan), its
#                                      units, a reduced kernel check and the scripts that feed bad input run as well
#   BUILD=build/tsan tests/run.sh threads   what runs on several threads
#
# Each part prints "ok ...", "not ok ..." or "skip ..." lines; passing ones are counted and not shown (V=1 shows them).
set -u
cd "$(dirname "$0")/.."
export BUILD=${BUILD:-build} TMAC_DATA=${TMAC_DATA:-../shared/data}
mode=${1:-all}
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Counts the lines of $log, shows what is not plain success, and names a part that died without a word.
count() { # name exit-status
    local good bad left
    good=$(grep -c '^ok' "$log")
    bad=$(grep -c '^not ok' "$log")
    left=$(grep -c '^skip' "$log")
    if [ "$2" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
        echo "not ok - $1 ended with status $2" >>"$log"
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    printf '%-28s %5d passed %3d failed %3d skipped\n' "$1" "$good" "$bad" "$left"
    if [ "$bad" != 0 ]; then cat "$log"
    elif [ "${V:-0}" = 1 ]; then grep -E '^(ok|skip)' "$log"
    else grep '^skip' "$log"; fi
}

run_units() {
    # Criterion's TAP output has one line per test.
    "$BUILD/tests/unit" --tap 2>&1 | sed 's/^ok - \(.*\) # SKIP/skip - \1/' >"$log"
    count "$1units" "${PIPESTATUS[0]}"
}

# The checker counts by itself: its closing line stands for that many tests.
run_checker() { # label options...
    local label=$1 good bad status
    shift
    "$BUILD/tests/check-kernels" "$@" >"$log" 2>&1
    status=$?
    read -r good _ bad _ < <(tail -n 1 "$log" | tr -d ,)
    if [[ "$good" =~ ^[0-9]+$ && "$bad" == 0 && $status == 0 ]]; then
        passed=$((passed + good))
        printf '%-28s %5d passed %3d failed\n' "$label" "$good" 0
    else
        count "$label" 1
    fi
}

# Scripts under tests/e2e; each names the modes it belongs to beside `all` on a line "# modes: sanitized threads".
run_scripts() { # label mode
    local script
    for script in tests/e2e/*.sh; do
        [ "$2" = all ] || grep -q "^# modes:.*\b$2\b" "$script" || continue
        bash "$script" >"$log" 2>&1
        count "$1$(basename "$script" .sh)" $?
    done
}

if [ "$mode" = threads ]; then
    run_scripts "" threads
else
    run_units ""
    run_checker "kernel checker"
    run_scripts "" all
    if [ -n "${SANITIZED:-}" ]; then
        export BUILD=$SANITIZED
        run_units "sanitized "
        run_checker "sanitized kernel checker" --reduced
        run_scripts "sanitized " sanitized
    fi
fi

if [ "$skipped" = 0 ]; then echo "$passed passed, $failed failed"
else echo "$passed passed, $failed failed, $skipped skipped"; fi
[ "$failed" = 0 ] && [ "$passed" != 0 ]
