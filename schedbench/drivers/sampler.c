/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at the machine while a sample runs, without weighing on it: a few small files, read with a
 * real-time priority so that no sched_ext scheduler can keep it from looking.
 *
 *   sampler PERIOD_MS OUT
 *
 * OUT gets, for each look, `t NS` (monotonic) and a line for each value, all in one write:
 *   psi.cpu US, psi.memory US     /proc/pressure/X, "some total"
 *   psi.cpu.PART US               cpu.pressure of the part's cgroup, "some total"
 *   run_delay NS                  all CPUs' time of waiting to run (/proc/schedstat, field 8)
 *   switches N, busy TICKS        /proc/stat: context switches; time not idle, of all CPUs
 *   enabled 0|1                   /sys/kernel/sched_ext/state
 *   scx.EVENT N                   /sys/kernel/sched_ext/root/events
 * Everything but `enabled` counts up. It runs until it is killed.
 */
#include "driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>

#define PARTS "/run/schedbench/parts"
#define SCX   "/sys/kernel/sched_ext/"

static char out[1 << 16];
static size_t used;

static void put(const char *name, unsigned long long value)
{
	int n = snprintf(out + used, sizeof(out) - used, "%s %llu\n", name, value);

	if (n > 0 && (size_t)n < sizeof(out) - used)
		used += (size_t)n;
}

/* The start of a file as text; 0 if it cannot be read. */
static int slurp(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n;

	if (fd < 0)
		return 0;
	while (got < size - 1 && (n = read(fd, buffer + got, size - 1 - got)) > 0)
		got += (size_t)n;
	close(fd);
	buffer[got] = 0;
	return got > 0;
}

static void pressure(const char *name, const char *path)
{
	char text[512];
	char *total;

	if (!slurp(path, text, sizeof(text)))
		return;
	total = strstr(text, "total=");
	if (total)
		put(name, strtoull(total + 6, NULL, 10));
}

static void parts(void)
{
	DIR *folder = opendir(PARTS);
	struct dirent *entry;
	char name[300], path[400];

	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "psi.cpu.%s", entry->d_name);
		snprintf(path, sizeof(path), PARTS "/%s/cpu.pressure", entry->d_name);
		pressure(name, path);
	}
	closedir(folder);
}

static void waits(void)
{
	static char text[1 << 18];
	unsigned long long all = 0;

	if (!slurp("/proc/schedstat", text, sizeof(text)))
		return;
	for (char *line = text; line; line = strchr(line, '\n')) {
		unsigned long long delay;

		line += *line == '\n';
		if (sscanf(line, "cpu%*u %*u %*u %*u %*u %*u %*u %*u %llu", &delay) == 1)
			all += delay;
	}
	put("run_delay", all);
}

static void cpus(void)
{
	static char text[1 << 18];
	unsigned long long user, nice, system, irq, softirq;
	char *switches;

	if (!slurp("/proc/stat", text, sizeof(text)))
		return;
	if (sscanf(text, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &irq,
		   &softirq) == 5)
		put("busy", user + nice + system + irq + softirq);
	switches = strstr(text, "\nctxt ");
	if (switches)
		put("switches", strtoull(switches + 6, NULL, 10));
}

static void scheduler(void)
{
	char text[1 << 14], name[300], event[200];
	unsigned long long value;
	int length;

	if (slurp(SCX "state", text, sizeof(text)))
		put("enabled", !strncmp(text, "enabled", 7));
	if (!slurp(SCX "root/events", text, sizeof(text)))
		return;
	for (char *at = text; sscanf(at, "%199s %llu%n", event, &value, &length) == 2;
	     at += length) {
		snprintf(name, sizeof(name), "scx.%s", event);
		put(name, value);
	}
}

int main(int argc, char **argv)
{
	struct sched_param priority = { .sched_priority = 1 };
	struct timespec next;
	long period;
	int fd;

	if (argc != 3 || (period = strtol(argv[1], NULL, 10)) < 10)
		usage("PERIOD_MS OUT");
	fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		fail(argv[2]);
	if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0)
		fail("sched_setscheduler");
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		used = 0;
		put("t", (unsigned long long)now_ns());
		pressure("psi.cpu", "/proc/pressure/cpu");
		pressure("psi.memory", "/proc/pressure/memory");
		parts();
		waits();
		cpus();
		scheduler();
		for (size_t done = 0; done < used;) {
			ssize_t n = write(fd, out + done, used - done);

			if (n <= 0)
				fail("write");
			done += (size_t)n;
		}
		next.tv_nsec += period % 1000 * 1000000;
		next.tv_sec += period / 1000 + next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}
