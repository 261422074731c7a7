#!/usr/bin/env bash
# Kernels compiled on a host travel with its database: exported, imported where there is no compiler, run where their
# signer is trusted and not opened where not; the results are the same everywhere. And a plan as C carries none of them.
# modes: sanitized
set -u
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset TMAC_DB TMAC_FLEET
export HOME=$work TMAC_SYSTEM_DB=$work/none
programs=$(realpath "$build/bin")

check() { # name condition...
    local name=$1
    shift
    if "$@" >"$work/why" 2>&1; then echo "ok - $name"; else echo "not ok - $name"; sed 's/^/# /' "$work/why"; fi
}
has() { grep -q -- "$1" "$2"; }
hash_of() { grep -o 'logits [0-9a-f]*' "$1"; }
generate() { # database output: with no compiler in sight
    PATH=$work/empty "$programs/tmac-run" "$work/model.tm2" --db "$1" -n 8 -j 1 -t 1 -s 4 \
        --no-cache --stats >"$2.text" 2>"$2"
}
mkdir "$work/empty" "$work/home" "$work/away" "$work/wary"
shape=dim=256,hidden=704,layers=2,heads=4,kv_heads=2,vocab=64
"$build/bin/tmac-synth" --shape $shape --seed 3 "$work/model.tm2" >/dev/null 2>&1
generate "$work/nothing.db" "$work/rule"
check "a model runs without a database" has "logits" "$work/rule"

"$build/tests/plant" "$work/home/tune.db" "$work/model.tm2" >"$work/names" 2>"$work/errors"
status=$?
if [ $status = 77 ]; then
    for name in "kernels are compiled" "compiled kernels travel"; do echo "skip - $name: no C compiler here"; done
    exit 0
fi
check "kernels are compiled, signed and stored" test $status = 0
cat "$work/errors" >&2
first=$(head -n 1 "$work/names")
check "their names tell the shape" has "_k256_" "$work/names"
generate "$work/home/tune.db" "$work/own"
check "they run where they were made" has "$first" "$work/own"
check "with the same results" test "$(hash_of "$work/own")" = "$(hash_of "$work/rule")"

db() { "$build/bin/tmac-db" --db "$@"; }
db "$work/home/tune.db" export "$work/all.tmac" 2>"$work/exported"
check "the export holds them" has " 1 objects" "$work/exported"
db "$work/wary/tune.db" import "$work/all.tmac" >/dev/null 2>"$work/imported"
generate "$work/wary/tune.db" "$work/untrusted"
check "of a signer nobody trusts they are not run" bash -c "! grep -q '$first' '$work/untrusted'"
check "and it is said why" has "signer is not trusted here" "$work/untrusted"
check "what runs instead gives the same results" test "$(hash_of "$work/untrusted")" = "$(hash_of "$work/rule")"

key=$(sed -n 's/.*tmac-db key trust \([A-Za-z0-9+/=]*\).*/\1/p' "$work/untrusted")
db "$work/away/tune.db" key trust "$key" >/dev/null 2>>"$work/imported"
db "$work/away/tune.db" import "$work/all.tmac" >/dev/null 2>>"$work/imported"
generate "$work/away/tune.db" "$work/trusted"
check "of a trusted signer they run, without a compiler" has "$first" "$work/trusted"
check "without a word" bash -c "! grep -q warning '$work/trusted'"
check "with the same results as everywhere" test "$(hash_of "$work/trusted")" = "$(hash_of "$work/rule")"
db "$work/away/tune.db" key revoke "$key" >/dev/null 2>>"$work/imported"
generate "$work/away/tune.db" "$work/revoked"
check "of a revoked one they do not" bash -c "! grep -q '$first' '$work/revoked'"

# Without kernels in the export the measurements of the kernels they came from serve.
db "$work/home/tune.db" export --no-kernels "$work/bare.tmac" 2>"$work/exported"
mkdir "$work/bare"
db "$work/bare/tune.db" key trust "$key" >/dev/null 2>>"$work/imported"
db "$work/bare/tune.db" import "$work/bare.tmac" >/dev/null 2>>"$work/imported"
generate "$work/bare/tune.db" "$work/without"
check "without the objects the program's own kernels run" has "rung host" "$work/without"
check "with the same results again" test "$(hash_of "$work/without")" = "$(hash_of "$work/rule")"

# One byte of an object is another: it is not opened, and the program goes on.
cp -r "$work/home" "$work/damaged"
if command -v sqlite3 >/dev/null; then
    sqlite3 "$work/damaged/tune.db" \
        "UPDATE object SET bytes = CAST(substr(bytes, 1, 5000) || x'ff' || substr(bytes, 5002) AS BLOB)"
    generate "$work/damaged/tune.db" "$work/spoilt"
    check "a damaged object is not opened" has "damaged" "$work/spoilt"
    check "and what runs instead gives the same results" test "$(hash_of "$work/spoilt")" = "$(hash_of "$work/rule")"
else
    echo "skip - a damaged object is not opened: no sqlite3 program"
fi

# A plan as C carries the program's own kernels, and gives the same results.
if [ -f /usr/lib/"$(uname -m)"-linux-gnu/libsodium.a ] && [ -f /usr/lib/"$(uname -m)"-linux-gnu/libpcre2-8.a ] &&
    ! nm "$build/obj/base/hash.o" | grep -q __asan; then
    db "$work/home/tune.db" -j 1 plan "$work/model.tm2" --emit-c "$work/device" >/dev/null 2>"$work/errors"
    check "the plan is emitted as C by tmac-db plan" test -s "$work/device/tmac_plan.c"
    check "which names no kernel that was compiled here" bash -c "! grep -q '_k256' '$work/device/tmac_plan.c'"
    check "and links" make -s -f "$work/device/tmac_plan.mk" BUILD="$build"
    "$work/device/tmac-run" "$work/model.tm2" -n 8 -j 1 -t 1 -s 4 --no-cache --stats >"$work/text" 2>"$work/static"
    check "and gives the same results" test "$(hash_of "$work/static")" = "$(hash_of "$work/rule")"
else
    echo "skip - a plan as C: no static libraries, or a build with sanitizers"
fi

# A tuner without a compiler says so and goes on.
TMAC_CC=$work/absent "$build/bin/tmac-tune" --db "$work/other.db" --shape $shape --rigor measure -j 1 \
    --accept-noise --time-limit 21 --only _r16_n1_p0 >"$work/table" 2>"$work/errors"
check "without a compiler the tuner says so and goes on" has "no kernels were compiled" "$work/table"
check "once" test "$(grep -c 'no kernels were compiled' "$work/table")" = 1
