#!/usr/bin/env bash
# Runs the tests of one build folder and closes with the plain line "N passed, N failed" (", N skipped" where something
# was skipped).
#
#   BUILD=build tests/run.sh           everything; where SANITIZED names a second build folder (ASan and UBSan), its
#                                      units, a reduced kernel check and the scripts that feed bad input run as well
#   BUILD=build/tsan tests/run.sh threads   what runs on several threads
#
# Each part prints "ok ...", "not ok ..." or "skip ..." lines; passing ones are counted and not shown (V=1 shows them).
# As many parts as there are processors run at once (TEST_JOBS), each with a log of its own; a part's line appears when
# it ends, with its seconds.
set -u
cd "$(dirname "$0")/.."
export BUILD=${BUILD:-build} TMAC_DATA=${TMAC_DATA:-../shared/data}
unset MAKEFLAGS MFLAGS # of the make that called: its jobs are not for those in scripts
mode=${1:-all}
passed=0 failed=0 skipped=0
at_once=${TEST_JOBS:-$(nproc)}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -A label=() began=() # by process id, of what runs

# The checker counts by itself: its closing line stands for that many tests.
checker_passes() { # log
    local good bad
    read -r good _ bad _ < <(tail -n 1 "$1" | tr -d ,)
    [[ "$good" =~ ^[0-9]+$ && "$bad" == 0 ]] && echo "$good"
}

# Waits for a part to end, counts the lines of its log, shows what is not plain success, and names a part that died
# without a word.
finish() {
    local pid status good bad left log seconds
    wait -n -p pid "${!label[@]}"
    status=$?
    local name=${label[$pid]}
    log=$logs/$pid
    seconds=$((SECONDS - began[$pid]))
    good=$(grep -c '^ok' "$log")
    bad=$(grep -c '^not ok' "$log")
    left=$(grep -c '^skip' "$log")
    [[ "$name" != *checker ]] || good=$(checker_passes "$log") || { status=1 good=0; }
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        bad=1
        echo "not ok - $name ended with status $status" >>"$log"
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    printf '%-28s %5d passed %3d failed %3d skipped %5d s\n' "$name" "$good" "$bad" "$left" "$seconds"
    if [ "$bad" != 0 ]; then cat "$log"
    elif [ "${V:-0}" = 1 ]; then grep -E '^(ok|skip)' "$log"
    else grep '^skip' "$log"; fi
    unset "label[$pid]"
}

start() { # label command...
    local name=$1
    shift
    [ ${#label[@]} -lt "$at_once" ] || finish
    { exec "$@" >"$logs/$BASHPID" 2>&1; } &
    label[$!]=$name
    began[$!]=$SECONDS
}

# Criterion's TAP output has one line per test.
units() {
    LSAN_OPTIONS=suppressions=tests/leaks.supp "$BUILD/tests/unit" --tap 2>&1 | sed 's/^ok - \(.*\) # SKIP/skip - \1/'
    return "${PIPESTATUS[0]}"
}
export -f units

# Scripts under tests/e2e; each names the modes it belongs to beside `all` on a line "# modes: sanitized threads".
start_scripts() { # label mode
    local script
    for script in tests/e2e/*.sh; do
        [ "$2" = all ] || grep -q "^# modes:.*\b$2\b" "$script" || continue
        start "$1$(basename "$script" .sh)" bash "$script"
    done
}

if [ "$mode" = threads ]; then
    start_scripts "" threads
else
    # The longest first.
    start units bash -c units
    if [ -n "${SANITIZED:-}" ]; then
        BUILD=$SANITIZED start "sanitized units" bash -c units
        BUILD=$SANITIZED start_scripts "sanitized " sanitized
        start "sanitized kernel checker" "$SANITIZED/tests/check-kernels" --reduced
    fi
    start_scripts "" all
    start "kernel checker" "$BUILD/tests/check-kernels"
fi
while [ ${#label[@]} != 0 ]; do finish; done

if [ "$skipped" = 0 ]; then echo "$passed passed, $failed failed"
else echo "$passed passed, $failed failed, $skipped skipped"; fi
[ "$failed" = 0 ] && [ "$passed" != 0 ]
