#!/usr/bin/env bash
# tmac-bench: every combination is a row, in five formats that their readers accept; the host's figures; refusals.
. tests/e2e/lib.sh.inc
bench=$bin/tmac-bench
"$bin/tmac-synth" --shape dim=64,hidden=96,layers=2,heads=4,kv_heads=2,vocab=64,context=128 "$work/m.tm2" >/dev/null 2>&1
run() { "$bench" -m "$work/m.tm2" --mb 4 "$@" 2>"$work/err"; }
[ -f "$work/m.tm2" ] || fail "a synthetic model" ""

run -p 32,16 -n 8 -d 0,20 -j 1,2 -r 3 -o json >"$work/json"
check "json: one row for every combination" \
    "$(perl -MJSON::PP -0777 -ne 'print join " ", map { "$_->{n_threads}/$_->{n_prompt}/$_->{n_gen}/$_->{n_depth}" } @{decode_json($_)}' "$work/json")" \
    "1/32/0/0 1/16/0/0 1/0/8/0 1/32/0/20 1/16/0/20 1/0/8/20 2/32/0/0 2/16/0/0 2/0/8/0 2/32/0/20 2/16/0/20 2/0/8/20"
check "json: the figures agree with the samples" "$(perl -MJSON::PP -0777 -ne '
    for my $r (@{decode_json($_)}) {
        my @s = sort { $a <=> $b } @{$r->{samples_ts}};
        my $mean = ($s[0] + $s[1] + $s[2]) / 3;
        my $spread = 0; $spread += ($_ - $mean) ** 2 / 2 for @s;
        my $far = sub { abs($_[0] - $_[1]) > 1e-4 * $mean };
        print "wrong " if @s != 3 || $far->($mean, $r->{avg_ts}) || $far->($s[1], $r->{median_ts})
            || $far->(sqrt $spread, $r->{stddev_ts}) || $r->{bytes_per_token} <= 0 || $r->{bandwidth} <= 0
            || abs($r->{bandwidth_fraction} / ($r->{bytes_per_token} * $mean / $r->{bandwidth}) - 1) > 1e-4;
    }' "$work/json")" ""
# Two layers, two KV heads of 16, keys and values: 128 numbers a position; 4.5 positions on average and 20 before.
check "tg: bytes count the KV cache" "$(perl -MJSON::PP -0777 -ne 'my @r = @{decode_json($_)}; print $r[5]{bytes_per_token} - $r[2]{bytes_per_token}' "$work/json")" $((20 * 128 * 2))
check "jsonl: a line is an object" "$(run -p 8,4 -n 0 -j 1 -r 2 -o jsonl | perl -MJSON::PP -ne 'print decode_json($_)->{n_prompt}, " "')" "8 4 "
check "csv: one header, rows as long" "$(run -p 8 -n 4 -j 1 -r 2 -o csv | perl -ne 's/"[^"]*"/x/g; print scalar(split /,/), " "')" "19 19 19 "
check "md: a header and a row each" "$(run -p 8 -n 4 -j 1 -r 2 | grep -c '^|.*|$')" 4
check "lists of KV types and batches" "$(run -p 8 -n 0 -j 1 -b 4,8 --kv f16,f32,int8 -r 1 -o jsonl | sed 's/.*"n_batch":\([0-9]*\).*"type_kv":"\([^"]*\)".*/\1\2/' | xargs)" "4f16 4f32 4int8 8f16 8f32 8int8"
check "a capped instruction set" "$(run -p 0 -n 4 -j 1 --isa scalar --head stored -r 1 -o jsonl | grep -c '"isa":"scalar"')" 1
if command -v sqlite3 >/dev/null; then
    check "sql: SQLite takes it" "$(run -p 8 -n 4 -j 1 -r 2 -o sql | sqlite3 "$work/b.db" '.read /dev/stdin' 'select count(*), sum(n_gen) from tmac_bench')" "2|4"
else
    skip "sql: SQLite takes it" "no sqlite3 program"
fi

refuse() { # name text arguments...
    local name=$1 text=$2 status
    shift 2
    "$bench" "$@" >/dev/null 2>"$work/err"
    status=$?
    check "$name" "$status $(grep -cF -- "$text" "$work/err")" "2 1"
}
refuse "nothing to do" "give one of"
refuse "two things to do" "give one of" --host --kernels
refuse "a list that is none" "separated by commas" -m "$work/m.tm2" -p 1,,2
refuse "an unknown format" "expected md, csv" -m "$work/m.tm2" -o xml
refuse "an unknown head" "expected stored" -m "$work/m.tm2" --head q9
refuse "no repetitions" "repetitions" -m "$work/m.tm2" -r 0
refuse "more than the context" "context holds 128" -m "$work/m.tm2" --mb 4 -p 129
refuse "a pattern without --kernels" "only --kernels" --host lut

"$bench" --host --json --mb 4 >"$work/host"
check "host: bandwidth and peaks" "$(perl -MJSON::PP -0777 -ne 'my $h = decode_json($_); print join " ", map { $h->{figures}{$_}{value} > 0 ? "yes" : "no" } "read_1t", "read_$h->{threads}t"' "$work/host")" "yes yes"
check "host: text" "$("$bench" --host --mb 4 | grep -c '^read_1t .* GB/s$')" 1
"$bench" --kernels lut2_ --rows 64 --columns 96 --mb 1 >"$work/kernels" 2>"$work/err" # each is checked before it is timed
check "kernels: exact, and each has its figures" "$? $(grep -c '^lut2_.* [0-9.]* *[0-9.]* *[0-9.]*$' "$work/kernels") $(grep -c WRONG "$work/kernels")" \
    "0 $(grep -c ^lut2_ "$work/kernels") 0"
check "kernels: all that have the pattern" "$(grep -o '^lut2_scalar' "$work/kernels" | sort -u)" lut2_scalar
"$bench" --kernels scalar_lut2 --rows 64 --columns 96 --mb 1 >/dev/null 2>"$work/err"
check "kernels: a pattern that none has" "$? $(grep -c 'has scalar_lut2 in its name' "$work/err")" "1 1"
