// Spot checks: is a kernel that somebody else measured to be fast as fast here?
#ifndef TMAC_TUNE_SPOT_H
#define TMAC_TUNE_SPOT_H

#include "tune/tune.h"

// One claim: at one token and so many threads `claimed` beats `incumbent` on this set.
typedef struct tmac_spot {
    tmac_input_set set;
    uint32_t threads;
    const tmac_kernel *claimed,
        *incumbent; // both proved exact here, and in layouts that hold the set
    // What was found: a pass of each, and the standard errors.
    bool timed;           // false: time was up before
    tmac_outcome outcome; // of the claimed kernel; the figures are worth something where it is OK
    double claimed_ns, claimed_error, incumbent_ns, incumbent_error;
    bool refuted; // it failed, or is slower than the incumbent by more than the noise and a tenth
} tmac_spot;

// Times claims in turn until `seconds` are over, each in a child process under a watchdog: the one that runs at that
// moment is finished, within two seconds more unless its working set takes longer to fill. No threads and no database
// handle may exist in this process.
tmac_status tmac_spot_check(const tmac_host *host, tmac_spot *spots, size_t count, double seconds);

#endif
