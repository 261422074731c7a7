// The tuning database: what was measured, where, and what follows from it.
//
//   tmac_db_open        opens a database; one that does not exist reads as empty and is created by the first write
//   tmac_db_put_*       adds a record: a host, a variant, a problem, a run, a trial
//   tmac_db_plan        turns trials into a plan, down the ladder of rungs (runtime/plan.h)
//   tmac_db_status      what is in it
//
// Records are immutable and named by the SHA-256 of their canonical bytes (db/record.h); adding one that is there
// already changes nothing. Every put is one committed transaction: what a call has returned for, SIGKILL cannot take
// back. Several processes may use a database at once; a handle belongs to one thread, and never crosses a fork.
#ifndef TMAC_DB_DB_H
#define TMAC_DB_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/host.h"
#include "base/status.h"
#include "db/record.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"
#include "runtime/source.h"

typedef struct tmac_db tmac_db;

typedef enum tmac_db_mode {
    TMAC_DB_READ,  // never writes, never creates
    TMAC_DB_WRITE, // created, with its folder, by the first put
} tmac_db_mode;

enum { TMAC_DB_PATH_BYTES = 1024 };

// $TMAC_DB, else $XDG_DATA_HOME/tmac/tune.db, else $HOME/.local/share/tmac/tune.db. TMAC_USAGE when none is set.
tmac_status tmac_db_default_path(char path[TMAC_DB_PATH_BYTES]);

// path NULL: the default. A file that is no database of ours, or one with a newer schema, is refused and left as it is.
tmac_status tmac_db_open(const char *path, tmac_db_mode mode, tmac_db **db);
// An empty database in memory, gone when it is closed.
tmac_status tmac_db_open_memory(tmac_db **db);
void tmac_db_close(tmac_db *db); // NULL is harmless
const char *tmac_db_path(const tmac_db *db);

// Whether a database on this file system (statfs f_type) can share memory between processes, which a write-ahead log
// needs. Network file systems cannot, and get a rollback journal.
bool tmac_db_wants_wal(long file_system);

// --------------------------------------------------------------------------------------------------------- records

// A record's name: the SHA-256 of its bytes, lower-case hexadecimal.
typedef struct tmac_db_name {
    char hex[TMAC_HASH_HEX];
} tmac_db_name;

// Stores canonical bytes. Kinds and versions that this program does not know are stored too, and passed on untouched.
// TMAC_BAD_FILE when the bytes are not canonical.
tmac_status tmac_db_put(tmac_db *db, const char *bytes, size_t count, tmac_db_name *name);

// The bytes of a record: malloc'ed, NUL after the last; the caller frees. TMAC_NOT_FOUND when there is none.
tmac_status tmac_db_get(const tmac_db *db, const char *hex, char **bytes, size_t *count);

tmac_status tmac_db_put_host(tmac_db *db, const tmac_host *host, tmac_db_name *name);
tmac_status tmac_db_put_variant(tmac_db *db, const tmac_kernel *kernel, tmac_db_name *name);
tmac_status tmac_db_put_problem(tmac_db *db, const tmac_input_set *set, uint32_t bucket,
                                uint32_t threads, tmac_db_name *name);

typedef enum tmac_rigor {
    TMAC_RIGOR_NOISY, // of a trial only: measured while others used the processors; serves where nothing better is known
    TMAC_RIGOR_QUICK,
    TMAC_RIGOR_MEASURE,
    TMAC_RIGOR_PATIENT,
    TMAC_RIGOR_EXHAUSTIVE,
    TMAC_RIGORS
} tmac_rigor;
const char *tmac_rigor_name(tmac_rigor rigor); // "noisy", "quick", ...
// What a user may ask for: quick and better.
tmac_status tmac_rigor_parse(const char *text, tmac_rigor *rigor);

