#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/judge.h"

// Of a prompt's tokens, how many go through each bucket, as the database weighs them.
static const double prompt_share[TMAC_BUCKETS] = {0, 0.05, 0.05, 0.1, 0.3, 0.5};

typedef struct set_figures {
    tmac_db_figure *items[TMAC_BUCKETS];
    size_t count[TMAC_BUCKETS];
} set_figures;

static void set_name(char to[TMAC_NAME_BYTES], const char *name)
{
    size_t length = strnlen(name, TMAC_NAME_BYTES - 1);
    memmove(to, name, length);
    memset(to + length, 0, TMAC_NAME_BYTES - length);
}

static bool usable(const tmac_tuning *t, const tmac_db_figure *figure)
{
    return figure->outcome == TMAC_OUTCOME_OK && figure->rigor > TMAC_RIGOR_NOISY &&
           tmac_takes_part(t, figure->kernel);
}

static const tmac_db_figure *best_of(const tmac_tuning *t, const set_figures *f, uint32_t bucket,
                                     const tmac_layout *layout)
{
    const tmac_db_figure *best = NULL;
    for (size_t i = 0; i < f->count[bucket]; i++) {
        const tmac_db_figure *item = &f->items[bucket][i];
        if (item->kernel->layout == layout && usable(t, item) && (!best || item->ns < best->ns))
            best = item;
    }
    return best;
}

// Nanoseconds of the workload in a layout; what was not measured costs what the next smaller bucket does per token.
static double cost_of(const tmac_tuning *t, const set_figures *f, const tmac_layout *layout)
{
    double decode = t->options->decode, prefill = t->options->prefill, ns = 0, last = INFINITY;
    if (decode <= 0 && prefill <= 0) decode = prefill = 1;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const tmac_db_figure *best = best_of(t, f, bucket, layout);
        if (best) last = best->ns / tmac_bucket_typical(bucket);
        ns += (bucket == 0 ? decode : prefill * prompt_share[bucket]) * last;
    }
    return ns;
}

// The cheapest layout of a set, `passed` excepted; NULL when nothing was measured.
static const tmac_layout *cheapest(const tmac_tuning *t, const set_figures *f,
                                   const tmac_layout *passed, double *cost)
{
    const tmac_layout *found = NULL;
    *cost = INFINITY;
    for (size_t i = 0; i < f->count[0]; i++) {
        const tmac_layout *layout = f->items[0][i].kernel->layout;
        double ns = layout == passed ? INFINITY : cost_of(t, f, layout);
        if (ns >= *cost) continue;
        *cost = ns;
        found = layout;
    }
    return found;
}

static void fill_entry(const tmac_tuning *t, const set_figures *f, const tmac_layout *layout,
                       tmac_plan_entry *entry)
{
    set_name(entry->layout, layout->name);
    entry->rung = TMAC_RUNG_HOST;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const tmac_db_figure *best = best_of(t, f, bucket, layout);
        const char *rule = tmac_plan_rule_kernel(layout->name, bucket, t->isa);
        set_name(entry->kernel[bucket], best ? best->kernel->name : rule ? rule : "");
    }
}

static bool same_plan(const tmac_plan *a, const tmac_plan *b)
{
    for (uint32_t i = 0; i < a->entry_count; i++)
        if (strcmp(a->entries[i].layout, b->entries[i].layout) != 0 ||
            memcmp(a->entries[i].kernel, b->entries[i].kernel, sizeof a->entries[i].kernel) != 0)
            return false;
    return a->entry_count == b->entry_count;
}

static void add_plan(tmac_named_plan *plans, uint32_t *count, const char *name,
                     const tmac_plan *plan)
{
    for (uint32_t i = 0; i < *count; i++)
        if (same_plan(&plans[i].plan, plan)) return;
    if (*count == TMAC_TUNE_PLANS) return;
    snprintf(plans[*count].name, sizeof plans[*count].name, "%s", name);
    plans[(*count)++].plan = *plan;
}

static void free_figures(set_figures *f)
{
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        free(f->items[bucket]);
}

static tmac_status load(const tmac_tuning *t, uint32_t set, set_figures *f)
{
    memset(f, 0, sizeof *f);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        tmac_status status = tmac_db_figures(t->db, &t->host, &t->work->sets[set], bucket,
                                             t->threads, &f->items[bucket], &f->count[bucket]);
        if (status.code == TMAC_OK) continue;
        free_figures(f);
        return status;
    }
    return tmac_ok();
}

tmac_status tmac_plans_to_judge(const tmac_tuning *t, tmac_named_plan *plans, uint32_t *count)
{
    const tmac_work *work = t->work;
    tmac_plan trials, workload, runner_up, joint;
    *count = 0;
    TMAC_TRY(tmac_db_plan_of_trials(t->db, &t->host, work->sets, work->count, t->threads, t->isa,
                                    &trials));
    tmac_plan rule = tmac_plan_default(work->sets, work->count, t->threads, t->isa);
    workload = runner_up = joint = trials;
    double closest = INFINITY;
    for (uint32_t i = 0; i < work->count; i++) {
        set_figures f;
        double best_cost, next_cost;
        TMAC_TRY(load(t, i, &f));
        const tmac_layout *best = cheapest(t, &f, NULL, &best_cost);
        if (best) fill_entry(t, &f, best, &workload.entries[i]);
        const tmac_layout *shared =
            t->joint.entry_count ? tmac_layout_find(t->joint.entries[i].layout) : NULL;
        if (shared && best_of(t, &f, 0, shared)) fill_entry(t, &f, shared, &joint.entries[i]);
        const tmac_layout *next =
            cheapest(t, &f, tmac_layout_find(trials.entries[i].layout), &next_cost);
        if (next && next_cost / best_cost < closest) {
            closest = next_cost / best_cost;
            runner_up = trials;
            fill_entry(t, &f, next, &runner_up.entries[i]);
        }
        free_figures(&f);
    }
    add_plan(plans, count, "measured", &trials);
    add_plan(plans, count, TMAC_PLAN_JOINT, &joint);
    // What was asked for comes before the yardstick: there may be time for two. With equal shares it is the plan of the trials.
    add_plan(plans, count, "workload", &workload);
    add_plan(plans, count, "rule", &rule);
    add_plan(plans, count, "runner-up", &runner_up);
    return tmac_ok();
}
