// tmac-db doctor, explain, compare, sql: reading what is there.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db_commands.h"
#include "convert/convert.h"
#include "db/reader.h"
#include "tune/tune.h"

// ------------------------------------------------------------------------------------------------------------ explain

static tmac_status explain_set(const db_context *c, const tmac_db_inventory *v,
                               const tmac_input_set *set, uint32_t threads, db_table *table)
{
    tmac_plan plan;
    char name[80], n[24], us[32], error[32], samples[16], held[DB_LAYERS_TEXT];
    TMAC_TRY(tmac_db_plan(c->db, &c->host, set, 1, threads, c->host.isa, &plan));
    const tmac_plan_entry *entry = &plan.entries[0];
    db_describe_set(set, name);
    snprintf(n, sizeof n, "%" PRIu32, threads);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        tmac_db_figure *figures;
        size_t count;
        bool seen = false;
        TMAC_TRY(tmac_db_figures(c->db, &c->host, set, bucket, threads, &figures, &count));
        const char *rule = tmac_plan_rule_kernel(entry->layout, bucket, c->host.isa);
        const tmac_db_figure *incumbent = NULL, *winner = NULL;
        for (size_t i = 0; i < count; i++) {
            if (figures[i].outcome != TMAC_OUTCOME_OK) continue;
            if (rule && strcmp(figures[i].kernel->name, rule) == 0) incumbent = &figures[i];
            if (strcmp(figures[i].kernel->name, entry->kernel[bucket]) == 0) winner = &figures[i];
        }
        for (size_t i = 0; i < count; i++) {
            const tmac_db_figure *f = &figures[i];
            const bool wins = f == winner;
            const char *why = f->outcome != TMAC_OUTCOME_OK ? tmac_outcome_name(f->outcome)
                              : wins && f == incumbent
                                  ? "wins: nothing beats the rule's kernel by more than the noise"
                              : wins ? "wins: fastest of its layout by more than the noise"
                              : strcmp(f->kernel->layout->name, entry->layout) != 0
                                  ? "another layout is faster over the workload"
                              : winner && f->ns < winner->ns ? "faster, but within the noise"
                                                             : "slower";
            seen |= wins;
            us[0] = error[0] = 0;
            if (f->outcome == TMAC_OUTCOME_OK) {
                snprintf(us, sizeof us, "%.3f", f->ns / 1e3);
                snprintf(error, sizeof error, "%.3f", f->error / 1e3);
            }
            db_describe_layers(v, f->layers, held);
            snprintf(samples, sizeof samples, "%" PRIu32, f->samples);
            db_table_row(table, name, n, tmac_bucket_name(bucket), f->kernel->name,
                         f->kernel->layout->name, us, error, samples, tmac_rigor_name(f->rigor),
                         wins ? tmac_rung_name(entry->rung) : "", why, held);
        }
        if (!seen)
            db_table_row(table, name, n, tmac_bucket_name(bucket), entry->kernel[bucket],
                         entry->layout, "", "", "", "", tmac_rung_name(entry->rung),
                         "runs: not measured on this host", "");
        free(figures);
    }
    return tmac_ok();
}

