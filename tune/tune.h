// The tuner: proves, measures and records the kernels of this program on this host, for the input sets of one model.
//
//   tmac_gate    is a kernel exact and well-behaved? Asked in a child process, because the answer may be a crash
//   tmac_tune    measures what passes and writes what it finds, trial by trial, into the database
#ifndef TMAC_TUNE_TUNE_H
#define TMAC_TUNE_TUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/host.h"
#include "base/status.h"
#include "base/topology.h"
#include "convert/convert.h"
#include "db/db.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"
#include "runtime/source.h"

// ------------------------------------------------------------------------------------------------------------- gate

typedef struct tmac_gate_result {
    tmac_outcome outcome;
    uint32_t detail;   // CRASH: the signal
    char message[160]; // what was being tried, for people; "" when OK
} tmac_gate_result;

// Tries each candidate, in a child of its own, against the definition of its product (runtime/kernel.h) on adversarial
// weights and activations: extremes, alternations, random; on these shapes, at several tokens, with a tile range, with
// prepare cut in parts, and with every buffer ending (or starting) at a page that must not be touched. Shapes that a
// candidate's layout cannot hold are passed over. Candidates need not be in the registry. Call it before threads
// start. timeout_ms counts for one candidate.
tmac_status tmac_gate(const tmac_kernel *const *candidates, size_t count, const tmac_shape *shapes,
                      size_t shape_count, uint32_t timeout_ms, tmac_gate_result *results);

// ------------------------------------------------------------------------------------------------------------- work

// What a model asks of the tuner.
typedef struct tmac_work {
    char model[128]; // for people
    uint32_t count;
    tmac_input_set sets[TMAC_PLAN_ENTRIES];
    uint32_t calls[TMAC_PLAN_ENTRIES]; // multiplications by one token
    uint64_t head_bytes;               // that one token reads besides
} tmac_work;

tmac_status tmac_work_of_source(const tmac_source *source, tmac_work *work);

// Of a shape alone: the same work as that of a model with this shape and tensor scales.
tmac_status tmac_work_of_shape(const tmac_synth_shape *shape, const char *name, tmac_work *work);

// ------------------------------------------------------------------------------------------------------------- tune

typedef struct tmac_replay tmac_replay; // tune/replay.h

typedef struct tmac_tune_options {
    const char *db; // NULL: the default database
    tmac_rigor rigor;
    bool estimate;         // measure nothing: what the database and the rule say
    uint32_t threads;      // the production number of threads; 0: all usable ones
    uint32_t with_threads; // layouts chosen for so many are kept where they lose nothing; 0: none
    tmac_isa_set isa;      // 0: all verified ones
    const tmac_cpu_list *cpus; // processors that the threads are tied to, in turn; NULL: none
    uint64_t seed;             // of the order of rounds and of the weights
    double time_limit;         // seconds of the session; 0: the rigor's own
    double decode,
        prefill; // the workload: tokens generated, tokens of prompts; both 0: as many of each
    const char
        *only; // kernels whose name matches (a part of it, or a pattern of fnmatch); NULL: all
    bool
        require_quiet; // end the session where others use the processors; else what is measured then is marked
    double tolerated; // processors that others may use; 0: as tune/noise.h says
    uint32_t gate_timeout_ms, patience_ms; // 0: 10 s each
    bool progress;                         // draw a bar
    bool compile; // compile kernels for these shapes, where the rigor has time for it
    // The model, for judging the best plans end to end; NULL: they are not.
    const tmac_source *source;
    // The kernels to consider; NULL: those of the registry.
    const tmac_kernel *const *candidates;
    size_t candidate_count;
    tmac_replay *replay; // measurements come from here; NULL: from this host
} tmac_tune_options;

typedef struct tmac_tune_line {
    uint32_t set, bucket;
    char before[TMAC_NAME_BYTES], after[TMAC_NAME_BYTES]; // the rule's kernel and the plan's
    double before_ns, after_ns; // one pass over the set at the bucket's typical N; 0: not measured
    double before_error, after_error;
    tmac_rung rung; // of `after` at this N
} tmac_tune_line;

// A whole plan, timed end to end.
enum { TMAC_TUNE_PLANS = 5 };
typedef struct tmac_tune_judgement {
    char name[32]; // "measured", "rule", ...
    bool chosen;
    uint32_t samples;
    double decode_ns, decode_error,
        prefill_ns;   // a generated token and its interval; a token of a prompt
    double matrix_ns; // of decode_ns: without the head
} tmac_tune_judgement;

// The head of one generated token, screened by a copy of so many bits a weight.
typedef struct tmac_tune_screening {
    uint32_t samples; // 0: not measured
    double ns, error;
    double rows; // computed again
} tmac_tune_screening;

typedef struct tmac_tune_failure {
    char kernel[TMAC_NAME_BYTES];
    tmac_gate_result result;
} tmac_tune_failure;

enum { TMAC_TUNE_FAILURES = 64, TMAC_TUNE_WIDTHS = 9 };

typedef struct tmac_tune_report {
    tmac_db_name run;
    uint32_t threads, measured, reused, failed;
    uint32_t load_hundredths, steal_thousandths, noise_thousandths;
    uint32_t noisy_trials;       // measured while others used the processors
    uint32_t foreign_hundredths; // processors that others used, at most, times 100
    uint32_t throttled;          // times that a processor was slowed down for its heat
    char neighbour[64];          // who used most: "NAME (process 17)"; "" where nobody did
    bool noisy;                  // the figures are doubtful: said in the report
    bool complete;               // every problem was decided before time was up
    bool judged;                 // the best plans were timed on the model
    uint32_t compiled;           // kernels compiled for these shapes and proved
    char compiling[160];         // why none were; "" where they were, or none were to be
    uint32_t judgement_count;
    tmac_tune_judgement judgements[TMAC_TUNE_PLANS];
    uint32_t screen_bits; // of the fastest screened head; 0: not measured
    tmac_tune_screening screenings[TMAC_TUNE_WIDTHS]; // by bits; of 0: the stored head
    uint64_t bandwidth;
    double seconds;
    uint32_t line_count;
    tmac_tune_line lines[TMAC_PLAN_ENTRIES * TMAC_BUCKETS];
    uint32_t failure_count; // the first TMAC_TUNE_FAILURES of them
    tmac_tune_failure failures[TMAC_TUNE_FAILURES];
} tmac_tune_report;

// Tunes. Trials already in the database with the same host, machine code, problem and at least this rigor are taken as
// they are. On failure what was measured stays. Call it before threads start. report is about 20 kB.
tmac_status tmac_tune(const tmac_work *work, const tmac_tune_options *options,
                      tmac_tune_report *report);

// What tmac_tune would do, in its order, with how long it may take: nothing is measured or written.
tmac_status tmac_tune_dry_run(const tmac_work *work, const tmac_tune_options *options,
                              FILE *stream);

void tmac_tune_print(const tmac_work *work, const tmac_tune_report *report, FILE *stream);
tmac_status tmac_tune_print_json(const tmac_work *work, const tmac_tune_report *report,
                                 FILE *stream);

#endif
