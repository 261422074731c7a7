// tmac-db report FILE: one self-contained page of HTML: no scripts, nothing from elsewhere, light and dark, fit to print.
//
//   roofline     every kernel as a point: weights a second against weights per byte, under what memory and arithmetic give
//   memory       each measured winner as a bar: the share of the bandwidth this host was measured to have that it reads;
//                above 100 % the weights come from cache
//   before/after each input set and bucket: the rule's kernel against the winner
//   candidates   every kernel measured for a problem, fastest first, with its interval of two standard errors
//   noise        the standard error of each median, by problem
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/db_commands.h"
#include "cli/db_roofline.h"

enum { LINE_BYTES = 4096, BAR_PIXELS = 170 };

static const char style[] =
    "<style>:root{color-scheme:light dark;--ink:#1c2128;--soft:#68717d;--line:#d9dee4;--page:#fff;"
    "--bar:#3b6fd4;--win:#16845b;--bad:#c2452d;--shade:#f3f5f8}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#98a2ae;--line:#363d47;"
    "--page:#14181d;--bar:#6c9bf0;--win:#4cc493;--bad:#f08268;--shade:#1d2229}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:1180px;margin:2.5rem auto;padding:0 1.2rem}h1{font-size:1.7rem;margin:0}"
    "h2{font-size:1.2rem;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--line)}"
    "h3{font-size:1rem;margin:1.6rem 0 .4rem}.soft{color:var(--soft)}"
    "table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.22rem .5rem;text-align:left;border-bottom:1px solid var(--line);"
    "white-space:nowrap}td.n,th.n{text-align:right}tr.win td{font-weight:600}"
    ".chart{width:100%;max-width:1000px}.key{display:inline}.grid{stroke:var(--line)}"
    ".tick{font-size:13px;fill:var(--soft)}.roof{stroke:var(--bad);stroke-width:2}"
    ".dot{fill:var(--bar);opacity:.45}.best{fill:var(--win);stroke:var(--page)}"
    ".scroll{overflow-x:auto}svg{display:block}"
    ".bar{fill:var(--bar)}.win .bar{fill:var(--win)}.bad{color:var(--bad)}"
    ".err{stroke:var(--ink);stroke-width:1.4}.back{fill:var(--shade)}"
    "@media print{:root{--page:#fff;--ink:#000;--soft:#555;--line:#bbb;--shade:#eee}"
    "body{max-width:none;margin:0;font-size:11px}h3,tr{break-inside:avoid}h2,h3,h2+p{break-after:"
    "avoid}"
    ".chart{max-width:100%;break-inside:avoid}.scroll{overflow:visible}table{font-size:8.5px}"
    "th,td{padding:.15rem "
    ".3rem;white-space:normal;overflow-wrap:anywhere}td.n,th.n{white-space:nowrap}*{print-color-"
    "adjust:exact}}@page{margin:14mm}</style>";

typedef struct page {
    tmac_output file;
    const db_context *context;
    const tmac_db_inventory *inventory;
    // Of the chart being collected: one for each number of threads.
    db_point *points;
    size_t point_count;
    uint32_t threads;
} page;

