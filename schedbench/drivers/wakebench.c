/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message threads that wake workers, as a server's dispatcher does.
 *
 *   wakebench MESSENGERS WORKERS WORK_US THINK_US MS SEED
 *
 * Each message thread has WORKERS workers. A worker that is done reports to its message thread and
 * sleeps; the message thread stamps the time and wakes it. The worker notes how late it runs (the
 * wake-up latency), thinks (sleeps) THINK_US, as if it fetched its input, and works WORK_US of its
 * own CPU time (jittered by a quarter from the seed). From the wake-up to the work's end is the
 * request latency. The work is defined by CPU time, so it means the same on every machine.
 * The shape is that of the public benchmark schbench; the code is not.
 *
 * JSON: rps, requests, request and wake-up latency in microseconds (p50, p99, max), fairness (the
 * least served worker's requests over the mean).
 */
#include "driver.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { IDLE, READY };

struct samples {
	int64_t *values;
	size_t count, room;
};

struct messenger {
	pthread_t thread;
	_Atomic uint32_t
		reports; /* bumped by each worker that reports; the messenger sleeps on it */
	_Atomic int
		stopping; /* its own: a worker that stops no longer reports, so only its boss may ask */
	struct worker *first;
	int workers;
};

struct worker {
	pthread_t thread;
	struct messenger *boss;
	_Atomic uint32_t state; /* IDLE while it waits; the worker sleeps on it */
	int64_t woken_ns;
	uint64_t seed;
	struct samples wakeup, request;
};

static int64_t work_mean_ns, think_ns, end_ns;

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
	if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0) &&
	    errno != EAGAIN && errno != EINTR)
		fail("futex wait");
}

static void futex_wake(_Atomic uint32_t *word)
{
	if (syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0)
		fail("futex wake");
}

static void note(struct samples *samples, int64_t value)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 1024;
		samples->values = realloc(samples->values, samples->room * sizeof(int64_t));
		if (!samples->values)
			fail("memory");
	}
	samples->values[samples->count++] = value;
}

static void *worker_main(void *argument)
{
	struct worker *self = argument;

	for (;;) {
		int64_t began;

		atomic_store(&self->state, IDLE);
		atomic_fetch_add(&self->boss->reports, 1);
		futex_wake(&self->boss->reports);
		while (atomic_load(&self->state) == IDLE)
			futex_wait(&self->state, IDLE);
		if (atomic_load(&self->boss->stopping))
			return NULL;
		began = self->woken_ns;
		note(&self->wakeup, now_ns() - began);
		if (think_ns)
			sleep_ns(think_ns);
		work_ns(jitter(&self->seed, work_mean_ns, 25));
		note(&self->request, now_ns() - began);
	}
}

static void *messenger_main(void *argument)
{
	struct messenger *self = argument;
	int running = 1;

	while (running) {
		uint32_t seen = atomic_load(&self->reports);

		if (now_ns() >= end_ns) {
			atomic_store(&self->stopping, 1);
			running = 0;
		}
		for (int i = 0; i < self->workers; i++) {
			struct worker *worker = &self->first[i];

			if (atomic_load(&worker->state) != IDLE)
				continue;
			worker->woken_ns = now_ns();
			atomic_store(&worker->state, READY);
			futex_wake(&worker->state);
		}
		if (running)
			futex_wait(&self->reports, seen);
	}
	/* Whoever was still at work reports once more; wake each until all have gone. */
	for (int i = 0; i < self->workers; i++) {
		struct worker *worker = &self->first[i];

		while (pthread_tryjoin_np(worker->thread, NULL)) {
			atomic_store(&worker->state, READY);
			futex_wake(&worker->state);
			sleep_ns(NS_PER_MS);
		}
	}
	return NULL;
}

static struct samples merged(struct worker *workers, int count, int requests)
{
	struct samples all = { 0 };

	for (int i = 0; i < count; i++) {
		struct samples *one = requests ? &workers[i].request : &workers[i].wakeup;

		for (size_t k = 0; k < one->count; k++)
			note(&all, one->values[k]);
	}
	if (!all.count) {
		fprintf(stderr, "wakebench: no request was served\n");
		exit(1);
	}
	sort_int64(all.values, all.count);
	return all;
}

static void print_latency(const char *name, struct samples *all)
{
	printf(",\"%s_p50_us\":%.3f,\"%s_p99_us\":%.3f,\"%s_max_us\":%.3f", name,
	       (double)percentile(all->values, all->count, 50) / NS_PER_US, name,
	       (double)percentile(all->values, all->count, 99) / NS_PER_US, name,
	       (double)all->values[all->count - 1] / NS_PER_US);
}

int main(int argc, char **argv)
{
	int messengers, per, total;
	struct messenger *bosses;
	struct worker *workers;
	struct samples requests, wakeups;
	size_t least = SIZE_MAX;
	int64_t began, took;
	uint64_t seed;

	if (argc != 7)
		usage("MESSENGERS WORKERS WORK_US THINK_US MS SEED");
	messengers = (int)number(argv[1], 1, 256);
	per = (int)number(argv[2], 1, 256);
	work_mean_ns = number(argv[3], 1, 10000000) * NS_PER_US;
	think_ns = number(argv[4], 0, 10000000) * NS_PER_US;
	took = number(argv[5], 1, 3600000) * NS_PER_MS;
	seed = (uint64_t)number(argv[6], 0, INT64_MAX);
	total = messengers * per;
	bosses = calloc((size_t)messengers, sizeof(*bosses));
	workers = calloc((size_t)total, sizeof(*workers));
	if (!bosses || !workers)
		fail("memory");
	began = now_ns();
	end_ns = began + took;
	for (int i = 0; i < total; i++) {
		workers[i].boss = &bosses[i / per];
		workers[i].seed = next_random(&seed);
		if ((errno = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i])))
			fail("pthread_create");
	}
	for (int i = 0; i < messengers; i++) {
		bosses[i].first = &workers[i * per];
		bosses[i].workers = per;
		if ((errno = pthread_create(&bosses[i].thread, NULL, messenger_main, &bosses[i])))
			fail("pthread_create");
	}
	for (int i = 0; i < messengers; i++)
		pthread_join(bosses[i].thread, NULL);
	took = now_ns() - began;
	requests = merged(workers, total, 1);
	wakeups = merged(workers, total, 0);
	for (int i = 0; i < total; i++)
		least = workers[i].request.count < least ? workers[i].request.count : least;
	printf("{\"requests\":%zu,\"rps\":%.3f", requests.count,
	       (double)requests.count * NS_PER_S / (double)took);
	print_latency("request", &requests);
	print_latency("wakeup", &wakeups);
	printf(",\"fairness\":%.6f}\n", (double)least * total / (double)requests.count);
	finish();
	return 0;
}
