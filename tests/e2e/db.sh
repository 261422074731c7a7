#!/usr/bin/env bash
# tmac-db: exports are canonical and sealed, imports take nothing that is damaged, unknown or revoked, merging is a union
# of sets, and a process killed at any moment leaves a sound database.
# modes: sanitized
. tests/e2e/lib.sh.inc
shape=dim=64,hidden=96,layers=1,heads=2,kv_heads=1,vocab=96,context=32

db() { local file=$1; shift; "$bin/tmac-db" --db "$work/$file/tune.db" "$@" 2>"$work/err"; }
# The count behind a word in the table that import, merge and verify print.
count_of() { sed -n "s/^$1  *\([0-9]*\)$/\1/p" "$work/out"; }
digest() { db "$1" export --no-sign "$work/digest.export" && sha256sum <"$work/digest.export"; }

for i in 1 2 3; do
    mkdir "$work/h$i"
    # A second is enough on an idle machine; on a busy one it goes on where it stopped.
    for _ in 1 2 3 4 5 6; do
        "$bin/tmac-tune" --shape "$shape" --isa scalar --rigor quick --time-limit 1 -j "$i" --seed "$i" \
            --db "$work/h$i/tune.db" >/dev/null 2>"$work/err" || fail "tuning $i" "$(cat "$work/err")"
        [ "$(db "h$i" sql 'select count(*) as n from trial' | tail -n 1)" -ge 3 ] && break
    done
    db "h$i" export "$work/$i.export" || fail "export $i" "$(cat "$work/err")"
done

db h1 export "$work/again.export"
check "exporting again gives the same bytes" "$(cmp "$work/1.export" "$work/again.export" 2>&1)" ""
check "its own secret key is private" "$(stat -c %a "$work/h1/tmac.key")" 600
db h1 verify "$work/1.export" >"$work/out"
check "an export verifies" "$?" 0
[ "$(count_of seals)" -ge 1 ] && pass "what was measured here is sealed" || fail "what was measured here is sealed" "$(cat "$work/out")"
trials=$(count_of trials)

# Trust.
key=$(db h1 key list | sed -n 's/^own *\([^ ]*\).*/\1/p')
mkdir "$work/guest"
db guest import "$work/1.export" >"$work/out"
check "an unknown signer's trials are kept aside" "$(count_of 'trials: unknown signer')" "$trials"
check "and do not decide what runs" "$(db guest sql 'select count(*) as n from trial' | tail -n 1)" 0
check "but are exported untouched" "$(digest guest)" "$(sha256sum <"$work/1.export")"
db guest key trust "$key" --name friend >"$work/out"
check "a trusted signer's trials are used" "$(count_of 'trials: usable')" "$trials"
db guest key revoke "$key" >"$work/out"
check "a revoked signer's are not" "$(count_of 'trials: revoked signer')" "$trials"
db guest merge "$work/1.export" >"$work/out"
check "not even when merged" "$(count_of 'trials: revoked signer')" "$trials"
"$bin/tmac-db" --db "$work/h3/tune.db" export --no-sign "$work/plain" 2>/dev/null
grep -q '^revoked .* friend$' "$work/guest/trusted.keys" && pass "the list of signers is text" || fail "the list of signers is text"
sed 's/^median_ns .*/median_ns 1/' "$work/1.export" >"$work/forged"
db guest import "$work/forged" >/dev/null
check "a forged figure is refused" "$?" 1

# Claims of speed that this host does not bear out.
mkdir "$work/liar" "$work/heir" "$work/trusting"
"$BUILD/tests/fleet" lie "$work/liar/tune.db" 2>"$work/err"
case $? in
0)
    db liar export "$work/lie.export"
    liar=$(db liar key list | sed -n 's/^own *\([^ ]*\).*/\1/p')
    db heir key trust "$liar" >/dev/null
    db trusting key trust "$liar" >/dev/null
    db heir import "$work/lie.export" >"$work/out"
    check "a claim of speed is checked here, and refuted" "$(count_of 'trials: slower here than claimed') $(grep -c 'said to be fastest' "$work/err")" "1 1"
    db heir import "$work/lie.export" >"$work/out"
    check "and stays refuted" "$(count_of 'trials: slower here than claimed')" 1
    db trusting import --no-check "$work/lie.export" >"$work/out"
    check "--no-check takes it as it is" "$(count_of 'trials: usable')" 2
    ;;
