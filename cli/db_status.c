// tmac-db status: hosts, records, what was tuned and what runs here.
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db_commands.h"

void db_describe_set(const tmac_input_set *set, char text[80])
{
    size_t used = 0;
    for (uint32_t i = 0; i < set->matrices; i++)
        used += (size_t)snprintf(text + used, 80 - used, "%s%" PRIu32, i ? "+" : "", set->rows[i]);
    snprintf(text + used, 80 - used, " x %" PRIu32 " %s", set->columns,
             set->residency == TMAC_STREAMED ? "streamed" : "resident");
}

void db_describe_layers(const tmac_db_inventory *inventory, uint32_t layers,
                        char text[DB_LAYERS_TEXT])
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < inventory->layer_count && used < DB_LAYERS_TEXT; i++)
        if (layers >> i & 1)
            used += (size_t)snprintf(text + used, DB_LAYERS_TEXT - used, "%s%s", used ? "+" : "",
                                     inventory->layers[i].label);
}

// What would run here, and how fast it was measured to be on this host (0: it was not).
typedef struct answer {
    tmac_plan_entry entry;
    double ns[TMAC_BUCKETS];
} answer;

static tmac_status answer_for(const db_context *c, const tmac_db_problem_row *row, answer *out)
{
    tmac_plan plan;
    memset(out, 0, sizeof *out);
    TMAC_TRY(tmac_db_plan(c->db, &c->host, &row->set, 1, row->threads, c->host.isa, &plan));
    out->entry = plan.entries[0];
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        tmac_db_figure *figures;
        size_t count;
        TMAC_TRY(
            tmac_db_figures(c->db, &c->host, &row->set, bucket, row->threads, &figures, &count));
        for (size_t i = 0; i < count; i++)
            if (figures[i].outcome == TMAC_OUTCOME_OK &&
                strcmp(figures[i].kernel->name, out->entry.kernel[bucket]) == 0)
                out->ns[bucket] = figures[i].ns;
        free(figures);
    }
    return tmac_ok();
}

static tmac_status status_text(const db_context *c, const tmac_db_inventory *v)
{
    const bool several = v->layer_count > 1;
    char held[DB_LAYERS_TEXT];
    for (size_t i = 0; i < v->layer_count; i++) {
        const tmac_db_layer_row *layer = &v->layers[i];
        if (several) printf("%-8s", layer->label);
        if (layer->exists)
            printf("%s: %.1f kB, schema %d, journal %s, integrity %s\n", layer->path,
                   (double)layer->file_bytes / 1e3, layer->schema, layer->journal,
                   layer->integrity);
        else
            printf("%s: %s\n", layer->path,
                   i == 0 ? "not there yet; tmac-tune creates it" : "nothing in it");
    }
    if (!v->exists) return tmac_ok();
    printf("\nrecords\n");
    for (size_t i = 0; i < v->kind_count; i++)
        printf("  %-10s %8" PRIu64 "\n", v->kinds[i].kind, v->kinds[i].records);
    printf("\nhosts\n");
    for (size_t i = 0; i < v->host_count; i++) {
        const tmac_db_host_row *h = &v->hosts[i];
        db_describe_layers(v, several ? h->layers : 0, held);
        printf("  %.12s  %s%s%s  [%s]  %" PRIu64 " trials, %" PRIu64 " failures%s%s%s\n",
               h->name.hex, h->cpu_name, h->hypervisor[0] ? " under " : "", h->hypervisor, h->isa,
               h->trials, h->failures, several ? ", in " : "", held,
               h->exact ? "  <- this host" : "");
    }
    printf("\ninput sets: what runs on this host\n");
    for (size_t i = 0; i < v->problem_count; i++) {
        const tmac_db_problem_row *row = &v->problems[i];
        char set[80];
        answer a;
        TMAC_TRY(answer_for(c, row, &a));
        db_describe_set(&row->set, set);
        db_describe_layers(v, several ? row->layers : 0, held);
        printf("  %s, %u threads: %s, rung %s, %" PRIu64 " trials%s%s\n", set, row->threads,
               a.entry.layout, tmac_rung_name(a.entry.rung), row->trials, several ? ", in " : "",
               held);
        for (uint32_t b = 0; b < TMAC_BUCKETS; b++) {
            printf("    N %-6s %-40s", tmac_bucket_name(b), a.entry.kernel[b]);
            if (a.ns[b] > 0)
                printf(" %10.1f us\n", a.ns[b] / 1e3);
            else
                printf("  not measured here\n");
        }
    }
    return tmac_ok();
}

