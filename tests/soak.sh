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
timed 'sealing and export' "$BUILD/bin/tmac-db" --db "$work/a/tune.db" export "$work/export"
timed 'export again' "$BUILD/bin/tmac-db" --db "$work/a/tune.db" export "$work/export"
key=$("$BUILD/bin/tmac-db" --db "$work/a/tune.db" key list | sed -n 's/^own *\([^ ]*\).*/\1/p')
"$BUILD/bin/tmac-db" --db "$work/b/tune.db" key trust "$key" >/dev/null 2>&1
timed 'import, with all checks' "$BUILD/bin/tmac-db" --db "$work/b/tune.db" import "$work/export"
"$BUILD/bin/tmac-db" --db "$work/b/tune.db" sql 'select count(*) as usable from trial' | tail -n 1 | sed 's/$/ trials usable/'
"$BUILD/bin/tmac-db" --db "$work/b/tune.db" export --no-sign - 2>/dev/null | cmp - "$work/export" && echo "same bytes"
"$BUILD/tests/fleet" lookup "$work/a/tune.db"
ls -l "$work/export" "$work/a/tune.db" | awk '{ print $NF, $5 }' | sed "s|$work/||"
"$BUILD/tests/fleet" writers "$work/w.db" 8 "${SECONDS_OF_WRITING:-60}"

# Tuners: all that their closing records say they measured is there, and nobody was told to wait. Each has a model of its
# own, so that it has something to measure.
tune() { # model database option...
    exec "$BUILD/bin/tmac-tune" --shape "dim=$((64 * $1)),hidden=$((96 * $1)),layers=1,heads=2,kv_heads=1,vocab=96" \
        --accept-noise --rigor exhaustive -j 1 --db "$work/$2/tune.db" "${@:3}"
}
ask() { "$BUILD/bin/tmac-db" --db "$work/$1/tune.db" sql "$2" 2>/dev/null | tail -n +2; }
trials() { ask "$1" 'select count(*) as n from trial'; }
mkdir "$work/t" "$work/k"
tuners=()
for i in 1 2 3 4 5 6 7 8; do
    (tune "$i" t --time-limit "${SECONDS_OF_WRITING:-60}") >/dev/null 2>>"$work/tuners" &
    tuners+=($!)
done
wait "${tuners[@]}"
said=$(ask t "select cast(bytes as text) as b from record where kind = 'close'" | awk '/^(measured|failed) / { n += $2 } END { print n }')
there=$(trials t)
echo "eight tuners measured $said trials, $there are there; told to wait: $(grep -ci 'lock\|busy\|another program' "$work/tuners" || true)"
[ "$said" = "$there" ] || exit 1

# Fifty of them killed at random moments.
sound=0 before=0
for ((i = 1; i <= 50; i++)); do
    (tune "$i" k --time-limit 10) >/dev/null 2>&1 &
    child=$!
    sleep "$((RANDOM % 2)).$((RANDOM % 10))$((RANDOM % 10))"
    { kill -KILL $child; wait $child; } 2>/dev/null || true
    now=$(trials k)
    "$BUILD/bin/tmac-db" --db "$work/k/tune.db" verify >/dev/null && [ "${now:-0}" -ge "$before" ] && sound=$((sound + 1))
    before=${now:-0}
done
echo "SIGKILL at 50 random moments of tuning: $sound times sound and nothing lost, $before trials"
[ $sound = 50 ] && [ "$before" -gt 0 ]
