/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which CPU a task that wakes up is given: one of a whole idle core, or beside a busy sibling; in
 * the cache that it used last, or in another one.
 *
 *   placement WORKERS WORK_US SLEEP_US MS SEED
 *
 * Each worker sleeps SLEEP_US and works WORK_US of CPU time (both jittered by half from the seed),
 * and notes where it is when it wakes up. Who is at work, and where, is known to all of them. Cores
 * and last-level caches are read from /sys/devices/system/cpu.
 *
 * JSON: whole_core_percent (of the wake-ups for which a core with no worker at work was to be had,
 * those that were given one; 100 if there was none), same_cache_percent (of the wake-ups, those in
 * the last-level cache of the one before), wakeups, and what the machine has: cores, caches.
 */
#include "driver.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define MAX_CPUS    64 /* as many as a mask has bits */
#define MAX_WORKERS 64

struct worker {
	pthread_t thread;
	uint64_t seed;
	int64_t wakeups, offered, taken, same_cache;
};

static uint64_t core_of[MAX_CPUS], cache_of[MAX_CPUS]; /* the CPUs of a CPU's core, of its cache */
static _Atomic int at_work[MAX_CPUS];
static int64_t work_mean_ns, sleep_mean_ns, end_ns;
static int cpus;

/* A list of CPUs, as "0-1,4"; 0 if there is no such file. */
static uint64_t cpu_list(const char *format, int cpu, int index)
{
	char path[128], text[256], *at = text;
	uint64_t mask = 0;
	FILE *file;

	snprintf(path, sizeof(path), format, cpu, index);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		fail(path);
	fclose(file);
	while (*at && *at != '\n') {
		long first = strtol(at, &at, 10),
		     last = *at == '-' ? strtol(at + 1, &at, 10) : first;

		for (long i = first; i <= last && i < MAX_CPUS; i++)
			mask |= 1ULL << i;
		if (*at == ',')
			at++;
	}
	return mask;
}

/* The caches of a CPU are listed from the first level up; the last one is what it shares most. */
static void read_topology(void)
{
	for (int cpu = 0; cpu < cpus; cpu++) {
		uint64_t own = 1ULL << cpu, mask;

		mask = cpu_list("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu,
				0);
		core_of[cpu] = mask ? mask : own;
		cache_of[cpu] = own;
		for (int index = 0;; index++) {
			mask = cpu_list(
				"/sys/devices/system/cpu/cpu%d/cache/index%d/shared_cpu_list", cpu,
				index);
			if (!mask)
				break;
			cache_of[cpu] |= mask;
		}
	}
}

static int idle(uint64_t core)
{
	for (int cpu = 0; cpu < cpus; cpu++)
		if (core & (1ULL << cpu) && atomic_load(&at_work[cpu]))
			return 0;
	return 1;
}

static int idle_core_anywhere(void)
{
	for (int cpu = 0; cpu < cpus; cpu++)
		if (idle(core_of[cpu]))
			return 1;
	return 0;
}

static int this_cpu(void)
{
	int cpu = sched_getcpu();

	if (cpu < 0 || cpu >= cpus)
		fail("sched_getcpu");
	return cpu;
}

static void *work(void *argument)
{
	struct worker *self = argument;
	int before = this_cpu();

	while (now_ns() < end_ns) {
		int cpu;

		sleep_ns(jitter(&self->seed, sleep_mean_ns, 50));
		cpu = this_cpu();
		self->wakeups++;
		self->same_cache += (cache_of[before] >> cpu) & 1;
		if (idle_core_anywhere()) {
			self->offered++;
			self->taken += idle(core_of[cpu]);
		}
		atomic_fetch_add(&at_work[cpu], 1);
		work_ns(jitter(&self->seed, work_mean_ns, 50));
		atomic_fetch_sub(&at_work[cpu], 1);
		before = this_cpu();
	}
	return NULL;
}

static int distinct(const uint64_t *masks)
{
	int found = 0;

	for (int cpu = 0; cpu < cpus; cpu++)
		found += !(masks[cpu] & ((1ULL << cpu) - 1)); /* it is the first of its own */
	return found;
}

int main(int argc, char **argv)
{
	static struct worker workers[MAX_WORKERS];
	int64_t wakeups = 0, offered = 0, taken = 0, same = 0;
	uint64_t seed;
	int count;

	if (argc != 6)
		usage("WORKERS WORK_US SLEEP_US MS SEED");
	cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	if (cpus < 1 || cpus > MAX_CPUS) {
		fprintf(stderr, "placement: %d CPUs; it knows 1 to %d\n", cpus, MAX_CPUS);
		return 1;
	}
	count = (int)number(argv[1], 1, MAX_WORKERS);
	work_mean_ns = number(argv[2], 1, 10000000) * NS_PER_US;
	sleep_mean_ns = number(argv[3], 1, 10000000) * NS_PER_US;
	end_ns = now_ns() + number(argv[4], 1, 3600000) * NS_PER_MS;
	seed = (uint64_t)number(argv[5], 0, INT64_MAX);
	read_topology();
	for (int i = 0; i < count; i++) {
		workers[i].seed = next_random(&seed);
		if ((errno = pthread_create(&workers[i].thread, NULL, work, &workers[i])))
			fail("pthread_create");
	}
	for (int i = 0; i < count; i++) {
		pthread_join(workers[i].thread, NULL);
		wakeups += workers[i].wakeups;
		offered += workers[i].offered;
		taken += workers[i].taken;
		same += workers[i].same_cache;
	}
	if (!wakeups) {
		fprintf(stderr, "placement: nobody woke up\n");
		return 1;
	}
	printf("{\"whole_core_percent\":%.4f,\"same_cache_percent\":%.4f,\"wakeups\":%lld,"
	       "\"cores\":%d,\"caches\":%d}\n",
	       offered ? 100.0 * (double)taken / (double)offered : 100.0,
	       100.0 * (double)same / (double)wakeups, (long long)wakeups, distinct(core_of),
	       distinct(cache_of));
	finish();
	return 0;
}
