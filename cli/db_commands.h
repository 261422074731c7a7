// The subcommands of tmac-db: what they share, and one function each.
#ifndef TMAC_CLI_DB_COMMANDS_H
#define TMAC_CLI_DB_COMMANDS_H

#include <stdio.h>

#include "db/db.h"
#include "db/fleet.h"

typedef struct db_context {
    const char *path, *fleet, *output, *name, *emit;
    bool json, csv, no_kernels, no_sign, no_check, dry_run;
    uint64_t threads;
    char **operands; // after the name of the command
    size_t count;
    tmac_host host;
    tmac_db *db; // opened as the command's row says; NULL where it opens files itself
} db_context;

void db_describe_set(const tmac_input_set *set, char text[80]);

// The labels of the layers whose bits are set, joined by '+'.
enum { DB_LAYERS_TEXT = 160 };
void db_describe_layers(const tmac_db_inventory *inventory, uint32_t layers,
                        char text[DB_LAYERS_TEXT]);

// A table that prints as text, JSON (an array of objects) or CSV, as the options say. Cells are copied.
typedef struct db_table {
    const char *const *columns; // a '#' in front: a number
    size_t width, count;
    char **cells;
    bool failed; // no memory
} db_table;
void db_table_begin(db_table *table, const char *const *columns, size_t width);
void db_table_row(db_table *table, ...);                              // width strings
tmac_status db_table_end(db_table *table, const db_context *context); // prints and frees

// Proves and times what imported trials say (cli/db_check.c); where something is refuted, counts in *traffic what is
// usable now. Opens the database of the context itself: the caller has it closed.
tmac_status db_check_imports(const db_context *context, tmac_db_traffic *traffic);

tmac_status db_status(const db_context *context);
tmac_status db_plan(const db_context *context);
tmac_status db_export(const db_context *context);
tmac_status db_import(const db_context *context);
tmac_status db_merge(const db_context *context);
tmac_status db_verify(const db_context *context);
tmac_status db_key(const db_context *context);
tmac_status db_gc(const db_context *context);
tmac_status db_doctor(const db_context *context);
tmac_status db_explain(const db_context *context);
tmac_status db_compare(const db_context *context);
tmac_status db_sql(const db_context *context);
tmac_status db_report(const db_context *context);
tmac_status db_push(const db_context *context);
tmac_status db_pull(const db_context *context);

#endif
