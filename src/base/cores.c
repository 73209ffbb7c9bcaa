/*
 * cores.c - how many cores this process may really use: its affinity mask, and the quota of its cgroup, which a
 * container sets without hiding the machine's other cores.
 */
#include "base/pool.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int cores_by_affinity(void)
{
    for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) { /* EINVAL until the mask covers the machine */
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set)
            break;
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return count;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < INT_MAX ? (int)online : 1;
}

static int cores_of_quota(double quota, double period)
{
    if (quota <= 0 || period <= 0)
        return INT_MAX;
    double cores = quota / period; /* a share of 1.5 cores can keep two threads busy most of the time */
    return cores >= 1e6 ? INT_MAX : (int)cores + (cores > (int)cores);
}

/* cgroup v2: "QUOTA PERIOD" or "max PERIOD" in one file. */
static int quota_v2(const char *folder)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", folder) >= (int)sizeof path)
        return INT_MAX;
    FILE *file = fopen(path, "re");
    if (!file)
        return INT_MAX;
    double quota = 0, period = 0;
    int read = fscanf(file, "%lf %lf", &quota, &period); /* "max" reads nothing */
    fclose(file);
    return read == 2 ? cores_of_quota(quota, period) : INT_MAX;
}

static double first_number(const char *path)
{
    double value = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%lf", &value) != 1)
        value = 0;
    fclose(file);
    return value;
}

/* Our group's path within the v2 hierarchy ("/" in a container), or "" when there is none. */
static void own_group(char *out, size_t bytes)
{
    char line[PATH_MAX];
    out[0] = '\0';
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, bytes, "%s", line + 3);
        }
    fclose(file);
}

/* The least quota of our group and those above it: each of them binds. */
static int cores_by_quota(void)
{
    char group[PATH_MAX];
    own_group(group, sizeof group);
    int least = cores_of_quota(first_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
                               first_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
    for (;;) {
        int quota = quota_v2(group);
        if (quota < least)
            least = quota;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

int dt_usable_cores(void)
{
    int cores = cores_by_affinity();
    int quota = cores_by_quota();
    return quota < cores ? quota : cores;
}
