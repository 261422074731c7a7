#!/usr/bin/env bash
# tmac-db push and pull against a real PostgreSQL server, which this script starts as an ordinary user.
. tests/e2e/lib.sh.inc
server=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
if [ -z "$server" ] || [ ! -x "$server/postgres" ]; then skip "a hub" "no PostgreSQL server is installed"; exit 0; fi
if "$bin/tmac-db" push "postgres:///x?host=$work/none" 2>&1 | grep -q 'without libpq'; then skip "a hub" "built without libpq"; exit 0; fi
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp "$@"; else "$@"; fi; }
pg=$(mktemp -d /tmp/tmac-hub-XXXXXX)
[ "$(id -u)" != 0 ] || chown 65534:65534 "$pg"
stop() { as "$server/pg_ctl" -D "$pg/data" -m immediate stop >/dev/null 2>&1; rm -rf "$pg" "$work"; }
trap stop EXIT
cd "$pg" && as "$server/initdb" -D "$pg/data" -U tmac -A trust --no-sync >"$work/log" 2>&1 &&
    as "$server/pg_ctl" -D "$pg/data" -w -l "$pg/log" \
        -o "-k $pg -c listen_addresses= -c fsync=off" start >>"$work/log" 2>&1 ||
    { fail "starting a server" "$(tail -n 5 "$work/log")"; exit 1; }
cd "$OLDPWD" || exit 1
hub="postgres:///postgres?host=$pg&user=tmac"
db() { local file=$1; shift; "$bin/tmac-db" --db "$work/$file/tune.db" "$@" 2>"$work/err"; }
digest() { db "$1" export --no-sign "$work/digest.export" && sha256sum <"$work/digest.export"; }

for i in 1 2; do
    mkdir "$work/h$i"
    "$bin/tmac-tune" --shape dim=64,hidden=96,layers=1,heads=2,kv_heads=1,vocab=96,context=32 --isa scalar \
        --rigor quick --time-limit 0.3 -j "$i" --db "$work/h$i/tune.db" >/dev/null 2>&1
    db "h$i" push "$hub" >/dev/null || fail "push $i" "$(cat "$work/err")"
done
check "pushing again adds nothing" "$(db h1 push "$hub")" "0 new records, 0 new objects"
mkdir "$work/a" "$work/b"
db a pull "$hub" >"$work/out"
check "a stranger's trials come, and are not used" "$(grep -c ' 0 of ' "$work/out")" 1
db b merge "$work/h2/tune.db" "$work/h1/tune.db" >/dev/null
check "the hub is a union of sets, as merging is" "$(digest a)" "$(digest b)"
db h1 pull "$hub" >/dev/null && db h2 pull "$hub" >/dev/null
check "who pushes and pulls has what the others have" "$(digest h1)" "$(digest h2)"
psql -q -h "$pg" -U tmac postgres -c "UPDATE tmac_record SET bytes = bytes || '\\x0a' WHERE name = (SELECT min(name) FROM tmac_record)"
mkdir "$work/c"
db c pull "$hub" >/dev/null
check "a hub that changed a record is refused" "$? $(grep -c 'bytes of its name' "$work/err")" "1 1"
check "a hub that is not there" "$(db c pull postgres:///x?host=$work/none >/dev/null; echo $?)" 1
