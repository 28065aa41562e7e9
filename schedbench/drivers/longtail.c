/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long-tail batch: many short tasks and one long, all ready at once.
 *
 *   longtail SHORTS SHORT_MS LONG_MS SEED [FOLDER]
 *
 * Every task is a process that uses a fixed amount of CPU time. The seed draws each task's name and
 * share (within 20%), and the long one's place in the order, so that neither a name nor a place
 * gives it away; the totals of CPU time are as given, whatever the seed. A scheduler that
 * leaves the long task for last pays with the makespan; one that runs only it pays with the shorts.
 *
 * The long one goes into the cgroup FOLDER, for schedulers that are told of it by its cgroup.
 *
 * JSON: makespan_ms (first start to last end), mean_ms and short_p99_ms (start of all to the end of
 * a task: of all tasks, of the shorts), long_ms, cpu_ms (what the work used), over_bound (makespan
 * by the least possible, which is the longest task or the work of all by the CPUs), tasks.
 */
#include "driver.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct task {
	char name[16];
	int64_t work_ns;
	int64_t ended_ns;
	int64_t cpu_ns;
	int is_long;
};

struct shared {
	int64_t began_ns;
	struct task tasks[];
};

static void draw_name(uint64_t *seed, char *name)
{
	size_t length = 4 + random_below(seed, 10);

	for (size_t i = 0; i < length; i++)
		name[i] = (char)('a' + random_below(seed, 26));
	name[length] = 0;
}

/* The shares: even but for the jitter, their sum exact. */
static void draw(struct task *tasks, int shorts, int64_t short_ns, int64_t long_ns, uint64_t *seed)
{
	int count = shorts + 1, the_long = (int)random_below(seed, (uint64_t)count);
	int64_t left = shorts * short_ns;
	int remaining = shorts;

	for (int i = 0; i < count; i++) {
		draw_name(seed, tasks[i].name);
		tasks[i].is_long = i == the_long;
		if (tasks[i].is_long) {
			tasks[i].work_ns = long_ns;
			continue;
		}
		tasks[i].work_ns = remaining == 1 ? left : jitter(seed, left / remaining, 20);
		left -= tasks[i].work_ns;
		remaining--;
	}
}

static void move_to(const char *folder, pid_t pid)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%d", (int)pid) < 0)
		fail(path);
	close(fd);
}

static void __attribute__((noreturn)) child(struct task *task, int gate)
{
	int64_t began;
	char byte;

	if (prctl(PR_SET_NAME, task->name))
		fail("prctl");
	if (read(gate, &byte, 1) != 0) /* until the parent opens it: end of file */
		fail("read");
	began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	work_ns(task->work_ns);
	task->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
	task->ended_ns = now_ns();
	_exit(0);
}

int main(int argc, char **argv)
{
	int64_t *all, *of_shorts, short_ns, long_ns, last = 0, long_end = 0, cpu = 0;
	int shorts, count, gate[2], n = 0, status;
	double bound;
	struct shared *shared;
	uint64_t seed;

	if (argc != 5 && argc != 6)
		usage("SHORTS SHORT_MS LONG_MS SEED [FOLDER]");
	shorts = (int)number(argv[1], 1, 10000);
	short_ns = number(argv[2], 1, 1000000) * NS_PER_MS;
	long_ns = number(argv[3], 1, 1000000) * NS_PER_MS;
	seed = (uint64_t)number(argv[4], 0, INT64_MAX);
	count = shorts + 1;
	shared = mmap(NULL, sizeof(*shared) + (size_t)count * sizeof(struct task),
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	all = calloc((size_t)count, sizeof(*all));
	of_shorts = calloc((size_t)count, sizeof(*of_shorts));
	if (shared == MAP_FAILED || !all || !of_shorts || pipe(gate))
		fail("memory or pipe");
	draw(shared->tasks, shorts, short_ns, long_ns, &seed);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			close(gate[1]);
			child(&shared->tasks[i], gate[0]);
		}
		if (argc == 6 && shared->tasks[i].is_long)
			move_to(argv[5], pid);
	}
	shared->began_ns = now_ns();
	close(gate[1]);
	for (int i = 0; i < count; i++) {
		if (wait(&status) < 0)
			fail("wait");
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "longtail: a task failed\n");
			return 1;
		}
	}
	for (int i = 0; i < count; i++) {
		struct task *task = &shared->tasks[i];

		all[i] = task->ended_ns - shared->began_ns;
		cpu += task->cpu_ns;
		last = all[i] > last ? all[i] : last;
		if (task->is_long)
			long_end = all[i];
		else
			of_shorts[n++] = all[i];
	}
	sort_int64(of_shorts, (size_t)n);
	bound = (double)(shorts * short_ns + long_ns) / (double)sysconf(_SC_NPROCESSORS_ONLN);
	bound = fmax(bound, (double)long_ns);
	printf("{\"tasks\":%d,\"makespan_ms\":%.6f,\"mean_ms\":%.6f,\"short_p99_ms\":%.6f,"
	       "\"long_ms\":%.6f,\"cpu_ms\":%.6f,\"over_bound\":%.6f}\n",
	       count, (double)last / NS_PER_MS, mean(all, (size_t)count) / NS_PER_MS,
	       (double)percentile(of_shorts, (size_t)n, 99) / NS_PER_MS,
	       (double)long_end / NS_PER_MS, (double)cpu / NS_PER_MS, (double)last / bound);
	finish();
	return 0;
}
