#include "tune/context.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

uint32_t tmac_load_hundredths(void)
{
    FILE *file = fopen("/proc/loadavg", "re");
    unsigned whole = 0, hundredths = 0;
    if (!file) return 0;
    int read = fscanf(file, "%u.%2u", &whole, &hundredths);
    fclose(file);
    return read == 2 && whole < 1000000 ? whole * 100 + hundredths : 0;
}

tmac_ticks tmac_read_ticks(void)
{
    // cpu user nice system idle iowait irq softirq steal ...; guest time is part of user.
    FILE *file = fopen("/proc/stat", "re");
    uint64_t v[8] = {0};
    tmac_ticks ticks = {0, 0};
    if (!file) return ticks;
    int read = fscanf(file,
                      "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                      " %" SCNu64 " %" SCNu64,
                      &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(file);
    if (read != 8) return ticks;
    for (int i = 0; i < 8; i++)
        ticks.total += v[i];
    ticks.stolen = v[7];
    return ticks;
}

uint64_t tmac_unix_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