tmac_status db_explain(const db_context *c)
{
    static const char *const columns[] = {"set",    "#threads", "tokens",    "kernel",
                                          "layout", "#us",      "#error_us", "#samples",
                                          "rigor",  "rung",     "why",       "layer"};
    static tmac_work work;
    tmac_db_inventory v;
    db_table table;
    const char *what = c->operands[0];
    FILE *file = fopen(what, "re");
    if (file) {
        tmac_source source;
        const tmac_open_options options = {0};
        fclose(file);
        TMAC_TRY(tmac_source_open(what, &options, &source));
        tmac_status status = tmac_work_of_source(&source, &work);
        tmac_source_close(&source);
        if (status.code != TMAC_OK) return status;
    }
    db_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    TMAC_TRY(tmac_db_status(c->db, &c->host, &v));
    tmac_status status = tmac_ok();
    uint32_t matches = 0;
    for (size_t i = 0; i < v.problem_count && status.code == TMAC_OK; i++) {
        const tmac_db_problem_row *row = &v.problems[i];
        char name[80];
        bool wanted = false;
        db_describe_set(&row->set, name);
        if (c->threads && row->threads != c->threads) continue;
        for (uint32_t s = 0; file && s < work.count; s++)
            wanted |= tmac_input_set_equal(&row->set, &work.sets[s]);
        if (!wanted && (file || !strstr(name, what))) continue;
        matches++;
        status = explain_set(c, &v, &row->set, row->threads, &table);
    }
    tmac_db_inventory_free(&v);
    if (status.code == TMAC_OK && matches == 0) {
        status = tmac_fail(TMAC_NOT_FOUND,
                           "%s: nothing was measured for it; tmac-db status lists what was", what);
    }
    tmac_status printed = status.code == TMAC_OK ? db_table_end(&table, c) : tmac_ok();
    return status.code == TMAC_OK ? printed : status;
}

// ---------------------------------------------------------------------------------------------------------- queries

static tmac_status run_query(const db_context *c, sqlite3 *sqlite, const char *sql)
{
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(sqlite, sql, -1, &q, NULL) != SQLITE_OK)
        return tmac_fail(TMAC_USAGE, "%s", sqlite3_errmsg(sqlite));
    if (!q) return tmac_ok();
    enum { WIDTH = 16 };
    const int columns = sqlite3_column_count(q);
    if (columns > WIDTH) {
        sqlite3_finalize(q);
        return tmac_fail(TMAC_USAGE, "%d columns: a table here has at most %d; name those you want",
                         columns, WIDTH);
    }
    const char *names[WIDTH];
    db_table table;
    const size_t width = (size_t)columns;
    for (size_t i = 0; i < width; i++)
        names[i] = sqlite3_column_name(q, (int)i);
    db_table_begin(&table, names, width);
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        const char *cells[WIDTH] = {0};
        for (size_t i = 0; i < width; i++) {
            const unsigned char *text = sqlite3_column_text(q, (int)i);
            cells[i] = text ? (const char *)text : "";
        }
        db_table_row(&table, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6],
                     cells[7], cells[8], cells[9], cells[10], cells[11], cells[12], cells[13],
                     cells[14], cells[15]);
    }
    tmac_status status =
        code == SQLITE_DONE ? tmac_ok() : tmac_fail(TMAC_USAGE, "%s", sqlite3_errmsg(sqlite));
    tmac_status printed = width ? db_table_end(&table, c) : tmac_ok();
    sqlite3_finalize(q);
    return status.code == TMAC_OK ? printed : status;
}

tmac_status db_sql(const db_context *c)
{
    sqlite3 *sqlite;
    TMAC_TRY(tmac_db_reader(c->db, &sqlite));
    tmac_status status;
    if (c->count == 1) {
        status = run_query(c, sqlite, c->operands[0]);
    } else {
        char *line = NULL;
        size_t room = 0;
        while (getline(&line, &room, stdin) >= 0) {
            status = run_query(c, sqlite, line);
            if (status.code != TMAC_OK) fprintf(stderr, "tmac-db: %s\n", status.message);
        }
        free(line);
        status = tmac_ok();
    }
    sqlite3_close(sqlite);
    return status;
}

// The host that the operand's digits begin; TMAC_NOT_FOUND when there is none, or more than one.
static tmac_status find_host(const tmac_db_inventory *v, const char *digits, tmac_db_name *name)
{
    size_t found = 0;
    for (size_t i = 0; i < v->host_count; i++) {
        if (strncmp(v->hosts[i].name.hex, digits, strlen(digits)) != 0) continue;
        *name = v->hosts[i].name;
        found++;
    }
    return found == 1 ? tmac_ok()
                      : tmac_fail(TMAC_NOT_FOUND,
                                  "%s: names %s host of the database; tmac-db status lists them",
                                  digits, found ? "more than one" : "no");
}

