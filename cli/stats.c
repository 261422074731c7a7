#include "cli/stats.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NAMES_MAX = TMAC_PLAN_ENTRIES * 2 };

static double per_second(uint64_t count, uint64_t ns)
{
    return ns ? (double)count * 1e9 / (double)ns : 0.0;
}

tmac_rung tmac_stats_rung(const tmac_plan *plan)
{
    tmac_rung worst = plan->entry_count ? TMAC_RUNG_HOST : TMAC_RUNG_RULE;
    for (uint32_t i = 0; i < plan->entry_count; i++)
        if (plan->entries[i].rung > worst) worst = plan->entries[i].rung;
    return worst;
}

// How many tokens the largest batch of the prompt had.
static uint32_t prompt_batch(const tmac_stats *stats, const tmac_start *start)
{
    if (stats->prompt_tokens > start->batch) return start->batch;
    return stats->prompt_tokens ? (uint32_t)stats->prompt_tokens : 1;
}

// The distinct kernels of single tokens and of the prompt's batches, in the plan's order.
static uint32_t kernel_names(const tmac_stats *stats, const tmac_start *start,
                             const char *names[NAMES_MAX])
{
    const tmac_plan *plan = tmac_model_plan(start->model);
    const uint32_t buckets[2] = {0, tmac_bucket_of(prompt_batch(stats, start))};
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->entry_count; i++)
        for (int b = 0; b < 2; b++) {
            const char *name = plan->entries[i].kernel[buckets[b]];
            bool known = false;
            for (uint32_t j = 0; j < count; j++)
                known |= strcmp(names[j], name) == 0;
            if (!known) names[count++] = name;
        }
    return count;
}

void tmac_stats_print(const tmac_program *program, const tmac_stats *stats, const tmac_start *start)
{
    fprintf(stderr, "%s: prompt %llu tokens, %.1f tokens/s; generated %llu tokens, %.1f tokens/s\n",
            program->name, (unsigned long long)stats->prompt_tokens,
            per_second(stats->prompt_tokens, stats->prompt_ns),
            (unsigned long long)stats->generated_tokens,
            per_second(stats->decoded_tokens, stats->decode_ns));
    const char *names[NAMES_MAX];
    const uint32_t count = kernel_names(stats, start, names);
    const uint32_t threads = tmac_pool_threads(start->pool);
    fprintf(stderr, "%s: kernels", program->name);
    for (uint32_t i = 0; i < count; i++)
        fprintf(stderr, "%s %s", i ? "," : "", names[i]);
    fprintf(stderr, "%s; rung %s; %u thread%s; %s\n", count ? "" : " none (a float model)",
            tmac_rung_name(tmac_stats_rung(tmac_model_plan(start->model))), threads,
            threads == 1 ? "" : "s", tmac_isa_name(tmac_isa_best(start->isa)));
}

static uint64_t peak_rss_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0) return 0;
    return (uint64_t)usage.ru_maxrss * 1024;
}

// Resident now, where the kernel tells: what is left once weights have moved.
static uint64_t rss_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    unsigned long long pages = 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0; // NOLINT(cert-err34-c)
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void fingerprint(const tmac_stats *stats, char hex[TMAC_HASH_HEX])
{
    tmac_hash_state copy = stats->logits;
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash_end(&copy, digest);
    tmac_hash_hex(digest, hex);
}

void tmac_stats_print_details(const tmac_program *program, tmac_stats *stats,
                              const tmac_start *start)
{
    tmac_profile profile;
    tmac_model_profile(start->model, &profile, false);
    uint64_t total = 0;
    for (int part = 0; part < TMAC_PART_COUNT; part++)
        total += profile.ns[part];
    fprintf(stderr, "%s: time", program->name);
    for (int part = 0; part < TMAC_PART_COUNT; part++)
        fprintf(stderr, "%s %s %.1f %%", part ? "," : "", tmac_part_name((tmac_part)part),
                total ? 100.0 * (double)profile.ns[part] / (double)total : 0.0);
    if (tmac_pool_threads(start->pool) > 1 && total)
        fprintf(stderr, "; of it waiting for other threads %.1f %%",
                100.0 * (double)profile.waiting_ns / (double)total);
    if (profile.head_screened)
        fprintf(stderr,
                "; screening with %u bits (%s) left %.1f rows a token, %llu of %llu tokens fell "
                "back",
                tmac_model_screen_bits(start->model), start->screen_bits ? "measured" : "rule",
                (double)profile.head_rows / (double)profile.head_screened,
                (unsigned long long)profile.head_fallbacks,
                (unsigned long long)profile.head_screened);
    char hex[TMAC_HASH_HEX];
    fingerprint(stats, hex);
    if (stats->drafted)
        fprintf(stderr, "; drafted %llu, accepted %llu (%.0f %%), %llu batches",
                (unsigned long long)stats->drafted, (unsigned long long)stats->accepted,
                100.0 * (double)stats->accepted / (double)stats->drafted,
                (unsigned long long)stats->decode_calls);
    fprintf(stderr, "; started in %.0f ms; memory %.1f MiB, at its peak %.1f MiB\n%s: logits %s\n",
            (double)stats->start_ns / 1e6, (double)rss_bytes() / 0x1p20,
            (double)peak_rss_bytes() / 0x1p20, program->name, hex);
}

