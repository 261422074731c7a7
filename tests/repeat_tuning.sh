#!/usr/bin/env bash
# Is a tuning worth as much every time, and as much as trying everything? Tunes one model once with `exhaustive`, ten times
# with `measure`, three times with `quick`, each into a database of its own, then lets all plans take turns end to end.
#
#   BUILD=build MODEL=model.tm2 THREADS=2 SESSIONS=10 RACE_SECONDS=120 tests/repeat_tuning.sh FOLDER
#
# Databases stay in FOLDER; what is there already is not measured again. On a quiet machine half an hour for a 2B model.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build} MODEL=${MODEL:-build/demo/bitnet-2b-4t.tm2} THREADS=${THREADS:-2}
folder=${1:?a folder for the databases}
mkdir -p "$folder"
tune() { # rigor seed
    local db=$folder/$1-$2.db begin
    [ -e "$db" ] && return
    begin=$(date +%s%N)
    "$BUILD/bin/tmac-tune" --model "$MODEL" --db "$db.new" --rigor "$1" -j "$THREADS" --seed "$2" >"$db.log" 2>&1 ||
        { cat "$db.log" >&2; exit 1; }
    for end in "" -wal -shm; do [ ! -e "$db.new$end" ] || mv "$db.new$end" "$db$end"; done
    awk -v ns=$(($(date +%s%N) - begin)) -v what="$1, seed $2" 'BEGIN { printf "%s: %.1f s\n", what, ns / 1e9 }'
    grep -m1 'trials measured' "$db.log" || true
}
tune exhaustive 1
for seed in $(seq "${SESSIONS:-10}"); do tune measure "$seed"; done
for seed in 1 2 3; do tune quick "$seed"; done
race() { "$BUILD/tests/race" "$MODEL" "$THREADS" "${RACE_SECONDS:-120}" "$@"; }
race "$folder"/exhaustive-1.db "$folder"/measure-*.db "$folder"/quick-*.db | tee "$folder/race"
awk '/measure-/ { v = $(NF - 1); if (!n++ || v < low) low = v; if (v > high) high = v }
     END { printf "measure, %d sessions: %.3f to %.3f x, a spread of %.1f %%\n", n, low, high, 100 * (high / low - 1) }' "$folder/race"
