#!/usr/bin/env bash
# What is too long for `make test`: a database of 100 hosts and a million trials, and eight writers for a minute.
#
#   BUILD=build TRIALS=1000000 HOSTS=100 SECONDS_OF_WRITING=60 tests/soak.sh
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build} TRIALS=${TRIALS:-1000000} HOSTS=${HOSTS:-100}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMAC_SYSTEM_DB=$work/none
timed() { # label command...
    local label=$1 begin
    shift
    begin=$(date +%s%N)
    "$@" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
    awk -v ns=$(($(date +%s%N) - begin)) -v label="$label" 'BEGIN { printf "%s %.2f s\n", label, ns / 1e9 }'
}
mkdir "$work/a" "$work/b"
timed generate "$BUILD/tests/fleet" generate "$work/a/tune.db" "$HOSTS" "$TRIALS" 1
timed export "$BUILD/bin/tmac-db" --db "$work/a/tune.db" export --no-sign "$work/export"
timed import "$BUILD/bin/tmac-db" --db "$work/b/tune.db" import --no-check "$work/export"
"$BUILD/bin/tmac-db" --db "$work/b/tune.db" export --no-sign - 2>/dev/null | cmp - "$work/export" && echo "same bytes"
"$BUILD/tests/fleet" lookup "$work/a/tune.db"
ls -l "$work/export" "$work/a/tune.db" | awk '{ print $NF, $5 }' | sed "s|$work/||"
"$BUILD/tests/fleet" writers "$work/w.db" 8 "${SECONDS_OF_WRITING:-60}"
