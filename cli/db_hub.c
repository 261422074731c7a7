// tmac-db push, pull: a PostgreSQL database as the meeting point of a fleet.
//
// Two tables, made by the first push: tmac_record and tmac_object, each (name text primary key, bytes bytea). Pushing
// adds what is not there; pulling is an import: every record is checked against its name, seals decide what is used, and
// the hub need not be trusted. With the same records, push and pull in any order come to the same export.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db_commands.h"

#ifdef TMAC_HUB
#include <libpq-fe.h>

static tmac_status hub_fail(PGconn *hub, const char *doing)
{
    // The first line says what is wrong; an address may hold a password and is not repeated.
    char line[200];
    snprintf(line, sizeof line, "%s", PQerrorMessage(hub));
    line[strcspn(line, "\n")] = 0;
    return tmac_fail(TMAC_IO, "the hub: %s: %s", doing, line);
}

static tmac_status hub_run(PGconn *hub, const char *sql, ExecStatusType expected, const char *doing)
{
    PGresult *result = PQexec(hub, sql);
    tmac_status status = PQresultStatus(result) == expected ? tmac_ok() : hub_fail(hub, doing);
    PQclear(result);
    return status;
}

static tmac_status hub_open(const char *address, PGconn **hub)
{
    if (strncmp(address, "postgres://", 11) != 0 && strncmp(address, "postgresql://", 13) != 0)
        return tmac_fail(TMAC_USAGE, "a hub is postgres://USER@HOST/DATABASE");
    *hub = PQconnectdb(address);
    tmac_status status = PQstatus(*hub) == CONNECTION_OK ? tmac_ok() : hub_fail(*hub, "connecting");
    if (status.code == TMAC_OK)
        status = hub_run(*hub, "SET client_min_messages = error", PGRES_COMMAND_OK, "connecting");
    if (status.code == TMAC_OK) return status;
    PQfinish(*hub);
    return status;
}

typedef struct copy {
    PGconn *hub;
    char *line;
    size_t room;
} copy;

static tmac_status send_item(void *into, const char *hex, const void *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    copy *c = into;
    const size_t need = 2 * count + TMAC_HASH_HEX + 8;
    if (need > c->room) {
        char *grown = realloc(c->line, need);
        if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a record");
        c->line = grown;
        c->room = need;
    }
    size_t used = (size_t)snprintf(c->line, c->room, "%s\t\\\\x", hex);
    for (size_t i = 0; i < count; i++) {
        const uint8_t byte = ((const uint8_t *)bytes)[i];
        c->line[used++] = digits[byte >> 4];
        c->line[used++] = digits[byte & 15];
    }
    c->line[used++] = '\n';
    return PQputCopyData(c->hub, c->line, (int)used) == 1 ? tmac_ok() : hub_fail(c->hub, "sending");
}

static tmac_status push_table(const tmac_db *db, PGconn *hub, bool object, uint64_t *added)
{
    copy c = {.hub = hub};
    char sql[300];
    const char *table = object ? "tmac_object" : "tmac_record";
    snprintf(sql, sizeof sql,
             "CREATE TABLE IF NOT EXISTS %s(name text PRIMARY KEY, bytes bytea NOT NULL);"
             "CREATE TEMP TABLE incoming(name text, bytes bytea) ON COMMIT DROP;",
             table);
    TMAC_TRY(hub_run(hub, sql, PGRES_COMMAND_OK, "making its tables"));
    TMAC_TRY(hub_run(hub, "COPY incoming FROM STDIN", PGRES_COPY_IN, "sending"));
    tmac_status status = tmac_db_each_item(db, object, send_item, &c);
    free(c.line);
    if (PQputCopyEnd(hub, status.code == TMAC_OK ? NULL : "stopped") != 1 && status.code == TMAC_OK)
        status = hub_fail(hub, "sending");
    for (PGresult *result; (result = PQgetResult(hub)); PQclear(result))
        if (PQresultStatus(result) != PGRES_COMMAND_OK && status.code == TMAC_OK)
            status = hub_fail(hub, "sending");
    if (status.code != TMAC_OK) return status;
    snprintf(sql, sizeof sql,
             "INSERT INTO %s SELECT DISTINCT ON (name) name, bytes FROM incoming ORDER BY name"
             " ON CONFLICT DO NOTHING",
             table);
    PGresult *result = PQexec(hub, sql);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        *added = strtoull(PQcmdTuples(result), NULL, 10);
    else
        status = hub_fail(hub, "adding");
    PQclear(result);
    if (status.code == TMAC_OK)
        status = hub_run(hub, "DROP TABLE incoming", PGRES_COMMAND_OK, "adding");
    return status;
}

