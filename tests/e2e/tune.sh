#!/usr/bin/env bash
# tmac-tune and tmac-db from the command line: a tiny shape is tuned, asked about, interrupted, tuned again.
# modes: sanitized
set -u
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work XDG_DATA_HOME=$work/data
unset TMAC_DB
shape=dim=128,hidden=352,layers=2,heads=4,kv_heads=2,vocab=64
tune="$build/bin/tmac-tune --shape $shape --rigor quick --time-limit 90 -j 1 --isa scalar --accept-noise"

check() { # name condition...
    local name=$1
    shift
    if "$@" >"$work/why" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$work/why"; fi
}
fails_with() { # status pattern command...
    local want=$1 pattern=$2 text status
    shift 2
    text=$("$@" 2>&1 >/dev/null)
    status=$?
    echo "$text"
    [ "$status" = "$want" ] && [ "$(echo "$text" | wc -l)" = 1 ] && [[ "$text" == *$pattern* ]]
}
trials() { "$build/bin/tmac-db" "$@" status --json | sed -n 's/.*"trial": \([0-9]*\).*/\1/p'; }
has() { grep -q -- "$1" "$2"; }

"$build/bin/tmac-db" status >"$work/empty" 2>&1
check "status of a database that is not there" has "not there yet" "$work/empty"
check "status creates nothing" test ! -e "$work/data"

$tune >"$work/table" 2>"$work/errors"
check "tuning succeeds" test $? = 0
check "the closing table names gain and rung" has "rung" "$work/table"
check "the default database is under XDG_DATA_HOME" test -s "$work/data/tmac/tune.db"
"$build/bin/tmac-db" status >"$work/status"
check "status names this host" has "<- this host" "$work/status"
check "status is sound" has "integrity ok" "$work/status"
check "status names the rung" has "rung host" "$work/status"
before=$(trials)
$tune --json >"$work/json" 2>>"$work/errors"
check "the second tuning measures nothing" has '"measured": 0' "$work/json"
check "and adds no trial" test "$(trials)" = "$before"
check "nothing was said on standard error" test ! -s "$work/errors"

$tune --time-limit 0.05 --db "$work/short.db" >"$work/short" 2>>"$work/errors"
check "rows that time did not suffice for say so" has "not measured *rule$" "$work/short"
check "and do not say they are this host's" test "$(grep -c "not measured *host" "$work/short")" = 0

# Killed again and again, then finished: trials never become fewer, and the database stays sound. Killed while it creates
# the file, before the first trial, it leaves one that status calls not there yet.
export TMAC_DB=$work/killed.db
last=0
sound=true
for delay in 0.2 0.5 0.8 1.1; do
    $tune >/dev/null 2>&1 &
    child=$!
    sleep "$delay"
    kill -9 "$child" 2>/dev/null
    wait "$child" 2>/dev/null
    [ -e "$TMAC_DB" ] || continue
    status=$("$build/bin/tmac-db" status 2>&1)
    [[ "$status" == *"integrity ok"* || ( $last = 0 && "$status" == *"not there yet"* ) ]] || sound=false
    now=$(trials)
    [ "${now:-0}" -ge "$last" ] || sound=false
    last=${now:-0}
done
check "SIGKILL leaves a sound database with all trials" $sound
$tune >/dev/null 2>&1
check "tuning continues after SIGKILL" test "$(trials)" -ge "$last"

# Two at once.
export TMAC_DB=$work/shared.db
$tune >/dev/null 2>"$work/one" &
child=$!
$tune --seed 2 >/dev/null 2>"$work/two"
first=$?
wait "$child"
check "two tuners share a database" test $? = 0 -a $first = 0 -a ! -s "$work/one" -a ! -s "$work/two"

unset TMAC_DB
check "neither model nor shape" fails_with 2 "either --model" "$build/bin/tmac-tune"
check "unknown rigor" fails_with 2 "unknown rigor" $tune --rigor hasty
check "a model that is not there" fails_with 1 "$work/none" "$build/bin/tmac-tune" --model "$work/none"
check "unknown command" fails_with 2 "unknown command" "$build/bin/tmac-db" frobnicate
echo "this is no database, but it is long enough to be looked at as one" >"$work/text"
check "a file that is no database" fails_with 1 "$work/text" "$build/bin/tmac-db" --db "$work/text" status
check "a database that is a folder" fails_with 1 "is a directory" $tune --db "$work"
check "a folder that cannot be made" fails_with 1 "$work/text" $tune --db "$work/text/deep/tune.db"
