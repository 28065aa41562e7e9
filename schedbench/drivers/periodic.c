/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Periodic tasks, as an audio or control loop is.
 *
 *   periodic TASKS PERIOD_US WORK_US MS SEED
 *
 * Each of TASKS threads wakes at fixed times, PERIOD_US apart (the seed draws each thread's
 * phase), and uses WORK_US of CPU time. A job that ends after its period's end is a miss. The jobs
 * whose whole period has passed meanwhile are skipped: misses too, and as late as the moment at
 * which they were skipped, so that starving a task cannot improve its latency.
 *
 * JSON: wakeup latency (from the due time to running; p50, p99, max) and slack_p1_us (what was left
 * of the period at the job's end, plus one period so that it stays positive: the worst percent),
 * done_percent (jobs that met their deadline), jobs.
 */
#include "driver.h"

#include <pthread.h>
#include <sys/prctl.h>

struct task {
	pthread_t thread;
	int64_t first_ns, *late, *slack;
	size_t jobs, met;
};

static int64_t period_ns, task_work_ns, end_ns;

static void *task_main(void *argument)
{
	struct task *self = argument;

	prctl(PR_SET_TIMERSLACK, 1UL);
	for (int64_t due = self->first_ns; due + period_ns <= end_ns; due += period_ns) {
		int64_t began;

		sleep_until(due);
		began = now_ns();
		self->late[self->jobs] = began - due;
		self->slack[self->jobs] = 1;
		if (began < due + period_ns) {
			int64_t slack;

			work_ns(task_work_ns);
			slack = due + period_ns - now_ns();
			self->met += slack >= 0;
			self->slack[self->jobs] = slack < -period_ns ? 1 : slack + period_ns;
		}
		self->jobs++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t room, jobs = 0, met = 0;
	int64_t *late, *slack, began;
	struct task *tasks;
	uint64_t seed;
	int count;

	if (argc != 6)
		usage("TASKS PERIOD_US WORK_US MS SEED");
	count = (int)number(argv[1], 1, 256);
	period_ns = number(argv[2], 100, 10000000) * NS_PER_US;
	task_work_ns = number(argv[3], 1, 10000000) * NS_PER_US;
	end_ns = number(argv[4], 1, 3600000) * NS_PER_MS;
	seed = (uint64_t)number(argv[5], 0, INT64_MAX);
	room = (size_t)(end_ns / period_ns) + 2;
	tasks = calloc((size_t)count, sizeof(*tasks));
	late = calloc(room * (size_t)count, sizeof(*late));
	slack = calloc(room * (size_t)count, sizeof(*slack));
	if (!tasks || !late || !slack)
		fail("memory");
	began = now_ns() + 20 * NS_PER_MS;
	end_ns += began;
	for (int i = 0; i < count; i++) {
		tasks[i].first_ns = began + (int64_t)random_below(&seed, (uint64_t)period_ns);
		tasks[i].late = late + room * (size_t)i;
		tasks[i].slack = slack + room * (size_t)i;
		if ((errno = pthread_create(&tasks[i].thread, NULL, task_main, &tasks[i])))
			fail("pthread_create");
	}
	for (int i = 0; i < count; i++) {
		pthread_join(tasks[i].thread, NULL);
		memmove(late + jobs, tasks[i].late, tasks[i].jobs * sizeof(*late));
		memmove(slack + jobs, tasks[i].slack, tasks[i].jobs * sizeof(*slack));
		jobs += tasks[i].jobs;
		met += tasks[i].met;
	}
	if (!jobs) {
		fprintf(stderr, "periodic: no job ran\n");
		return 1;
	}
	sort_int64(late, jobs);
	sort_int64(slack, jobs);
	printf("{\"jobs\":%zu,\"wakeup_p50_us\":%.3f,\"wakeup_p99_us\":%.3f,"
	       "\"wakeup_max_us\":%.3f,\"slack_p1_us\":%.3f,\"done_percent\":%.4f}\n",
	       jobs, (double)percentile(late, jobs, 50) / NS_PER_US,
	       (double)percentile(late, jobs, 99) / NS_PER_US, (double)late[jobs - 1] / NS_PER_US,
	       (double)percentile(slack, jobs, 1) / NS_PER_US, 100.0 * (double)met / (double)jobs);
	finish();
	return 0;
}
