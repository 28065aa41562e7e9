/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the drivers share: clocks, work defined by CPU time, random numbers that follow the seed,
 * percentiles, and ends that cannot be mistaken for success.
 */
#ifndef SCHEDBENCH_DRIVER_H
#define SCHEDBENCH_DRIVER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL
#define UNUSED	  __attribute__((unused))

static UNUSED void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static UNUSED void __attribute__((noreturn)) usage(const char *text)
{
	fprintf(stderr, "usage: %s %s\n", program_invocation_short_name, text);
	exit(2);
}

/* A whole number in [lo, hi], or the end of the program. */
static UNUSED int64_t number(const char *text, int64_t lo, int64_t hi)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < lo || value > hi) {
		fprintf(stderr, "%s: '%s' is not a whole number from %lld to %lld\n",
			program_invocation_short_name, text, (long long)lo, (long long)hi);
		exit(2);
	}
	return value;
}

static UNUSED int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		fail("clock_gettime");
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static UNUSED int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static UNUSED void sleep_until(int64_t ns)
{
	struct timespec t = { ns / NS_PER_S, ns % NS_PER_S };
	int error;

	do
		error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	while (error == EINTR);
	if (error) {
		errno = error;
		fail("clock_nanosleep");
	}
}

static UNUSED void sleep_ns(int64_t ns)
{
	sleep_until(now_ns() + ns);
}

/*
 * Uses `ns` of this thread's CPU time, however long that takes. Waiting for a CPU does not count,
 * so the amount of work is the same under every scheduler and on every machine.
 */
static UNUSED void work_ns(int64_t ns)
{
	int64_t until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < until)
		for (int i = 0; i < 200; i++)
			__asm__ volatile("" ::: "memory");
}

/* splitmix64: the same numbers for the same seed, everywhere. */
static UNUSED uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Evenly from [0, below). */
static UNUSED uint64_t random_below(uint64_t *state, uint64_t below)
{
	return next_random(state) % below;
}

/* `ns` times something even in [1 - percent/100, 1 + percent/100]. */
static UNUSED int64_t jitter(uint64_t *state, int64_t ns, int percent)
{
	return ns * (100 - percent + (int64_t)random_below(state, 2 * percent + 1)) / 100;
}

static int compare_int64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static UNUSED void sort_int64(int64_t *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_int64);
}

/* The smallest value that at least `percent` of the sorted values do not exceed. */
static UNUSED int64_t percentile(const int64_t *sorted, size_t count, double percent)
{
	size_t rank = (size_t)ceil((double)count * percent / 100.0);

	return sorted[rank ? rank - 1 : 0];
}

static UNUSED double mean(const int64_t *values, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += (double)values[i];
	return sum / (double)count;
}

/* Prints, and makes sure that it was printed. */
static UNUSED void finish(void)
{
	if (fflush(stdout) || ferror(stdout))
		fail("stdout");
}

#endif