static json_t *labels_json(const tmac_db_inventory *v, uint32_t layers)
{
    json_t *labels = json_array();
    for (size_t i = 0; i < v->layer_count; i++)
        if (layers >> i & 1) json_array_append_new(labels, json_string(v->layers[i].label));
    return labels;
}

static json_t *layers_json(const tmac_db_inventory *v)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < v->layer_count; i++) {
        const tmac_db_layer_row *l = &v->layers[i];
        json_array_append_new(layers, json_pack("{s:s, s:s, s:b, s:I, s:I, s:i, s:s, s:s}", "layer",
                                                l->label, "path", l->path, "exists", (int)l->exists,
                                                "bytes", (json_int_t)l->file_bytes, "records",
                                                (json_int_t)l->records, "schema", l->schema,
                                                "journal", l->journal, "integrity", l->integrity));
    }
    return layers;
}

static tmac_status status_json(const db_context *c, const tmac_db_inventory *v)
{
    const tmac_db_layer_row *own = &v->layers[0];
    json_t *kinds = json_object(), *hosts = json_array(), *problems = json_array();
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < v->kind_count; i++)
        json_object_set_new(kinds, v->kinds[i].kind, json_integer((json_int_t)v->kinds[i].records));
    for (size_t i = 0; i < v->host_count; i++) {
        const tmac_db_host_row *h = &v->hosts[i];
        json_array_append_new(
            hosts, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:o}", "name", h->name.hex, "cpu",
                             h->cpu_name, "hypervisor", h->hypervisor, "isa", h->isa, "trials",
                             (json_int_t)h->trials, "failures", (json_int_t)h->failures,
                             "this_host", (int)h->exact, "layers", labels_json(v, h->layers)));
    }
    for (size_t i = 0; i < v->problem_count && status.code == TMAC_OK; i++) {
        const tmac_db_problem_row *row = &v->problems[i];
        char set[80];
        answer a;
        status = answer_for(c, row, &a);
        db_describe_set(&row->set, set);
        json_t *winners = json_array();
        for (uint32_t b = 0; b < TMAC_BUCKETS; b++)
            json_array_append_new(winners,
                                  json_pack("{s:s, s:s, s:f}", "tokens", tmac_bucket_name(b),
                                            "kernel", a.entry.kernel[b], "ns", a.ns[b]));
        json_array_append_new(problems, json_pack("{s:s, s:I, s:I, s:s, s:s, s:o, s:o}", "set", set,
                                                  "threads", (json_int_t)row->threads, "trials",
                                                  (json_int_t)row->trials, "layout", a.entry.layout,
                                                  "rung", tmac_rung_name(a.entry.rung), "winners",
                                                  winners, "layers", labels_json(v, row->layers)));
    }
    json_t *root =
        json_pack("{s:s, s:b, s:I, s:i, s:s, s:s, s:o, s:o, s:o, s:o}", "path", tmac_db_path(c->db),
                  "exists", (int)own->exists, "bytes", (json_int_t)own->file_bytes, "schema",
                  own->schema, "journal", own->journal, "integrity", own->integrity, "layers",
                  layers_json(v), "records", kinds, "hosts", hosts, "input_sets", problems);
    if (!root) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the report");
    if (status.code == TMAC_OK) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        printf("\n");
    }
    json_decref(root);
    return status;
}

// A damaged database is reported and is also a failure, for scripts.
tmac_status db_status(const db_context *c)
{
    tmac_db_inventory v;
    TMAC_TRY(tmac_db_status(c->db, &c->host, &v));
    tmac_status status = c->json ? status_json(c, &v) : status_text(c, &v);
    for (size_t i = 0; i < v.layer_count && status.code == TMAC_OK; i++)
        if (v.layers[i].exists && strcmp(v.layers[i].integrity, "ok") != 0)
            status = tmac_fail(TMAC_BAD_FILE, "%s: damaged: %s", v.layers[i].path,
                               v.layers[i].integrity);
    tmac_db_inventory_free(&v);
    return status;
}