3) skip "a claim of speed is checked here" "this host has no kernel faster than the scalar one" ;;
*) fail "a host that lies" "$(cat "$work/err")" ;;
esac

# Damage: single bits, all over the file; truncation; bytes after the end; the future.
before=$(digest h2)
size=$(stat -c %s "$work/1.export") tampered=0 refused=0
for ((i = 0; i < 60; i++)); do
    at=$((size * i / 60)) bit=$((1 << (i % 8)))
    cp "$work/1.export" "$work/bad"
    byte=$(od -An -tu1 -j $at -N 1 "$work/bad" | tr -d ' ')
    printf "\\x$(printf %02x $((byte ^ bit)))" | dd of="$work/bad" bs=1 seek=$at conv=notrunc status=none
    tampered=$((tampered + 1))
    db h2 import "$work/bad" >/dev/null
    [ $? = 1 ] && grep -Eq 'damaged|neither an export|another version' "$work/err" && refused=$((refused + 1))
done
check "any flipped bit is refused with the reason" "$refused" "$tampered"
head -c $((size / 2)) "$work/1.export" >"$work/bad"
db h2 import "$work/bad" >/dev/null
check "a truncated export is refused" "$?" 1
{ cat "$work/1.export"; echo; } >"$work/bad"
db h2 import "$work/bad" >/dev/null
check "bytes after the end are refused" "$?" 1
sed '1s/.*/tmac-export 2/' "$work/1.export" >"$work/bad"
db h2 import "$work/bad" >/dev/null
check "a file from the future is refused" "$? $(grep -c 'newer tmac' "$work/err")" "1 1"
check "and the database is unharmed" "$(digest h2)" "$before"

# A union of sets: any order, any grouping, any number of times.
mkdir "$work/a" "$work/b" "$work/c" "$work/bc"
db a merge "$work/1.export" "$work/2.export" "$work/3.export" >/dev/null
db b import "$work/3.export" "$work/1.export" "$work/3.export" "$work/2.export" >/dev/null
db bc merge "$work/2.export" "$work/h3/tune.db" >/dev/null
db c merge "$work/bc/tune.db" "$work/1.export" "$work/bc/tune.db" >/dev/null
check "merging: any order" "$(digest b)" "$(digest a)"
check "merging: any grouping, databases and exports" "$(digest c)" "$(digest a)"
db a verify >"$work/out"
check "the merged database verifies" "$?" 0

