#!/usr/bin/env bash
# modes: sanitized
# What every program answers to --help, --version and nonsense: exit status 2 and one line that names the mistake; and
# to files that are not there or not readable: exit status 1. The manual pages know every option, and no others.
. tests/e2e/lib.sh.inc

# name, expected status, text that standard error must have, command...
refused() {
    local name=$1 status=$2 text=$3 got
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ "$got" != "$status" ]; then fail "$name" "exit status $got, expected $status: $(head -n 3 "$work/err")"
    elif [ "$(wc -l <"$work/err")" != 1 ]; then fail "$name" "standard error has $(wc -l <"$work/err") lines, expected 1"
    elif ! grep -qF -- "$text" "$work/err"; then fail "$name" "no '$text' in: $(cat "$work/err")"
    elif [ -s "$work/out" ]; then fail "$name" "standard output is not empty"
    else pass "$name"; fi
}

for program in "$bin"/tmac-*; do
    name=${program##*/}
    "$program" --help >"$work/help" 2>"$work/err"
    check "$name --help succeeds" "$? $(wc -c <"$work/err")" "0 0"
    check "$name --help begins with its usage" "$(head -c $((7 + ${#name})) "$work/help")" "Usage: $name"
    check "$name --help fits 80 columns" "$(awk 'length > 80' "$work/help")" ""
    check "$name --version" "$("$program" --version)" "$name $(sed -n 's/.*TMAC_VERSION "\(.*\)"/\1/p' base/version.h)"
    refused "$name: unknown option" 2 "unknown option '--no-such-option'; try '$name --help'" "$program" --no-such-option
    refused "$name: unknown short option" 2 "unknown option '-Z'" "$program" -Z
    case $name in
    tmac-db) refused "$name: no such command" 2 "unknown command 'a'" "$program" a b ;;
    tmac-train) refused "$name: texts and nowhere to go" 2 "where to?" "$program" a b ;;
    *) refused "$name: extra operands" 2 "extra operand" "$program" a b c d e ;;
    esac
    refused "$name: full disk" 1 "No space left" bash -c '"$0" --help >/dev/full' "$program"

    sed -n 's/^ *\(-[a-z], \)\{0,1\}--\([a-z0-9-]*\).*/\2/p' "$work/help" | sort -u >"$work/in_help"
    grep '^\\fB\\-' "docs/man/$name.1" | sed 's/\\-/-/g' | grep -o 'fB--[a-z0-9-]*' | cut -c5- | sort -u >"$work/in_manual"
    check "$name: manual and --help have the same options" "$(cat "$work/in_manual")" "$(cat "$work/in_help")"
done

run=$bin/tmac-run eval=$bin/tmac-eval tokenize=$bin/tmac-tokenize
refused "run: no model" 2 "missing operand: expected MODEL" "$run"
refused "run: -n wants a number" 2 "option '-n': '-5' is not a whole number" "$run" -n -5 model
refused "run: -n wants all of it a number" 2 "'12x'" "$run" -n12x model
refused "run: a number too large" 2 "'99999999999999999999'" "$run" --seed=99999999999999999999 model
refused "run: -t wants a number" 2 "option '-t': 'hot'" "$run" -t hot model
refused "run: infinity is no temperature" 2 "'inf'" "$run" --temperature inf model
refused "run: option without its argument" 2 "option '-p' needs an argument: P" "$run" model -p
refused "run: flag with an argument" 2 "option '--stats' takes no argument" "$run" --stats=1 model
refused "run: unknown instruction set" 2 "expected one of scalar, ssse3" "$run" --isa avx9 model
refused "run: unknown KV type" 2 "expected f16, f32 or int8" "$run" --kv int3 model
refused "run: unknown bit order" 2 "msb" "$run" --bit-order middle model
refused "run: too many threads" 2 "at most 1024" "$run" -j 5000 model
refused "run: too large a batch" 2 "at most 4096" "$run" --batch 5000 model
refused "run: control characters do not reach the terminal" 2 "'--?[31m" "$run" --$'\e'[31m
refused "eval: no text" 2 "-f FILE" "$eval" nll model
refused "eval: unknown measure" 2 "'magic'" "$eval" magic model -f text
refused "eval: no model" 2 "missing operand" "$eval" nll -f text
refused "tokenize: no vocabulary" 2 "missing operand" "$tokenize"

missing=$work/missing
: >"$work/empty"
printf 'GGU' >"$work/short"
for path in "$missing" "$work" "$work/empty" "$work/short" /dev/null; do
    what=${path##*/}
    refused "run: $what" 1 "$path" "$run" "$path"
    refused "eval: $what" 1 "$path" "$eval" nll "$path" -f "$work/empty"
    refused "tokenize: $what" 1 "$path" "$tokenize" "$path"
done

check "--isa list begins with scalar" "$("$run" --isa list | head -n 1)" scalar
check "--isa list ends where it must" "$("$run" --isa list | grep -cvxE 'scalar|ssse3|sse41|avx2|avxvnni|avx512bw|avx512vnni|avx512vbmi|avx512gfni|amx|neon|dotprod|i8mm')" 0
"$run" --isa list >/dev/full 2>"$work/err"
check "--isa list on a full disk" "$?" 1
