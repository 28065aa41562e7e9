/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hog: threads that never sleep, until a time or a signal.
 *
 *   spin THREADS MS [READY]    MS milliseconds of the wall clock; 0 is until SIGTERM
 *
 * The file READY is made when every thread runs and SIGTERM has its handler: whoever ends a hog
 * waits for it first (the command `await`), or the signal may kill what was to become the hog.
 *
 * JSON: cpus (CPU time that all threads got, over the time that passed), least_cpus (the least
 * served thread's), wall_ms. Shares, not times, so that a run which ends sooner is not held against
 * the scheduler that ended it.
 */
#include "driver.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static atomic_int stop;
static int64_t end_ns;
static pthread_barrier_t all; /* once when all threads run, once more when the time counts */

static void on_term(int signal UNUSED)
{
	atomic_store(&stop, 1);
}

static void *spin(void *result)
{
	int64_t began;

	pthread_barrier_wait(&all);
	pthread_barrier_wait(&all);
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	while (!atomic_load_explicit(&stop, memory_order_relaxed) && now_ns() < end_ns)
		for (int i = 0; i < 1000; i++)
			__asm__ volatile("" ::: "memory");
	*(int64_t *)result = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
	return NULL;
}

static void announce(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		fail(file);
	close(fd);
}

int main(int argc, char **argv)
{
	int64_t began, ms, sum = 0, least = INT64_MAX, wall;
	int64_t *got;
	pthread_t *threads;
	int count;

	if (argc != 3 && argc != 4)
		usage("THREADS MS [READY]");
	count = (int)number(argv[1], 1, 1024);
	ms = number(argv[2], 0, 3600000);
	signal(SIGTERM, on_term);
	threads = calloc((size_t)count, sizeof(*threads));
	got = calloc((size_t)count, sizeof(*got));
	if (!threads || !got || pthread_barrier_init(&all, NULL, (unsigned int)count + 1))
		fail("memory");
	for (int i = 0; i < count; i++)
		if ((errno = pthread_create(&threads[i], NULL, spin, &got[i])))
			fail("pthread_create");
	pthread_barrier_wait(&all);
	began = now_ns();
	end_ns = ms ? began + ms * NS_PER_MS : INT64_MAX;
	if (argc == 4)
		announce(argv[3]);
	pthread_barrier_wait(&all);
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		sum += got[i];
		least = got[i] < least ? got[i] : least;
	}
	wall = now_ns() - began;
	printf("{\"cpus\":%.6f,\"least_cpus\":%.6f,\"wall_ms\":%.3f}\n", (double)sum / (double)wall,
	       (double)least / (double)wall, (double)wall / NS_PER_MS);
	finish();
	return 0;
}