// The context of a session of measurements, stored when it begins ...
typedef struct tmac_db_run {
    tmac_db_name host;
    uint64_t started; // Unix time, nanoseconds
    tmac_rigor rigor;
    uint32_t threads;
    const char *model;        // for people
    const char *kernel;       // of the operating system: uname release
    uint32_t logical_cpus;    // usable ones
    uint32_t load_hundredths; // load average over the last minute, times 100
    uint64_t
        bandwidth; // bytes per second that these threads read from memory; 0 where not measured
    uint64_t seed;
} tmac_db_run;
tmac_status tmac_db_put_run(tmac_db *db, const tmac_db_run *run, tmac_db_name *name);

// ... and what can only be said at its end.
typedef struct tmac_db_close_of_run {
    tmac_db_name run;
    uint64_t duration_ns;
    uint32_t load_hundredths;
    uint32_t
        steal_thousandths; // of the processors' time, taken by the hypervisor while we measured
    uint32_t noise_thousandths; // the median over all trials of MAD / median
    uint32_t measured, failed;  // trials
} tmac_db_close_of_run;
tmac_status tmac_db_put_close(tmac_db *db, const tmac_db_close_of_run *close);

typedef enum tmac_outcome {
    TMAC_OUTCOME_OK,
    TMAC_OUTCOME_WRONG, // a result differed, or bytes outside were written
    TMAC_OUTCOME_CRASH, // a signal; `detail` is its number
    TMAC_OUTCOME_HANG,  // did not finish in time
} tmac_outcome;
const char *tmac_outcome_name(tmac_outcome outcome);

// One measurement. A sample is the time of `passes` passes over the input set (prepare, multiply, barrier each), for
// tmac_bucket_typical(bucket) tokens at once.
typedef struct tmac_db_trial {
    tmac_db_name host, variant, problem, run;
    tmac_rigor rigor;
    tmac_outcome outcome;
    uint32_t detail;
    uint32_t passes, samples;                   // 0 unless outcome is OK
    uint64_t median_ns, mad_ns, min_ns, p95_ns; // of a sample
} tmac_db_trial;
tmac_status tmac_db_put_trial(tmac_db *db, const tmac_db_trial *trial);

// ---------------------------------------------------------------------------------------------------------- answers

// A stored measurement of one kernel at one problem, per pass.
typedef struct tmac_db_figure {
    const tmac_kernel *kernel; // compiled into this program, the same machine code
    tmac_outcome outcome;
    tmac_rigor rigor;
    uint32_t samples;
    double ns;       // median, one pass
    double error;    // standard error of that median
    uint32_t layers; // that hold it: bit i is layer i of the inventory
} tmac_db_figure;

// What this very host measured for a problem: the best-founded trial of each kernel (highest rigor, then newest),
// kernels of this program only. *figures is malloc'ed, the caller frees it.
tmac_status tmac_db_figures(const tmac_db *db, const tmac_host *host, const tmac_input_set *set,
                            uint32_t bucket, uint32_t threads, tmac_db_figure **figures,
                            size_t *count);

// Whether `a` is faster than `b` by more than the noise: the medians' intervals of two standard errors do not touch,
// and the difference is at least half a per cent.
bool tmac_db_faster(const tmac_db_figure *a, const tmac_db_figure *b);

// The plan for these sets. Per set, down the ladder: the layout whose kernels take the least time over the workload (a
// decoded token for a prefilled one), then per bucket its fastest kernel; neither leaves what the built-in rule would
// take unless it gains more than the noise. Buckets and sets without trials fall down the ladder on their own, to the
// rule at last, inside the layout already chosen. Kernels outside `isa` or with other machine code than this program's
// are passed over. The rung of an entry is that of its layout. db may be NULL or empty: the rule.
tmac_status tmac_db_plan(const tmac_db *db, const tmac_host *host, const tmac_input_set *sets,
                         uint32_t count, uint32_t threads, tmac_isa_set isa, tmac_plan *plan);

// The same from trials alone. tmac_db_plan puts the newest judgement of exactly this plan in its place, where any layer has
// one that a trusted signer made.
tmac_status tmac_db_plan_of_trials(const tmac_db *db, const tmac_host *host,
                                   const tmac_input_set *sets, uint32_t count, uint32_t threads,
                                   tmac_isa_set isa, tmac_plan *plan);

