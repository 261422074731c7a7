// Plants a database in which kernels compiled on this host win: plant DB MODEL.
//
// For every input set of the model the rule's kernel is compiled for its shape, stored and signed, and trials say that it
// is ten times as fast as the one it came from. Measured times would not decide that reliably, so that the tests of what
// follows from it (tests/e2e/compiled.sh) write their own. Prints the names of the kernels. Exit status 77: no compiler.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tune/noise.h"
#include "tune/specialise.h"
#include "tune/tune.h"

static tmac_status put(tmac_db *db, tmac_db_trial trial, const tmac_kernel *kernel, uint64_t ns)
{
    trial.median_ns = trial.min_ns = trial.p95_ns = ns;
    TMAC_TRY(tmac_db_put_variant(db, kernel, &trial.variant));
    return tmac_db_put_trial(db, &trial);
}

static tmac_status put_trials(tmac_db *db, const tmac_host *host, const tmac_work *work)
{
    tmac_db_trial trial = {.rigor = TMAC_RIGOR_MEASURE, .passes = 1, .samples = 32, .mad_ns = 10};
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    TMAC_TRY(tmac_db_put_host(db, host, &trial.host));
    const tmac_db_run run = {.host = trial.host,
                             .started = tmac_unix_ns(),
                             .rigor = TMAC_RIGOR_MEASURE,
                             .threads = 1,
                             .model = work->model,
                             .kernel = host->kernel};
    TMAC_TRY(tmac_db_put_run(db, &run, &trial.run));
    for (uint32_t set = 0; set < work->count; set++) {
        const tmac_input_set *s = &work->sets[set];
        tmac_plan_entry rule = tmac_plan_rule(s, 1, host->isa);
        const tmac_kernel *base = tmac_kernel_find(rule.kernel[0]);
        TMAC_TRY(tmac_db_put_problem(db, s, 0, 1, &trial.problem));
        TMAC_TRY(put(db, trial, base, 1000000));
        for (size_t i = 0; i < count; i++) {
            uint32_t columns, group;
            if (!tmac_kernel_shape(kernels[i], &columns, &group) || columns != s->columns ||
                group != s->group || strncmp(kernels[i]->name, base->name, strlen(base->name)) != 0)
                continue;
            TMAC_TRY(put(db, trial, kernels[i], 100000));
            printf("%s\n", kernels[i]->name);
        }
    }
    return tmac_ok();
}

static tmac_status plant(const char *path, const char *model, bool *compiles)
{
    static tmac_work work;
    tmac_host host;
    tmac_source source;
    tmac_compiler compiler;
    tmac_specialisation wanted[TMAC_PLAN_ENTRIES];
    uint32_t added;
    tmac_db *db;
    const tmac_open_options options = {0};
    tmac_host_probe(&host);
    TMAC_TRY(tmac_source_open(model, &options, &source));
    tmac_status status = tmac_work_of_source(&source, &work);
    tmac_source_close(&source);
    TMAC_TRY(status);
    *compiles = tmac_compiler_find(&compiler).code == TMAC_OK;
    if (!*compiles) return tmac_ok();
    uint32_t count = 0;
    for (uint32_t set = 0; set < work.count; set++) {
        tmac_specialisation each = {.columns = work.sets[set].columns,
                                    .group = work.sets[set].group,
                                    .prefetch = TMAC_PREFETCH_OWN};
        snprintf(each.kernel, sizeof each.kernel, "%s",
                 tmac_plan_rule(&work.sets[set], 1, host.isa).kernel[0]);
        // Two sets may have one kernel and one shape: compiled once.
        bool known = false;
        for (uint32_t other = 0; other < count; other++)
            known = known ||
                    (strcmp(wanted[other].kernel, each.kernel) == 0 &&
                     wanted[other].columns == each.columns && wanted[other].group == each.group);
        if (!known) wanted[count++] = each;
    }
    TMAC_TRY(tmac_add_specialised(&compiler, path, wanted, count, &added));
    TMAC_TRY(tmac_db_open(path, TMAC_DB_WRITE, &db));
    status = put_trials(db, &host, &work);
    tmac_db_close(db);
    return status;
}

int main(int argc, char **argv)
{
    bool compiles = true;
    if (argc != 3) {
        fprintf(stderr, "plant: expected DB MODEL\n");
        return 2;
    }
    tmac_status status = plant(argv[1], argv[2], &compiles);
    if (status.code == TMAC_OK) return compiles ? 0 : 77;
    fprintf(stderr, "plant: %s\n", status.message);
    return 1;
}
