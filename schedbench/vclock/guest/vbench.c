/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof's workloads: one line of figures each, in nanoseconds of the guest's monotonic clock.
 *
 *   vbench par TASKS MINSN            TASKS processes of MINSN million instructions each: makespan
 *   vbench pinned TASKS MINSN         the same, each bound to a CPU of its own: makespan, without
 *                                     what the scheduler's placement adds
 *   vbench longtail SHORTS MINSN LONG last|first
 *                                     SHORTS processes of MINSN beside one of LONG million
 *                                     instructions, which starts last at the same priority, or
 *                                     first at nice -20: makespan
 *   vbench sleep MS                   one sleep: its length
 *   vbench wake COUNT US              COUNT sleeps of US microseconds: how late, mean and worst
 *   vbench pingpong COUNT CPU_A CPU_B round trips between two processes over pipes: the mean
 *   vbench rate COUNT                 COUNT runs of a million instructions: mean, best, worst
 *   vbench soak SECONDS TASKS         TASKS processes that compute and sleep in turn for SECONDS:
 *                                     how many rounds each did
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "vbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_MONOTONIC, &t))
		fail("clock_gettime");
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_ns(int64_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

/* Exactly `kinsn` thousand instructions, but for a handful. */
static void compute_k(int64_t kinsn)
{
	int64_t rounds = kinsn * 1000 / 4;

	__asm__ volatile("1: lea 1(%0), %0\n\t"
			 "lea -2(%0), %0\n\t"
			 "test %0, %0\n\t"
			 "jnz 1b"
			 : "+r"(rounds)
			 :
			 : "cc");
}

static void compute(int64_t minsn)
{
	compute_k(minsn * 1000);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

/* A child that computes and ends; on CPU `cpu`, unless that is negative. */
static void spawn(int64_t minsn, int nice_value, int cpu)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	if (pid > 0)
		return;
	if (cpu >= 0)
		pin(cpu);
	if (nice_value && setpriority(PRIO_PROCESS, 0, nice_value))
		fail("setpriority");
	compute(minsn);
	_exit(0);
}

static void wait_all(void)
{
	int status;

	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status)) {
			fprintf(stderr, "vbench: a task failed\n");
			exit(1);
		}
}

/* From before the first fork to the end of the last task. */
static int64_t makespan(int shorts, int64_t minsn, int64_t long_minsn, int long_first, int pinned)
{
	int64_t began = now_ns();

	if (long_minsn && long_first)
		spawn(long_minsn, -20, -1);
	for (int i = 0; i < shorts; i++)
		spawn(minsn, 0, pinned ? i : -1);
	if (long_minsn && !long_first)
		spawn(long_minsn, 0, -1);
	wait_all();
	return now_ns() - began;
}

static void wake(int count, int64_t us)
{
	int64_t sum = 0, worst = 0;

	for (int i = 0; i < count; i++) {
		int64_t began = now_ns(), late;

		sleep_ns(us * 1000);
		late = now_ns() - began - us * 1000;
		sum += late;
		worst = late > worst ? late : worst;
	}
	printf("wake count=%d us=%lld mean_late=%lld worst_late=%lld\n", count, (long long)us,
	       (long long)(sum / count), (long long)worst);
}

static void pingpong(int count, int cpu_a, int cpu_b)
{
	int there[2], back[2];
	char byte = 0;
	int64_t began;

	if (pipe(there) || pipe(back))
		fail("pipe");
	if (fork() == 0) {
		pin(cpu_b);
		for (int i = 0; i < count; i++)
			if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
				fail("pingpong");
		_exit(0);
	}
	pin(cpu_a);
	sleep_ns(10000000);
	began = now_ns();
	for (int i = 0; i < count; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			fail("pingpong");
	printf("pingpong count=%d cpus=%d,%d mean=%lld\n", count, cpu_a, cpu_b,
	       (long long)((now_ns() - began) / count));
	wait_all();
}

static void rate(int count)
{
	int64_t sum = 0, best = INT64_MAX, worst = 0;

	for (int i = 0; i < count; i++) {
		int64_t began = now_ns(), took;

		compute(1);
		took = now_ns() - began;
		sum += took;
		best = took < best ? took : best;
		worst = took > worst ? took : worst;
	}
	printf("rate count=%d mean=%lld best=%lld worst=%lld\n", count, (long long)(sum / count),
	       (long long)best, (long long)worst);
}

/* Task i computes i % 5 + 1 tenths of a million instructions, then sleeps i % 7 + 1 ms. */
static void soak(int seconds, int tasks)
{
	int64_t *rounds = mmap(NULL, sizeof(int64_t) * (size_t)tasks, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int64_t until = now_ns() + seconds * 1000000000LL;

	if (rounds == MAP_FAILED)
		fail("mmap");
	for (int i = 0; i < tasks; i++)
		if (fork() == 0) {
			while (now_ns() < until) {
				compute_k((i % 5 + 1) * 100);
				sleep_ns((i % 7 + 1) * 1000000);
				rounds[i]++;
			}
			_exit(0);
		}
	wait_all();
	printf("soak seconds=%d tasks=%d rounds=", seconds, tasks);
	for (int i = 0; i < tasks; i++)
		printf("%s%lld", i ? "," : "", (long long)rounds[i]);
	printf("\n");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int a = argc > 2 ? atoi(argv[2]) : 0, b = argc > 3 ? atoi(argv[3]) : 0;
	int c = argc > 4 ? atoi(argv[4]) : 0;

	if ((!strcmp(what, "par") || !strcmp(what, "pinned")) && argc == 4) {
		printf("%s tasks=%d minsn=%d makespan=%lld\n", what, a, b,
		       (long long)makespan(a, b, 0, 0, !strcmp(what, "pinned")));
	} else if (!strcmp(what, "longtail") && argc == 6) {
		int first = !strcmp(argv[5], "first");

		printf("longtail shorts=%d minsn=%d long=%d order=%s makespan=%lld\n", a, b, c,
		       first ? "first" : "last", (long long)makespan(a, b, c, first, 0));
	} else if (!strcmp(what, "sleep") && argc == 3) {
		int64_t began = now_ns();

		sleep_ns(a * 1000000LL);
		printf("sleep ms=%d took=%lld\n", a, (long long)(now_ns() - began));
	} else if (!strcmp(what, "wake") && argc == 4) {
		wake(a, b);
	} else if (!strcmp(what, "pingpong") && argc == 5) {
		pingpong(a, b, c);
	} else if (!strcmp(what, "rate") && argc == 3) {
		rate(a);
	} else if (!strcmp(what, "soak") && argc == 4) {
		soak(a, b);
	} else {
		fprintf(stderr, "vbench: see the head of vbench.c for its commands\n");
		return 2;
	}
	return 0;
}
