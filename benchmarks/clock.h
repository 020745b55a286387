/* The clocks that servers tell the benchmarks by. */
#ifndef CLOCK_H
#define CLOCK_H

#include <sys/resource.h>
#include <time.h>

/* Seconds of the monotonic clock, which every process of the machine shares. */
static inline double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Processor time of this process since its start. */
static inline double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

#endif