tmac_status db_push(const db_context *c)
{
    tmac_db *db;
    PGconn *hub;
    uint64_t sealed, records = 0, objects = 0;
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_WRITE, &db));
    tmac_status status = c->no_sign ? tmac_ok() : tmac_db_seal(db, &sealed);
    if (status.code == TMAC_OK) status = hub_open(c->operands[0], &hub);
    if (status.code != TMAC_OK) {
        tmac_db_close(db);
        return status;
    }
    status = hub_run(hub, "BEGIN", PGRES_COMMAND_OK, "beginning");
    // Two first pushes at once would both make the tables.
    if (status.code == TMAC_OK)
        status =
            hub_run(hub, "SELECT pg_advisory_xact_lock(1953325411)", PGRES_TUPLES_OK, "beginning");
    if (status.code == TMAC_OK) status = push_table(db, hub, false, &records);
    if (status.code == TMAC_OK && !c->no_kernels) status = push_table(db, hub, true, &objects);
    if (status.code == TMAC_OK) status = hub_run(hub, "COMMIT", PGRES_COMMAND_OK, "committing");
    PQfinish(hub);
    tmac_db_close(db);
    if (status.code == TMAC_OK)
        printf("%" PRIu64 " new records, %" PRIu64 " new objects\n", records, objects);
    return status;
}

static tmac_status pull_table(PGconn *hub, bool object, tmac_db_intake *in)
{
    const char *sql = object ? "SELECT name, bytes FROM tmac_object ORDER BY name"
                             : "SELECT name, bytes FROM tmac_record ORDER BY name";
    tmac_status status = tmac_ok();
    if (PQsendQueryParams(hub, sql, 0, NULL, NULL, NULL, NULL, 1) != 1)
        return hub_fail(hub, "asking");
    PQsetSingleRowMode(hub);
    for (PGresult *result; (result = PQgetResult(hub)); PQclear(result)) {
        const ExecStatusType kind = PQresultStatus(result);
        if (kind == PGRES_FATAL_ERROR && status.code == TMAC_OK) status = hub_fail(hub, "asking");
        if (kind != PGRES_SINGLE_TUPLE || status.code != TMAC_OK) continue;
        const char *bytes = PQgetvalue(result, 0, 1);
        const size_t count = (size_t)PQgetlength(result, 0, 1);
        uint8_t digest[TMAC_HASH_BYTES];
        char hex[TMAC_HASH_HEX];
        tmac_hash(bytes, count, digest);
        tmac_hash_hex(digest, hex);
        if (strcmp(hex, PQgetvalue(result, 0, 0)) != 0)
            status = tmac_fail(TMAC_BAD_FILE, "the hub: %.64s does not have the bytes of its name",
                               PQgetvalue(result, 0, 0));
        else
            status = object ? tmac_db_intake_object(in, bytes, count, hex)
                            : tmac_db_intake_record(in, bytes, count, hex);
    }
    return status;
}

tmac_status db_pull(const db_context *c)
{
    tmac_db *db;
    PGconn *hub;
    tmac_db_traffic traffic = {0};
    tmac_db_intake in;
    TMAC_TRY(hub_open(c->operands[0], &hub));
    tmac_status status = tmac_db_open(c->path, TMAC_DB_WRITE, &db);
    if (status.code == TMAC_OK) {
        status = tmac_db_intake_begin(db, false, &traffic, &in);
        if (status.code == TMAC_OK) {
            status = pull_table(hub, false, &in);
            if (status.code == TMAC_OK && !c->no_kernels) status = pull_table(hub, true, &in);
            status = tmac_db_intake_end(&in, status);
        }
        tmac_db_close(db);
    }
    PQfinish(hub);
    if (status.code == TMAC_OK && !c->no_check) status = db_check_imports(c, &traffic);
    if (status.code == TMAC_OK)
        printf("%" PRIu64 " new records, %" PRIu64 " new objects, %" PRIu64 " of %" PRIu64
               " trials usable\n",
               traffic.new_records, traffic.new_objects, traffic.states[TMAC_STATE_USABLE],
               traffic.trials);
    return status;
}

#else

tmac_status db_push(const db_context *c)
{
    return tmac_fail(TMAC_UNSUPPORTED,
                     "%s: this tmac-db was built without libpq; install libpq-dev and build again",
                     c->operands[0]);
}

tmac_status db_pull(const db_context *c)
{
    return db_push(c);
}

#endif