// Problems that both have winners of. Both lists ascend: they are walked together.
static void compare_winners(const tmac_db_inventory *v, tmac_db_winner *const list[2],
                            const size_t count[2], db_table *table)
{
    for (size_t i = 0, j = 0; i < count[0] && j < count[1];) {
        const tmac_db_winner *a = &list[0][i], *b = &list[1][j];
        const int order = tmac_db_winner_order(a, b);
        i += order <= 0;
        j += order >= 0;
        if (order != 0) continue;
        char n[2][16], ns[2][24], ratio[24] = "", held[2][DB_LAYERS_TEXT];
        snprintf(n[0], sizeof n[0], "%" PRIu32, a->bucket);
        snprintf(n[1], sizeof n[1], "%" PRIu32, a->threads);
        snprintf(ns[0], sizeof ns[0], "%" PRIu64, a->ns);
        snprintf(ns[1], sizeof ns[1], "%" PRIu64, b->ns);
        if (a->ns > 0) snprintf(ratio, sizeof ratio, "%.3f", (double)b->ns / (double)a->ns);
        db_describe_layers(v, a->layers, held[0]);
        db_describe_layers(v, b->layers, held[1]);
        db_table_row(table, a->set, n[0], n[1], a->kernel, ns[0], b->kernel, ns[1], ratio, held[0],
                     held[1]);
    }
}

tmac_status db_compare(const db_context *c)
{
    static const char *const columns[] = {"input_set", "#bucket",  "#threads", "kernel_a",
                                          "#ns_a",     "kernel_b", "#ns_b",    "#b_to_a",
                                          "layer_a",   "layer_b"};
    tmac_db_inventory v;
    tmac_db_winner *list[2] = {NULL, NULL};
    size_t count[2] = {0, 0};
    TMAC_TRY(tmac_db_status(c->db, &c->host, &v));
    tmac_status status = tmac_ok();
    for (int side = 0; side < 2 && status.code == TMAC_OK; side++) {
        tmac_db_name name = {""};
        status = find_host(&v, c->operands[side], &name);
        if (status.code == TMAC_OK)
            status = tmac_db_winners(c->db, &name, &list[side], &count[side]);
    }
    if (status.code == TMAC_OK) {
        db_table table;
        db_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
        compare_winners(&v, list, count, &table);
        status = db_table_end(&table, c);
    }
    free(list[0]);
    free(list[1]);
    tmac_db_inventory_free(&v);
    return status;
}

// ----------------------------------------------------------------------------------------------------------- doctor

typedef struct finding {
    db_table *table;
    uint32_t warnings;
} finding;

static void say(finding *f, bool good, const char *what, const char *detail)
{
    db_table_row(f->table, good ? "ok" : "look", what, detail);
    f->warnings += !good;
}

// The text of the newest run on this host, by its record.
static void check_run(const db_context *c, sqlite3 *sqlite, const char *self, finding *f)
{
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(sqlite,
                           "SELECT r.bytes FROM run u JOIN record r ON r.name = u.name WHERE"
                           " u.host = ? ORDER BY u.started DESC LIMIT 1",
                           -1, &q, NULL) != SQLITE_OK)
        return;
    sqlite3_bind_text(q, 1, self, -1, SQLITE_STATIC);
    tmac_record run;
    if (sqlite3_step(q) == SQLITE_ROW &&
        tmac_record_parse(sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0), &run)
                .code == TMAC_OK) {
        char text[256];
        const char *kernel = tmac_record_get(&run, "kernel");
        snprintf(text, sizeof text, "last tuned under %.80s, now %.80s", kernel, c->host.kernel);
        say(f, strcmp(kernel, c->host.kernel) == 0, "operating system", text);
        snprintf(text, sizeof text, "last tuned with %" PRIu64 " processors, now %" PRIu32,
                 tmac_record_get_number(&run, "logical_cpus"), c->host.logical_cpus);
        say(f, tmac_record_get_number(&run, "logical_cpus") == c->host.logical_cpus, "processors",
            text);
    }
    sqlite3_finalize(q);
}