// What timing whole plans on a model came to: among them `trials`, the plan of the trials, and `chosen`, which was
// fastest and may be the same.
typedef struct tmac_db_judgement {
    tmac_db_name host, run;
    uint64_t judged; // Unix time, nanoseconds
    const tmac_plan *trials, *chosen;
    uint64_t decode_ns, prefill_ns; // of a token, by the plan chosen; 0: not timed
    uint32_t samples;
} tmac_db_judgement;
// Signed with the user's key, which is made when there is none.
tmac_status tmac_db_put_judgement(tmac_db *db, const tmac_db_judgement *judgement);

// With how many bits a weight a head was screened fastest; db/screening.c.
typedef struct tmac_db_screening {
    tmac_db_name host, run;
    uint64_t measured;       // Unix time, nanoseconds
    const tmac_matrix *head; // as it is stored
    uint32_t threads, bits;
    uint64_t ns[9]; // of the head of one token, by bits; 0: not measured
} tmac_db_screening;
tmac_status tmac_db_put_screening(tmac_db *db, const tmac_db_screening *screening);

// What this very host measured for this head, with another number of threads where there is nothing better; *bits = 0
// where it measured nothing. db may be NULL.
tmac_status tmac_db_screen_bits(const tmac_db *db, const tmac_host *host, const tmac_matrix *head,
                                uint32_t threads, uint32_t *bits);

// The newest bandwidth that a run of this many threads recorded for a host; 0 when none did.
uint64_t tmac_db_bandwidth(const tmac_db *db, const tmac_db_name *host, uint32_t threads);

// -------------------------------------------------------------------------------------------------------- inventory

typedef struct tmac_db_kind {
    char kind[TMAC_RECORD_KIND_BYTES];
    uint64_t records;
} tmac_db_kind;

typedef struct tmac_db_host_row {
    tmac_db_name name;
    char cpu_name[64], isa[80], hypervisor[16];
    uint64_t trials, failures;
    uint32_t layers; // that hold its record
    bool exact;      // this host
} tmac_db_host_row;

typedef struct tmac_db_problem_row {
    tmac_input_set set;
    uint32_t threads;
    uint64_t trials;
    uint32_t layers; // with trials of it
} tmac_db_problem_row;

// One of the databases that are looked up together.
typedef struct tmac_db_layer_row {
    char label[16];   // "own", "system", "fleet1", ...
    const char *path; // the handle's
    bool exists;
    uint64_t file_bytes, records;
    int schema;
    char journal[16]; // "wal", "delete"; "memory" for an export
    char integrity
        [256]; // "ok", or what PRAGMA integrity_check and the check of all names found first
} tmac_db_layer_row;

// Of all layers together: a record that several of them hold counts once.
typedef struct tmac_db_inventory {
    tmac_db_layer_row *layers; // the database itself, then the order of lookup
    size_t layer_count;        // at least 1
    bool exists;               // any of them
    char integrity[256];       // "ok", or what is wrong with the first that is damaged
    tmac_db_kind *kinds;
    size_t kind_count;
    tmac_db_host_row *hosts;
    size_t host_count;
    tmac_db_problem_row *problems; // input sets with trials on any host, buckets joined
    size_t problem_count;
} tmac_db_inventory;

// The fastest usable kernel that one host measured for a problem, in whatever layer; not necessarily one of this program.
typedef struct tmac_db_winner {
    char set[160]; // the key of the input set
    char kernel[64];
    uint32_t threads, bucket;
    uint64_t ns; // of a pass, rounded down
    uint32_t layers;
} tmac_db_winner;
// Ascending by set, threads, bucket. *winners is malloc'ed, the caller frees it.
tmac_status tmac_db_winners(const tmac_db *db, const tmac_db_name *host, tmac_db_winner **winners,
                            size_t *count);
// That order: negative when x comes first, 0 for the same problem.
int tmac_db_winner_order(const tmac_db_winner *x, const tmac_db_winner *y);

tmac_status tmac_db_status(const tmac_db *db, const tmac_host *host, tmac_db_inventory *inventory);
void tmac_db_inventory_free(tmac_db_inventory *inventory); // harmless on a zeroed struct

#endif