# Layers.
mkdir "$work/empty"
looked=$("$bin/tmac-db" --db "$work/h1/tune.db" explain "x 64" --csv | grep -c ',host,wins')
"$bin/tmac-db" --db "$work/empty/tune.db" merge "$work/3.export" >/dev/null 2>&1
found=$("$bin/tmac-db" --db "$work/empty/tune.db" --fleet "$work/h1/tune.db:$work/2.export" sql 'select 1 as one' | tail -n 1)
check "layers open beside the database" "$found $([ "$looked" -gt 0 ] && echo some)" "1 some"
# What can be looked into is what can be looked up: an empty database over layers, and layers that say the same twice.
layered() { "$bin/tmac-db" --db "$work/nobody/tune.db" --fleet "$fleet" "$@" 2>"$work/err"; }
# Of a status: all records, the trials among them, those of the input sets, those of the hosts; then the layers named.
facts() { awk '/^[a-z]/ { part = $1 } /^  / && part == "records" { records += $2; if ($1 == "trial") trials = $2 }
    match($0, /[0-9]+ trials/) { sum[part] += substr($0, RSTART) }
    match($0, /, in [a-z0-9+]+/) { held[substr($0, RSTART + 5, RLENGTH - 5)] = 1 }
    END { printf "%d %d %d %d", records, trials, sum["input"], sum["hosts"]; for (h in held) printf " %s", h }'; }
alone=$(db h1 status | facts)
fleet=$work/h1/tune.db
check "status counts what only a layer holds" "$(layered status | facts)" "$alone fleet1"
fleet=$work/h1/tune.db:$work/1.export
[ "${alone%% *}" -gt 5 ] && pass "there is something to count" || fail "there is something to count" "$alone"
check "a record that two layers hold counts once" "$(layered status | facts)" "$alone fleet1+fleet2"
layered status >"$work/out"
check "and the layers are named" "$(grep -c '^own .*not there yet\|^fleet1 .*integrity ok$\|^fleet2 .*integrity ok$' "$work/out") $(grep -c ', in fleet1+fleet2' "$work/out" | sed 's/^[1-9][0-9]*$/some/')" "3 some"
fleet=$work/h1/tune.db:$work/h2/tune.db
check "explain sees a layer's sets, and says whose they are" "$(layered explain "x 64" -j 1 --csv | grep -c ',host,wins.*,fleet1$') $(layered explain "x 64" -j 2 --csv | grep -c ',host,wins.*,fleet2$')" \
    "$(db h1 explain "x 64" -j 1 --csv | grep -c ',host,wins') $(db h2 explain "x 64" -j 2 --csv | grep -c ',host,wins')"
layered report "$work/layers.html" && grep -q 'Databases looked up together' "$work/layers.html" && grep -q '<td>fleet2</td>' "$work/layers.html" &&
    pass "a report marks whose figures they are" || fail "a report marks whose figures they are" "$(cat "$work/err")"
me=$(layered status --json | sed -n 's/.*"name": "\([0-9a-f]*\)".*/\1/p' | head -n 1)
layered compare "$me" "$me" --csv >"$work/out"
check "compare sees the hosts of layers" "$(head -n 1 "$work/out") $(sed '1d; s/.*,//' "$work/out" | sort -u | tr '\n' ' ')" \
    "input_set,bucket,threads,kernel_a,ns_a,kernel_b,ns_b,b_to_a,layer_a,layer_b fleet1 fleet2 "
check "as often as they measured" "$(sed 1d "$work/out" | wc -l)" "$(for i in 1 2; do db h$i compare "$me" "$me" --csv | sed 1d; done | wc -l)"
# The same questions of a database, and of layers that hold the same twice.
alone_in_sql= twice_in_sql=
for table in record host variant problem run trial winner; do
    ask="select count(*) as n from $table"
    alone_in_sql+="$(db h1 sql "$ask" | tail -n 1) "
    twice_in_sql+="$(fleet=$work/h1/tune.db:$work/1.export layered sql "$ask" | tail -n 1) "
done
check "sql sees all layers, and twins once" "$twice_in_sql" "$alone_in_sql"
check "and each by its name" "$(layered sql 'select (select count(*) from fleet1.trial) + (select count(*) from fleet2.trial) as n' | tail -n 1)" "$(layered sql 'select count(*) as n from trial' | tail -n 1)"
layered sql 'delete from fleet1.record' >/dev/null
check "and can change none" "$?" 2
check "doctor sees the runs and kernels of layers" "$(layered doctor | grep -c '^ok ')" "$(db h1 doctor | grep -c '^ok ')"
check "TMAC_SYSTEM_DB is a layer too" "$(TMAC_SYSTEM_DB=$work/h1/tune.db db nobody status | facts)" "$alone system"

check "a layer that is not there is named" "$("$bin/tmac-db" --fleet "$work/nothing" status 2>&1 | grep -c nothing)" 1

# Looking.
db h1 explain "x 64" >"$work/out"
grep -q 'wins' "$work/out" && pass "explain says why the winner won" || fail "explain says why the winner won" "$(cat "$work/out" "$work/err")"
db h1 explain "x 64" --json | head -c 1 | grep -q '\[' && pass "explain speaks JSON" || fail "explain speaks JSON"
check "explain speaks CSV" "$(db h1 explain "x 64" --csv | head -n 1)" "set,threads,tokens,kernel,layout,us,error_us,samples,rigor,rung,why,layer"
db h1 explain nonsense >/dev/null
check "explain of what was not measured" "$?" 1
db h1 doctor >"$work/out"
grep -q 'this very host was measured' "$work/out" && pass "doctor knows this host" || fail "doctor knows this host" "$(cat "$work/out")"
for sql in 'delete from record' 'pragma user_version = 9' "attach '$work/x' as x" 'create table t(a)' 'select load_extension(1)'; do
    db h1 sql "$sql" >/dev/null
    check "sql refuses: $sql" "$?" 2
done
db h1 sql "select $(seq -s, 17)" >/dev/null
check "sql refuses more columns than it shows" "$?" 2
db a gc --dry-run | grep -q 'would drop' && pass "gc says what would go" || fail "gc says what would go"
db a gc | grep -q '^dropped' && db a verify >/dev/null
check "gc leaves a sound database" "$?" 0

# Killed at random moments.
mkdir "$work/k"
"$bin/tmac-db" --db "$work/k/tune.db" merge "$work/1.export" >/dev/null 2>&1
kept=$(db k sql 'select count(*) as n from record' | tail -n 1)
sound=0
for ((i = 0; i < 50; i++)); do
    [ $((i % 2)) = 0 ] && how=import || how=merge
    "$bin/tmac-db" --db "$work/k/tune.db" --no-check $how "$work/2.export" "$work/3.export" >/dev/null 2>&1 &
    child=$!
    sleep "0.0$((RANDOM % 4))$((RANDOM % 10))"
    { kill -KILL $child; wait $child; } 2>/dev/null
    now=$(db k sql 'select count(*) as n from record' | tail -n 1)
    db k verify >/dev/null && [ "${now:-0}" -ge "$kept" ] && sound=$((sound + 1))
    kept=$now
done
check "SIGKILL at 50 random moments: sound, nothing lost" "$sound" 50
db k merge "$work/2.export" "$work/3.export" >/dev/null
mkdir "$work/k2"
db k2 merge "$work/1.export" "$work/2.export" "$work/3.export" >/dev/null
check "and done again it is complete" "$(digest k)" "$(digest k2)"

# Locks.
mkdir "$work/dot"
for i in 1 2 3; do TMAC_DB_LOCKING=dotfile "$bin/tmac-db" --db "$work/dot/tune.db" merge "$work/$i.export" >/dev/null 2>>"$work/dots" & done
wait
check "without locks of the file system, folders lock" "$(TMAC_DB_LOCKING=dotfile digest dot)" "$(digest k2)"
# The same where nobody says so: a share that is mounted without locks, as far as programs can tell.
cat >"$work/share.c" <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
int fcntl(int file, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK) {
        errno = ENOLCK;
        return -1;
    }
    return (int)syscall(SYS_fcntl, file, command, argument);
}
int statfs(const char *path, struct statfs *facts)
{
    const int failed = (int)syscall(SYS_statfs, path, facts);
    facts->f_type = 0x6969; // NFS
    return failed;
}
int fcntl64(int, int, ...) __attribute__((alias("fcntl")));
int statfs64(const char *, struct statfs64 *) __attribute__((alias("statfs")));
END
if nm "$BUILD/obj/base/hash.o" | grep -q "__[at]san" || ! ${CC:-cc} -w -shared -fPIC -o "$work/share.so" "$work/share.c" 2>/dev/null; then
    skip "a share without locks is recognized" "no C compiler, or a build with sanitizers"
