// Private to tune/: how busy the host is with other things than us.
//
// The sentinel compares the time that the processors we may use were busy with the time that this process and its
// measuring child used. What is left over is somebody else's. Ticks of /proc/stat are coarse (10 ms), so a judgement
// covers a second at least.
#ifndef TMAC_TUNE_NOISE_H
#define TMAC_TUNE_NOISE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Time since boot of the processors this process may run on, nanoseconds. Zero where /proc does not say.
typedef struct tmac_busy {
    uint64_t total_ns, busy_ns, stolen_ns;
} tmac_busy;

uint32_t tmac_load_hundredths(void); // load average over the last minute, times 100
tmac_busy tmac_read_busy(void);
uint64_t tmac_throttle_events(
    void); // of all processors since boot; 0 where the kernel does not count them
uint64_t tmac_unix_ns(void);

enum { TMAC_SENTINEL_MARKS = 32 };

typedef struct tmac_sentinel {
    double tolerated; // processors that others may use
    pid_t child;      // whose time is ours; 0: none
    uint32_t count;
    struct tmac_mark {
        uint64_t at_ns, busy_ns, own_ns;
    } marks[TMAC_SENTINEL_MARKS]; // the last of them, oldest first
} tmac_sentinel;

// tolerated 0: a fifth of a processor, and half of each that `threads` leave idle.
void tmac_sentinel_begin(tmac_sentinel *sentinel, uint32_t threads, double tolerated);

// The child's time counts as ours from here on.
void tmac_sentinel_child(tmac_sentinel *sentinel, pid_t child);

// Processors that others used on average since `since_ns`, or over the last second if that is longer ago.
double tmac_sentinel_foreign(tmac_sentinel *sentinel, uint64_t since_ns);

// Who uses most processor time now, ourselves and our child excepted: watches for `milliseconds`. False when nobody uses
// a twentieth of a processor.
typedef struct tmac_neighbour {
    pid_t pid;
    char name[32];
    double processors; // that it uses
} tmac_neighbour;
bool tmac_find_neighbour(pid_t child, uint32_t milliseconds, tmac_neighbour *neighbour);

#endif