static void check_hosts(const db_context *c, const tmac_db_inventory *v, finding *f)
{
    bool here = false;
    for (size_t i = 0; i < v->host_count; i++) {
        const tmac_db_host_row *h = &v->hosts[i];
        char *bytes;
        size_t count;
        tmac_record record;
        here |= h->exact && h->trials > 0;
        if (h->exact || strcmp(h->cpu_name, c->host.cpu_name) != 0 ||
            tmac_db_get(c->db, h->name.hex, &bytes, &count).code != TMAC_OK)
            continue;
        char text[200];
        if (tmac_record_parse(bytes, count, &record).code == TMAC_OK &&
            strcmp(tmac_record_get(&record, "microcode"), c->host.microcode) != 0) {
            snprintf(text, sizeof text, "%.12s was this processor with microcode %.20s, now %.20s",
                     h->name.hex, tmac_record_get(&record, "microcode"), c->host.microcode);
            say(f, false, "microcode", text);
        }
        free(bytes);
    }
    say(f, here, "host",
        here ? "this very host was measured"
             : "nothing was measured on this host as it is now: run tmac-tune");
}

static void check_code(sqlite3 *sqlite, const char *self, finding *f)
{
    sqlite3_stmt *q;
    uint32_t same = 0, other = 0;
    if (sqlite3_prepare_v2(sqlite,
                           "SELECT kernel, binary_id FROM variant WHERE kernel IS NOT NULL AND"
                           " name IN (SELECT variant FROM trial WHERE host = ?)",
                           -1, &q, NULL) != SQLITE_OK)
        return;
    sqlite3_bind_text(q, 1, self, -1, SQLITE_STATIC);
    while (sqlite3_step(q) == SQLITE_ROW) {
        char ours[TMAC_HASH_HEX];
        const tmac_kernel *kernel = tmac_kernel_find((const char *)sqlite3_column_text(q, 0));
        if (kernel) tmac_kernel_binary_id(kernel, ours);
        if (kernel && strcmp(ours, (const char *)sqlite3_column_text(q, 1)) == 0)
            same++;
        else
            other++;
    }
    sqlite3_finalize(q);
    char text[200];
    snprintf(text, sizeof text,
             "of the machine code measured here %" PRIu32 " kernels are in this program, %" PRIu32
             " came from another generator, compiler or flags",
             same, other);
    say(f, other == 0 || same > 0, "kernels", text);
}

tmac_status db_doctor(const db_context *c)
{
    static const char *const columns[] = {"verdict", "what", "detail"};
    tmac_db_inventory v;
    db_table table;
    finding f = {.table = &table};
    TMAC_TRY(tmac_db_status(c->db, &c->host, &v));
    db_table_begin(&table, columns, 3);
    if (!v.exists) {
        say(&f, false, "database", "not there yet; tmac-tune creates it");
    } else {
        sqlite3 *sqlite;
        const char *self = "";
        for (size_t i = 0; i < v.host_count; i++)
            if (v.hosts[i].exact) self = v.hosts[i].name.hex;
        say(&f, strcmp(v.integrity, "ok") == 0, "integrity", v.integrity);
        check_hosts(c, &v, &f);
        tmac_status status = tmac_db_reader(c->db, &sqlite);
        if (status.code == TMAC_OK) {
            check_run(c, sqlite, self, &f);
            check_code(sqlite, self, &f);
            sqlite3_close(sqlite);
        }
    }
    tmac_db_inventory_free(&v);
    return db_table_end(&table, c);
}
