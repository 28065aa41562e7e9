/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of hogs that want all CPUs, and how the CPUs were shared among them.
 *
 *   hogs MS SEED FOLDER:WEIGHT:THREADS...
 *
 * Each group is a process in the cgroup FOLDER with THREADS threads that never sleep, all from the
 * same moment on, for MS milliseconds. The seed draws the order in which the groups begin, and how
 * much each thread has used before that moment. WEIGHT is what the group should count for; the cgroup's own
 * cpu.weight is not touched. A group must have at least as many threads as CPUs are its due, else
 * it cannot use its share.
 *
 * JSON: jain (Jain's index of what the threads got, each by its due; 1 is even), kept_percent (of
 * the group whose share is farthest from its due: the smaller of both by the larger), least_percent
 * (the share of the CPU time that the least served group had), cpus (all CPU time by the time).
 */
#include "driver.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define MAX_GROUPS  16
#define MAX_THREADS 64
#define BEFORE_US   20000

struct thread {
	int64_t before_ns, got_ns;
};

struct group {
	const char *folder;
	int64_t weight;
	int nr_threads;
	struct thread threads[MAX_THREADS];
};

static struct {
	pthread_barrier_t all; /* once when every thread runs, once more when the time counts */
	int64_t end_ns;
	struct group groups[MAX_GROUPS];
} *shared;

static void *spin(void *argument)
{
	struct thread *self = argument;
	int64_t began;

	work_ns(self->before_ns);
	pthread_barrier_wait(&shared->all);
	pthread_barrier_wait(&shared->all);
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	while (now_ns() < shared->end_ns)
		for (int i = 0; i < 1000; i++)
			__asm__ volatile("" ::: "memory");
	self->got_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
	return NULL;
}

static void join_cgroup(const char *folder)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail(path);
	close(fd);
}

static void __attribute__((noreturn)) child(struct group *group)
{
	pthread_t threads[MAX_THREADS];

	join_cgroup(group->folder);
	for (int i = 0; i < group->nr_threads; i++)
		if ((errno = pthread_create(&threads[i], NULL, spin, &group->threads[i])))
			fail("pthread_create");
	for (int i = 0; i < group->nr_threads; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static void read_group(struct group *group, char *argument, uint64_t *seed)
{
	char *weight = strchr(argument, ':'), *threads = weight ? strchr(weight + 1, ':') : NULL;

	if (!threads)
		usage("MS SEED FOLDER:WEIGHT:THREADS...");
	*weight = *threads = 0;
	group->folder = argument;
	group->weight = number(weight + 1, 1, 10000);
	group->nr_threads = (int)number(threads + 1, 1, MAX_THREADS);
	for (int i = 0; i < group->nr_threads; i++)
		group->threads[i].before_ns = (int64_t)random_below(seed, BEFORE_US) * NS_PER_US;
}

static void make_barrier(int threads)
{
	pthread_barrierattr_t attributes;

	if (pthread_barrierattr_init(&attributes) ||
	    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) ||
	    pthread_barrier_init(&shared->all, &attributes, (unsigned int)threads + 1))
		fail("pthread_barrier_init");
}

static void print(int groups, int threads, int64_t wall)
{
	double all = 0, weights = 0, sum = 0, squares = 0, kept = 1, least = 1;

	for (int g = 0; g < groups; g++) {
		weights += (double)shared->groups[g].weight;
		for (int i = 0; i < shared->groups[g].nr_threads; i++)
			all += (double)shared->groups[g].threads[i].got_ns;
	}
	for (int g = 0; g < groups; g++) {
		struct group *group = &shared->groups[g];
		double due = all * (double)group->weight / weights, got = 0;

		for (int i = 0; i < group->nr_threads; i++) {
			double part = (double)group->threads[i].got_ns * group->nr_threads / due;

			got += (double)group->threads[i].got_ns;
			sum += part;
			squares += part * part;
		}
		kept = fmin(kept, fmin(got / due, due / fmax(got, 1)));
		least = fmin(least, got / all);
	}
	printf("{\"jain\":%.6f,\"kept_percent\":%.4f,\"least_percent\":%.4f,\"cpus\":%.6f,\"shares\":[",
	       sum * sum / (threads * squares), kept * 100, least * 100, all / (double)wall);
	for (int g = 0; g < groups; g++) {
		double got = 0;

		for (int i = 0; i < shared->groups[g].nr_threads; i++)
			got += (double)shared->groups[g].threads[i].got_ns;
		printf("%s%.6f", g ? "," : "", got / all);
	}
	printf("]}\n");
}

int main(int argc, char **argv)
{
	int groups = argc - 3, threads = 0, first, status;
	int64_t ms, began;
	uint64_t seed;

	if (groups < 1 || groups > MAX_GROUPS)
		usage("MS SEED FOLDER:WEIGHT:THREADS...");
	ms = number(argv[1], 1, 3600000);
	seed = (uint64_t)number(argv[2], 0, INT64_MAX);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		fail("memory");
	for (int g = 0; g < groups; g++) {
		read_group(&shared->groups[g], argv[g + 3], &seed);
		threads += shared->groups[g].nr_threads;
	}
	make_barrier(threads);
	first = (int)random_below(&seed, (uint64_t)groups);
	for (int g = 0; g < groups; g++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0)
			child(&shared->groups[(first + g) % groups]);
	}
	pthread_barrier_wait(&shared->all);
	began = now_ns();
	shared->end_ns = began + ms * NS_PER_MS;
	pthread_barrier_wait(&shared->all);
	for (int g = 0; g < groups; g++)
		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "hogs: a group failed\n");
			return 1;
		}
	print(groups, threads, now_ns() - began);
	finish();
	return 0;
}
