// `tmac-db plan`: what a model would run with on this host, as the database and the rule have it, and that plan as C.
#include <stdio.h>

#include "cli/db_commands.h"
#include "cli/emit.h"
#include "tune/tune.h"

static tmac_status print_plan(const db_context *c, const tmac_plan *plan)
{
    static const char *const columns[] = {"set", "tokens", "kernel", "layout", "rung"};
    db_table table;
    db_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const tmac_plan_entry *entry = &plan->entries[i];
        char set[80];
        db_describe_set(&entry->set, set);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
            db_table_row(&table, set, tmac_bucket_name(bucket), entry->kernel[bucket],
                         entry->layout, tmac_rung_name(entry->rung));
    }
    return db_table_end(&table, c);
}

tmac_status db_plan(const db_context *c)
{
    static tmac_work work;
    static tmac_plan plan;
    tmac_source source;
    const tmac_open_options options = {0};
    TMAC_TRY(tmac_source_open(c->operands[0], &options, &source));
    tmac_status status = tmac_work_of_source(&source, &work);
    tmac_source_close(&source);
    if (status.code != TMAC_OK) return status;
    const uint32_t threads =
        c->threads ? (uint32_t)c->threads : tmac_default_threads(c->host.logical_cpus);
    TMAC_TRY(tmac_db_plan(c->db, &c->host, work.sets, work.count, threads, c->host.isa, &plan));
    TMAC_TRY(print_plan(c, &plan));
    return c->emit ? tmac_emit_plan(&plan, c->operands[0], c->emit) : tmac_ok();
}