static void put(page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(page *p, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (length > 0)
        tmac_output_write(&p->file, text,
                          (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

// Text from a database, which may have come from anywhere.
static void put_text(page *p, const char *text)
{
    for (; *text; text++) {
        if (strchr("<>&\"'", *text))
            put(p, "&#%d;", *text);
        else
            tmac_output_write(&p->file, text, 1);
    }
}

// The least that one pass over a set must read: its weights at the bits of the winner's family.
static double bytes_of(const tmac_input_set *set, const char *layout)
{
    const tmac_layout *known = tmac_layout_find(layout);
    double bytes = 0;
    for (uint32_t i = 0; known && i < set->matrices; i++) {
        const tmac_shape shape = {set->rows[i], set->columns, set->group};
        bytes += (double)known->tile_bytes(&shape) * tmac_layout_tiles(known, set->rows[i]);
    }
    return bytes;
}

static int by_time(const void *a, const void *b)
{
    const tmac_db_figure *x = a, *y = b;
    const bool fine_x = x->outcome == TMAC_OUTCOME_OK, fine_y = y->outcome == TMAC_OUTCOME_OK;
    if (fine_x != fine_y) return fine_x ? -1 : 1;
    return (x->ns > y->ns) - (x->ns < y->ns);
}

typedef enum part { PART_ROOFLINE, PART_MEMORY, PART_GAIN, PART_NOISE, PART_CANDIDATES } part;

static void bar(page *p, double share, double error, bool wins)
{
    const double width = share * BAR_PIXELS, most = 1.02 * BAR_PIXELS;
    const double left = (share - error) * BAR_PIXELS, right = (share + error) * BAR_PIXELS;
    put(p,
        "<td><svg class='%s' width='%d' height='14' role='img'><rect class='back' width='%d' "
        "height='14' rx='2'/><rect class='bar' width='%.1f' height='14' rx='2'/>",
        wins ? "win" : "", BAR_PIXELS + 10, BAR_PIXELS, width > most ? most : width);
    if (error > 0)
        put(p, "<line class='err' x1='%.1f' x2='%.1f' y1='7' y2='7'/>", left < 0 ? 0 : left,
            right > most ? most : right);
    put(p, "</svg></td>");
}

static void candidates(page *p, const tmac_plan_entry *entry, uint32_t bucket,
                       const tmac_db_figure *figures, size_t count)
{
    const bool several = p->inventory->layer_count > 1;
    put(p,
        "<h3>N = %s <span class='soft'>rung %s, %zu candidates</span></h3><div class='scroll'>"
        "<table><thead><tr><th>kernel</th><th>layout</th><th class='n'>&micro;s</th>"
        "<th class='n'>noise</th>%s<th>shorter is faster; the line is two standard "
        "errors</th></tr></thead>",
        tmac_bucket_name(bucket), tmac_rung_name(entry->rung), count,
        several ? "<th>from</th>" : "");
    double slowest = 0;
    for (size_t i = 0; i < count; i++)
        if (figures[i].outcome == TMAC_OUTCOME_OK && figures[i].ns > slowest)
            slowest = figures[i].ns;
    for (size_t i = 0; i < count; i++) {
        const tmac_db_figure *f = &figures[i];
        const bool wins = strcmp(f->kernel->name, entry->kernel[bucket]) == 0;
        put(p, "<tr class='%s'><td>%s</td><td>%s</td>", wins ? "win" : "", f->kernel->name,
            f->kernel->layout->name);
        if (f->outcome == TMAC_OUTCOME_OK) {
            put(p, "<td class='n'>%.2f</td><td class='n'>%.2f %%</td>", f->ns / 1e3,
                100 * f->error / f->ns);
        } else {
            put(p, "<td class='n bad'>%s</td><td></td>", tmac_outcome_name(f->outcome));
        }
        char held[DB_LAYERS_TEXT];
        db_describe_layers(p->inventory, f->layers, held);
        if (several) put(p, "<td>%s</td>", held);
        if (f->outcome == TMAC_OUTCOME_OK)
            bar(p, f->ns / slowest, 2 * f->error / slowest, wins);
        else
            put(p, "<td></td>");
        put(p, "</tr>");
    }
    put(p, "</table></div>");
}

static tmac_status add_points(page *p, const tmac_plan_entry *entry, uint32_t bucket,
                              const tmac_db_figure *figures, size_t count)
{
    double weights = 0;
    for (uint32_t i = 0; i < entry->set.matrices; i++)
        weights += (double)entry->set.rows[i] * entry->set.columns;
    db_point *grown = realloc(p->points, (p->point_count + count + 1) * sizeof *grown);
    if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a chart");
    p->points = grown;
    for (size_t i = 0; i < count; i++) {
        const tmac_db_figure *f = &figures[i];
        const double bytes = bytes_of(&entry->set, f->kernel->layout->name);
        const uint32_t tokens = tmac_bucket_typical(bucket);
        if (f->outcome != TMAC_OUTCOME_OK || bytes <= 0 || f->ns <= 0) continue;
        grown[p->point_count++] =
            (db_point){.intensity = weights * tokens / bytes,
                       .rate = weights * tokens / f->ns,
                       .wins = strcmp(f->kernel->name, entry->kernel[bucket]) == 0,
                       .kernel = f->kernel->name,
                       .tokens = tokens};
    }
    return tmac_ok();
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// How sure the figures of a problem are: the standard errors of its medians, and by how many of them the winner leads.
static tmac_status noise_row(page *p, const char *set, uint32_t threads, uint32_t bucket,
                             const tmac_db_figure *figures, size_t count)
{
    double *errors = calloc(count + 1, sizeof *errors);
    size_t kept = 0;
    if (!errors) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu figures", count);
    while (kept < count && figures[kept].outcome == TMAC_OUTCOME_OK) {
        errors[kept] = 100 * figures[kept].error / figures[kept].ns;
        kept++;
    }
    if (kept > 0) {
        qsort(errors, kept, sizeof *errors, ascending);
        put(p,
            "<tr><td>%s</td><td class='n'>%u</td><td class='n'>%s</td><td class='n'>%zu</td>"
            "<td class='n'>%.2f %%</td><td class='n'>%.2f %%</td>",
            set, threads, tmac_bucket_name(bucket), kept, errors[kept / 2], errors[kept - 1]);
        if (kept > 1)
            put(p, "<td class='n'>%.1f %%</td><td>%s</td></tr>",
                100 * (figures[1].ns / figures[0].ns - 1),
                tmac_db_faster(&figures[0], &figures[1]) ? "more than the noise"
                                                         : "within the noise");
        else
            put(p, "<td></td><td></td></tr>");
    }
    free(errors);
    return tmac_ok();
}

// One row (or table) of one problem.
static tmac_status problem(page *p, part which, const tmac_plan_entry *entry, uint32_t bucket,
                           uint32_t threads, double bandwidth, const tmac_db_figure *figures,
                           size_t count)
{
    const tmac_db_figure *winner = NULL, *before = NULL;
    const tmac_plan_entry rule = tmac_plan_rule(&entry->set, threads, p->context->host.isa);
    char set[80];
    db_describe_set(&entry->set, set);
    for (size_t i = 0; i < count; i++) {
        if (figures[i].outcome != TMAC_OUTCOME_OK) continue;
        if (strcmp(figures[i].kernel->name, entry->kernel[bucket]) == 0) winner = &figures[i];
        if (strcmp(figures[i].kernel->name, rule.kernel[bucket]) == 0) before = &figures[i];
    }
    if (which == PART_CANDIDATES && count > 0) candidates(p, entry, bucket, figures, count);
    if (which == PART_NOISE) return noise_row(p, set, threads, bucket, figures, count);
    if (!winner) return tmac_ok();
    if (which == PART_MEMORY && bandwidth > 0) {
        const double rate = bytes_of(&entry->set, entry->layout) / winner->ns; // GB/s
        put(p,
            "<tr><td>%s</td><td class='n'>%u</td><td class='n'>%s</td><td>%s</td>"
            "<td class='n'>%.2f</td><td class='n'>%.0f %%</td>",
            set, threads, tmac_bucket_name(bucket), winner->kernel->name, rate,
            100 * rate / bandwidth);
        bar(p, rate / bandwidth, 0, true);
        put(p, "</tr>");
    }
    if (which == PART_GAIN && before) {
        put(p,
            "<tr><td>%s</td><td class='n'>%u</td><td class='n'>%s</td><td class='n'>%.2f</td>"
            "<td class='n'>%.2f</td><td class='n'>%+.1f %%</td><td>%s</td><td>%s</td></tr>",
            set, threads, tmac_bucket_name(bucket), before->ns / 1e3, winner->ns / 1e3,
            100 * (before->ns / winner->ns - 1), before->kernel->name, winner->kernel->name);
    }
    return tmac_ok();
}

static tmac_status each_problem(page *p, part which, const tmac_db_inventory *v,
                                const tmac_db_name *self)
{
    const db_context *c = p->context;
    for (size_t i = 0; i < v->problem_count; i++) {
        const tmac_db_problem_row *row = &v->problems[i];
        tmac_plan plan;
        char set[80];
        if (which == PART_ROOFLINE && row->threads != p->threads) continue;
        TMAC_TRY(tmac_db_plan(c->db, &c->host, &row->set, 1, row->threads, c->host.isa, &plan));
        const double bandwidth = (double)tmac_db_bandwidth(c->db, self, row->threads) / 1e9;
        db_describe_set(&row->set, set);
        if (which == PART_CANDIDATES) put(p, "<h2>%s, %u threads</h2>", set, row->threads);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            tmac_db_figure *figures;
            size_t count;
            TMAC_TRY(tmac_db_figures(c->db, &c->host, &row->set, bucket, row->threads, &figures,
                                     &count));
            if (count > 1) qsort(figures, count, sizeof *figures, by_time);
            const tmac_status status = which == PART_ROOFLINE
                                           ? add_points(p, &plan.entries[0], bucket, figures, count)
                                           : problem(p, which, &plan.entries[0], bucket,
                                                     row->threads, bandwidth, figures, count);
            free(figures);
            TMAC_TRY(status);
        }
    }
    return tmac_ok();
}

// A chart for each number of threads.
static tmac_status charts(page *p, const tmac_db_inventory *v, const tmac_db_name *self)
{
    uint32_t last = 0;
    for (;;) {
        uint32_t next = UINT32_MAX;
        for (size_t i = 0; i < v->problem_count; i++)
            if (v->problems[i].threads > last && v->problems[i].threads < next)
                next = v->problems[i].threads;
        if (next == UINT32_MAX) return tmac_ok();
        last = p->threads = next;
        p->point_count = 0;
        TMAC_TRY(each_problem(p, PART_ROOFLINE, v, self));
        if (p->point_count == 0) continue;
        put(p, "<h3>%" PRIu32 " thread%s</h3>", next, next == 1 ? "" : "s");
        db_roofline(&p->file, p->points, p->point_count,
                    (double)tmac_db_bandwidth(p->context->db, self, next) / 1e9);
    }
}

// What is looked up together, and how much of it each file holds.
static void layers(page *p, const tmac_db_inventory *v)
{
    put(p, "</p><h2>Databases looked up together</h2><div "
           "class='scroll'><table><thead><tr><th>layer</th>"
           "<th>file</th><th class='n'>records</th><th "
           "class='n'>hosts</th><th>integrity</th></tr></thead>");
    for (size_t i = 0; i < v->layer_count; i++) {
        const tmac_db_layer_row *layer = &v->layers[i];
        size_t hosts = 0;
        for (size_t h = 0; h < v->host_count; h++)
            hosts += v->hosts[h].layers >> i & 1;
        put(p, "<tr><td>%s</td><td>", layer->label);
        put_text(p, layer->path);
        put(p, "</td><td class='n'>%" PRIu64 "</td><td class='n'>%zu</td><td>", layer->records,
            hosts);
        put_text(p, layer->exists ? layer->integrity : "nothing in it");
        put(p, "</td></tr>");
    }
    put(p, "</table></div><p class='soft'>A record that several hold counts once.");
}

static tmac_status write_page(page *p, const tmac_db_inventory *v)
{
    const db_context *c = p->context;
    tmac_db_name self = {""};
    uint64_t trials = 0, failures = 0;
    for (size_t i = 0; i < v->host_count; i++) {
        if (v->hosts[i].exact) self = v->hosts[i].name;
        trials += v->hosts[i].trials;
        failures += v->hosts[i].failures;
    }
    put(p,
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' "
        "content='width=device-width'><title>tmac tuning report</title>%s</head><body>",
        style);
    put(p, "<h1>Tuning report</h1><p class='soft'>");
    put_text(p, c->host.cpu_name);
    put(p, ", %" PRIu32 " processors, kernel ", c->host.logical_cpus);
    put_text(p, c->host.kernel);
    put(p, "<br>%zu host%s, %" PRIu64 " trials, %" PRIu64 " failures, integrity ", v->host_count,
        v->host_count == 1 ? "" : "s", trials, failures);
    put_text(p, v->integrity);
    if (v->layer_count > 1) layers(p, v);
    put(p,
        "</p><h2>Roofline</h2><p class='soft'>Each point is a kernel at a problem: more tokens at "
        "once are further right.</p>");
    TMAC_TRY(charts(p, v, &self));
    put(p,
        "<h2>Share of memory</h2><p class='soft'>Bytes of packed weights a second, against what "
        "this host's memory was measured to give: beyond 100 %% weights come from cache; for many "
        "tokens arithmetic is the limit.</p><div class='scroll'><table><thead><tr><th>input "
        "set</th><th "
        "class='n'>threads</th><th class='n'>N</th><th>winner</th><th class='n'>GB/s</th><th "
        "class='n'>"
        "of memory</th><th></th></tr></thead>");
    TMAC_TRY(each_problem(p, PART_MEMORY, v, &self));
    put(p, "</table></div><h2>Before and after</h2><p class='soft'>The built-in rule's kernel "
           "against the one that runs now; &micro;s for one pass.</p><div class='scroll'><table>"
           "<thead><tr><th>input set</th><th class='n'>threads</th><th class='n'>N</th><th "
           "class='n'>before</th><th class='n'>after</th><th class='n'>speed</th><th>rule</th><th>"
           "winner</th></tr></thead>");
    TMAC_TRY(each_problem(p, PART_GAIN, v, &self));
    put(p, "</table></div><h2>Noise</h2><p class='soft'>The standard error of a candidate's "
           "median, and by how much the fastest leads.</p><div "
           "class='scroll'><table><thead><tr><th>input "
           "set</th><th class='n'>threads</th><th class='n'>N</th><th class='n'>candidates</th>"
           "<th class='n'>median</th><th class='n'>worst</th><th class='n'>lead</th><th></th>"
           "</tr></thead>");
    TMAC_TRY(each_problem(p, PART_NOISE, v, &self));
    put(p, "</table></div>");
    TMAC_TRY(each_problem(p, PART_CANDIDATES, v, &self));
    put(p, "<p class='soft'>tmac-db report</p></body></html>\n");
    return tmac_ok();
}

tmac_status db_report(const db_context *c)
{
    page p = {.context = c};
    tmac_db_inventory v;
    TMAC_TRY(tmac_db_status(c->db, &c->host, &v));
    p.inventory = &v;
    tmac_status status =
        v.exists ? tmac_output_open(c->operands[0], &p.file)
                 : tmac_fail(TMAC_NOT_FOUND, "%s: no database yet; tmac-tune creates it",
                             tmac_db_path(c->db));
    if (status.code == TMAC_OK) {
        status = write_page(&p, &v);
        if (status.code == TMAC_OK)
            status = tmac_output_commit(&p.file);
        else
            tmac_output_abort(&p.file);
    }
    free(p.points);
    tmac_db_inventory_free(&v);
    return status;
}