static json_t *plan_json(const tmac_stats *stats, const tmac_start *start)
{
    const tmac_plan *plan = tmac_model_plan(start->model);
    const uint32_t bucket = tmac_bucket_of(prompt_batch(stats, start));
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const tmac_plan_entry *entry = &plan->entries[i];
        json_t *rows = json_array();
        for (uint32_t j = 0; j < entry->set.matrices; j++)
            json_array_append_new(rows, json_integer(entry->set.rows[j]));
        json_array_append_new(list, json_pack("{s:I, s:o, s:s, s:s, s:s, s:s}", "columns",
                                              (json_int_t)entry->set.columns, "rows", rows,
                                              "layout", entry->layout, "decode", entry->kernel[0],
                                              "prompt", entry->kernel[bucket], "entry_rung",
                                              tmac_rung_name(entry->rung)));
    }
    return list;
}

tmac_status tmac_stats_print_json(tmac_stats *stats, const tmac_start *start)
{
    const char *names[NAMES_MAX];
    const uint32_t name_count = kernel_names(stats, start, names);
    json_t *kernels = json_array();
    for (uint32_t i = 0; i < name_count; i++)
        json_array_append_new(kernels, json_string(names[i]));
    tmac_profile profile;
    tmac_model_profile(start->model, &profile, false);
    json_t *parts = json_object();
    for (int part = 0; part < TMAC_PART_COUNT; part++)
        json_object_set_new(parts, tmac_part_name((tmac_part)part),
                            json_integer((json_int_t)profile.ns[part]));
    char hex[TMAC_HASH_HEX];
    fingerprint(stats, hex);
    json_t *root =
        json_pack("{s:I, s:f, s:I, s:f, s:o, s:s, s:I, s:s, s:I, s:s, s:o, s:I, s:I, "
                  "s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I, "
                  "s:I, s:o}",                                                            //
                  "prompt_tokens", (json_int_t)stats->prompt_tokens,                      //
                  "prompt_tps", per_second(stats->prompt_tokens, stats->prompt_ns),       //
                  "generated_tokens", (json_int_t)stats->generated_tokens,                //
                  "decode_tps", per_second(stats->decoded_tokens, stats->decode_ns),      //
                  "kernels", kernels,                                                     //
                  "rung", tmac_rung_name(tmac_stats_rung(tmac_model_plan(start->model))), //
                  "threads", (json_int_t)tmac_pool_threads(start->pool),                  //
                  "isa", tmac_isa_name(tmac_isa_best(start->isa)),                        //
                  "peak_rss_bytes", (json_int_t)peak_rss_bytes(),                         //
                  "logits_sha256", hex,                                                   //
                  "time_ns", parts,                                                       //
                  "waiting_ns", (json_int_t)profile.waiting_ns,                           //
                  "matrix_bytes_per_token", (json_int_t)profile.matrix_bytes,             //
                  "head_bytes_per_token", (json_int_t)profile.head_bytes,                 //
                  "start_ns", (json_int_t)stats->start_ns,                                //
                  "rss_bytes", (json_int_t)rss_bytes(),                                   //
                  "decode_calls", (json_int_t)stats->decode_calls,                        //
                  "drafted", (json_int_t)stats->drafted,                                  //
                  "accepted", (json_int_t)stats->accepted,                                //
                  "head", tmac_head_name(start->head),                                    //
                  "screen_bits", (json_int_t)tmac_model_screen_bits(start->model),        //
                  "head_screened", (json_int_t)profile.head_screened,                     //
                  "head_rows", (json_int_t)profile.head_rows,                             //
                  "head_fallbacks", (json_int_t)profile.head_fallbacks,                   //
                  "plan", plan_json(stats, start));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory writing statistics");
    fprintf(stderr, "%s\n", text);
    free(text);
    return tmac_ok();
}
