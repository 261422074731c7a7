// Tables as text, JSON or CSV.
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db_commands.h"

void db_table_begin(db_table *table, const char *const *columns, size_t width)
{
    *table = (db_table){.columns = columns, .width = width};
}

void db_table_row(db_table *table, ...)
{
    char **grown = realloc(table->cells, (table->count + 1) * table->width * sizeof *grown);
    if (!grown) {
        table->failed = true;
        return;
    }
    table->cells = grown;
    va_list list;
    va_start(list, table);
    for (size_t i = 0; i < table->width; i++) {
        char *cell = strdup(va_arg(list, const char *));
        grown[table->count * table->width + i] = cell;
        table->failed |= !cell;
    }
    va_end(list);
    table->count++;
}

static void print_text(const db_table *t)
{
    for (size_t row = 0; row <= t->count; row++) {
        for (size_t i = 0; i < t->width; i++) {
            const bool number = t->columns[i][0] == '#';
            size_t wide = strlen(t->columns[i] + number);
            for (size_t r = 0; r < t->count; r++)
                if (strlen(t->cells[r * t->width + i]) > wide)
                    wide = strlen(t->cells[r * t->width + i]);
            const char *cell =
                row == 0 ? t->columns[i] + number : t->cells[(row - 1) * t->width + i];
            const int room = i + 1 == t->width && !number ? 0 : (int)wide;
            printf("%s%*s", i ? "  " : "", number ? room : -room, cell);
        }
        printf("\n");
    }
}

static void print_csv(const db_table *t)
{
    for (size_t row = 0; row <= t->count; row++) {
        for (size_t i = 0; i < t->width; i++) {
            const char *cell = row == 0 ? t->columns[i] + (t->columns[i][0] == '#')
                                        : t->cells[(row - 1) * t->width + i];
            const bool quoted = strpbrk(cell, ",\"\n") != NULL;
            printf("%s%s", i ? "," : "", quoted ? "\"" : "");
            for (; *cell; cell++)
                printf("%s%c", *cell == '"' ? "\"" : "", *cell);
            printf("%s", quoted ? "\"" : "");
        }
        printf("\n");
    }
}

static tmac_status print_json(const db_table *t)
{
    json_t *rows = json_array();
    for (size_t r = 0; r < t->count; r++) {
        json_t *row = json_object();
        for (size_t i = 0; i < t->width; i++) {
            const bool number = t->columns[i][0] == '#';
            const char *cell = t->cells[r * t->width + i];
            json_object_set_new(row, t->columns[i] + number,
                                !number  ? json_string(cell)
                                : !*cell ? json_null()
                                         : json_real(strtod(cell, NULL)));
        }
        json_array_append_new(rows, row);
    }
    if (!rows) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the table");
    json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    printf("\n");
    json_decref(rows);
    return tmac_ok();
}

tmac_status db_table_end(db_table *t, const db_context *context)
{
    tmac_status status = tmac_ok();
    if (t->failed)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the table");
    else if (context->json)
        status = print_json(t);
    else if (context->csv)
        print_csv(t);
    else
        print_text(t);
    for (size_t i = 0; i < t->count * t->width; i++)
        free(t->cells[i]);
    free(t->cells);
    return status;
}