else
    mkdir "$work/share"
    on_share() { LD_PRELOAD=$work/share.so db share "$@"; }
    for i in 1 2 3; do LD_PRELOAD=$work/share.so "$bin/tmac-db" --db "$work/share/tune.db" merge "$work/$i.export" >/dev/null 2>>"$work/shares" & done
    wait
    on_share export --no-sign "$work/share.export"
    check "a share without locks is recognized" "$(sha256sum <"$work/share.export")" "$(digest k2)"
    check "gets a rollback journal, and nobody is told to wait" "$(on_share status | grep -c 'journal delete') $(grep -c 'another program' "$work/shares")" "1 0"
fi

# Large and busy, in small; `make soak` does it in full.
mkdir "$work/g" "$work/gi"
"$BUILD/tests/fleet" generate "$work/g/tune.db" 20 20000 1 2>"$work/err" || fail "generating a fleet" "$(cat "$work/err")"
db g export --no-sign "$work/g.export" && db gi merge "$work/g.export" >/dev/null
check "a generated fleet comes back as it was" "$(digest gi)" "$(sha256sum <"$work/g.export")"
check "its trials are found" "$("$BUILD/tests/fleet" lookup "$work/gi/tune.db" | grep -c ' 0 of')" 0
"$BUILD/tests/fleet" writers "$work/busy.db" 8 2 >"$work/out" 2>&1
check "eight writers at once: nothing lost, nobody locked out" "$? $(grep -c locked "$work/out")" "0 0"
