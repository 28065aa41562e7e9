/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads one sched_ext scheduler in a guest and stays until it is told to go, or until the kernel ends
 * the scheduler. It does what schedcpd/host/scheduler.py does, without Python, so that a small
 * initramfs can use it too.
 *
 *   scxload [OPTIONS] OBJECT.bpf.o
 *     --set NAME=VALUE     a tunable of the object, a number in .rodata or .data: decimal, hex, true
 *                          or false
 *     --intent DIR=CLASS   the cgroup at DIR wants CLASS (latency, interactive, normal, batch,
 *                          background); written before the scheduler starts
 *     --hint KIND:WHAT=US  a task will use US microseconds of CPU time in its life, if its thread id
 *                          (pid:N), its command (comm:NAME) or its cgroup (cgroup:DIR) is this one
 *     --ops NAME           refuse an object with other ops
 *     --background DIR     return as soon as the scheduler runs; DIR gets `pid` and `log`
 *   scxload --stop DIR     end the one in the background, print its log and its exit record
 *
 * It prints `attached ops=NAME ms=N` when the kernel's state is `enabled` with these ops, and at the
 * end `exit kind=N code=N reason=… message=…`, if the scheduler keeps an exit record.
 * Exit codes: 0 ended as asked; 1 an error, said on stderr; 3 the kernel ended the scheduler.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "intent.h"

#define MAX_OPTIONS 64
#define SCX	    "/sys/kernel/sched_ext/"
#define READY_MS    20000

enum { EXIT_ENDED_BY_KERNEL = 3 };

static const char *const CLASSES[INTENT_NR_CLASSES] = { "latency", "interactive", "normal", "batch",
							"background" };

/* enum wanted_flag -> the kernel's name */
static const char *const WANTED[] = {
	"SCX_OPS_ENQ_LAST",	     "SCX_OPS_ENQ_EXITING",	  "SCX_OPS_ENQ_MIGRATION_DISABLED",
	"SCX_OPS_HAS_CGROUP_WEIGHT", "SCX_OPS_KEEP_BUILTIN_IDLE", "SCX_OPS_ALLOW_QUEUED_WAKEUP",
};

struct options {
	const char *set[MAX_OPTIONS], *intent[MAX_OPTIONS], *hint[MAX_OPTIONS];
	int nr_set, nr_intent, nr_hint;
	const char *ops, *background, *object;
};

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("scxload: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static int print(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_DEBUG ? 0 : vfprintf(stderr, format, args);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void nap_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* The first line of a small file; empty if there is none. */
static const char *read_line(const char *path, char *buffer, size_t size)
{
	FILE *file = fopen(path, "r");

	buffer[0] = 0;
	if (file) {
		if (fgets(buffer, size, file))
			buffer[strcspn(buffer, "\n")] = 0;
		fclose(file);
	}
	return buffer;
}

/* Splits `NAME=VALUE` at the last `=`; the name is copied. */
static const char *split(const char *text, char *name, size_t size, const char *option)
{
	const char *at = strrchr(text, '=');

	if (!at || at == text || (size_t)(at - text) >= size)
		die("%s %s: NAME=VALUE is wanted", option, text);
	memcpy(name, text, at - text);
	name[at - text] = 0;
	return at + 1;
}

/* ------------------------------------------------------------------ BTF */

static const struct btf_type *strip(const struct btf *btf, __u32 id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	return type;
}

static const struct btf_type *find_struct(const struct btf *btf, const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	return id > 0 ? btf__type_by_id(btf, id) : NULL;
}

static const struct btf_member *find_member(const struct btf *btf, const struct btf_type *type,
					    const char *name)
{
	const struct btf_member *member = btf_members(type);

	for (int i = 0; i < btf_vlen(type); i++, member++)
		if (!strcmp(btf__name_by_offset(btf, member->name_off), name))
			return member;
	return NULL;
}

/* The value of `name` in the kernel's enum scx_ops_flags; 0 where the kernel has no such flag. */
static uint64_t kernel_flag(const struct btf *kernel, const char *name)
{
	int id = btf__find_by_name_kind(kernel, "scx_ops_flags", BTF_KIND_ENUM64);
	const struct btf_type *type;

	if (id > 0) {
		type = btf__type_by_id(kernel, id);
		for (int i = 0; i < btf_vlen(type); i++) {
			const struct btf_enum64 *e = btf_enum64(type) + i;

			if (!strcmp(btf__name_by_offset(kernel, e->name_off), name))
				return btf_enum64_value(e);
		}
		return 0;
	}
	id = btf__find_by_name_kind(kernel, "scx_ops_flags", BTF_KIND_ENUM);
	if (id <= 0)
		die("this kernel has no sched_ext");
	type = btf__type_by_id(kernel, id);
	for (int i = 0; i < btf_vlen(type); i++) {
		const struct btf_enum *e = btf_enum(type) + i;

		if (!strcmp(btf__name_by_offset(kernel, e->name_off), name))
			return e->val;
	}
	return 0;
}

/* ------------------------------------------------------------------ before the load */

static struct bpf_map *struct_ops(struct bpf_object *object)
{
	struct bpf_map *map, *found = NULL;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__type(map) != BPF_MAP_TYPE_STRUCT_OPS)
			continue;
		if (found)
			die("the object has more than one struct_ops");
		found = map;
	}
	if (!found)
		die("the object has no struct_ops");
	return found;
}

/* Address and size of a global number in the object's section; NULL if it has none of that name. */
static void *number_in(struct bpf_object *object, const char *section_name, const char *name,
		       __u32 *size, bool *is_bool)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map = bpf_object__find_map_by_name(object, section_name);
	int id = btf ? btf__find_by_name_kind(btf, section_name, BTF_KIND_DATASEC) : 0;
	const struct btf_type *section;
	size_t all;
	char *data;

	if (!map || id <= 0)
		return NULL;
	data = bpf_map__initial_value(map, &all);
	section = btf__type_by_id(btf, id);
	for (int i = 0; data && i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *info = btf_var_secinfos(section) + i;
		const struct btf_type *var = btf__type_by_id(btf, info->type), *type;

		if (strcmp(btf__name_by_offset(btf, var->name_off), name))
			continue;
		type = strip(btf, var->type);
		if (!type || !btf_is_int(type) || info->offset + info->size > all)
			return NULL;
		*size = info->size;
		*is_bool = btf_int_encoding(type) & BTF_INT_BOOL;
		return data + info->offset;
	}
	return NULL;
}

/* A tunable: a constant, or a variable that may also change while the scheduler runs. */
static void *constant(struct bpf_object *object, const char *name, __u32 *size, bool *is_bool)
{
	void *found = number_in(object, ".rodata", name, size, is_bool);

	return found ? found : number_in(object, ".data", name, size, is_bool);
}

static void set_constant(struct bpf_object *object, const char *option)
{
	char name[128], *end;
	const char *text = split(option, name, sizeof(name), "--set");
	bool is_bool = false, negative = text[0] == '-';
	uint64_t value;
	__u32 size = 0;
	void *at = constant(object, name, &size, &is_bool);

	if (!at)
		die("--set %s: the object has no number %s", option, name);
	if (!strcmp(text, "true") || !strcmp(text, "false")) {
		if (!is_bool)
			die("--set %s: %s is not a truth value", option, name);
		value = text[0] == 't';
	} else {
		errno = 0;
		value = negative ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
		if (errno || *end || end == text || (is_bool && value > 1))
			die("--set %s: not a number that fits", option);
	}
	if (size < 8) {
		int64_t as_signed = value, limit = 1LL << (8 * size - 1);

		if (negative ? as_signed < -limit : value >> (8 * size))
			die("--set %s: does not fit into %u bytes", option, size);
	}
	memcpy(at, &value, size); /* little-endian, as the guest is */
}

/* Drops ops this kernel does not know, adds the flags that the scheduler wants and it has. */
static void fit(struct bpf_object *object, const char *wanted_ops, char *ops_name, size_t name_size)
{
	const struct btf *btf = bpf_object__btf(object);
	struct btf *kernel = btf__load_vmlinux_btf();
	const struct btf_type *mine = btf ? find_struct(btf, "sched_ext_ops") : NULL, *theirs;
	const struct btf_member *member;
	char *data = bpf_map__initial_value(struct_ops(object), NULL);
	bool is_bool;
	uint32_t *wanted;
	__u32 size = 0;

	if (!kernel)
		die("this kernel has no BTF");
	theirs = find_struct(kernel, "sched_ext_ops");
	if (!mine || !theirs || !data)
		die("no sched_ext_ops in the object or in the kernel");
	member = btf_members(mine);
	for (int i = 0; i < btf_vlen(mine); i++, member++) {
		const char *name = btf__name_by_offset(btf, member->name_off);
		void **slot = (void **)(data + btf_member_bit_offset(mine, i) / 8);

		if (!btf_is_ptr(strip(btf, member->type)) || !*slot)
			continue;
		if (find_member(kernel, theirs, name))
			continue;
		bpf_program__set_autoload(*slot, false);
		*slot = NULL;
		printf("dropped %s, which this kernel does not know\n", name);
	}
	member = find_member(btf, mine, "name");
	snprintf(ops_name, name_size, "%s", data + member->offset / 8);
	if (wanted_ops && strcmp(wanted_ops, ops_name))
		die("the object's ops are %s, not %s", ops_name, wanted_ops);
	member = find_member(btf, mine, "flags");
	wanted = constant(object, "wanted_flags", &size, &is_bool);
	for (unsigned int i = 0; wanted && i < sizeof(WANTED) / sizeof(*WANTED); i++)
		if (*wanted >> i & 1)
			*(uint64_t *)(data + member->offset / 8) |= kernel_flag(kernel, WANTED[i]);
	btf__free(kernel);
}

/* ------------------------------------------------------------------ after the load */

static void write_intent(struct bpf_object *object, const char *option)
{
	char path[4096];
	const char *class_name = split(option, path, sizeof(path), "--intent");
	int map = bpf_object__find_map_fd_by_name(object, "intents");
	int generation = bpf_object__find_map_fd_by_name(object, "intents_generation");
	struct bpf_map *stats = bpf_object__find_map_by_name(object, "cgroup_stats");
	uint32_t class = 0, zero = 0;
	struct stat status;
	uint64_t id, count;

	while (class < INTENT_NR_CLASSES && strcmp(CLASSES[class], class_name))
		class++;
	if (class == INTENT_NR_CLASSES)
		die("--intent %s: there is no class %s", option, class_name);
	if (map < 0 || generation < 0)
		die("--intent %s: the object has no map of intents", option);
	if (stat(path, &status))
		die("--intent %s: %s", option, strerror(errno));
	id = status.st_ino; /* the kernfs id, on a 64-bit kernel */
	if (stats) {
		size_t each = (bpf_map__value_size(stats) + 7) & ~7U;
		void *nothing = calloc(libbpf_num_possible_cpus(), each);

		if (bpf_map_update_elem(bpf_map__fd(stats), &id, nothing, BPF_NOEXIST) &&
		    errno != EEXIST)
			die("--intent %s: cgroup_stats: %s", option, strerror(errno));
		free(nothing);
	}
	if (bpf_map_update_elem(map, &id, &class, BPF_ANY) ||
	    bpf_map_lookup_elem(generation, &zero, &count))
		die("--intent %s: %s", option, strerror(errno));
	count++;
	bpf_map_update_elem(generation, &zero, &count, BPF_ANY);
}

/* KIND:WHAT=US, into the maps of bpf/include/schedcp_hints.bpf.h. */
static void write_hint(struct bpf_object *object, const char *option)
{
	char what[4096], map_name[4112], comm[16] = {};
	uint64_t work_us = strtoull(split(option, what, sizeof(what), "--hint"), NULL, 0), count;
	int map, generation = bpf_object__find_map_fd_by_name(object, "hints_generation");
	uint32_t pid, zero = 0;
	const void *key = NULL;
	struct stat status;
	char *name = strchr(what, ':');

	if (!name || !work_us)
		die("--hint %s: KIND:WHAT=MICROSECONDS is wanted", option);
	*name++ = 0;
	if (!strcmp(what, "pid")) {
		pid = (uint32_t)strtoul(name, NULL, 10);
		key = &pid;
	} else if (!strcmp(what, "comm")) {
		memcpy(comm, name, strnlen(name, sizeof(comm) - 1));
		key = comm;
	} else if (!strcmp(what, "cgroup")) {
		if (stat(name, &status))
			die("--hint %s: %s", option, strerror(errno));
		key = &status.st_ino;
	}
	snprintf(map_name, sizeof(map_name), "hints_%s", what);
	map = key ? bpf_object__find_map_fd_by_name(object, map_name) : -1;
	if (map < 0 || generation < 0)
		die("--hint %s: the object has no hints by %s", option, what);
	if (bpf_map_update_elem(map, key, &work_us, BPF_ANY) ||
	    bpf_map_lookup_elem(generation, &zero, &count))
		die("--hint %s: %s", option, strerror(errno));
	count++;
	bpf_map_update_elem(generation, &zero, &count, BPF_ANY);
}

/* Prints the exit record. False: the scheduler has not been ended, or keeps none. */
static bool print_exit(struct bpf_object *object)
{
	int map = bpf_object__find_map_fd_by_name(object, "exit_record");
	struct exit_record record = {};
	uint32_t zero = 0;

	if (map < 0 || bpf_map_lookup_elem(map, &zero, &record) || !record.kind)
		return false;
	printf("exit kind=%llu code=%lld reason=%.*s message=%.*s\n", record.kind, record.code,
	       EXIT_REASON_LEN, record.reason, EXIT_MSG_LEN, record.msg);
	fflush(stdout);
	return true;
}

/* The state is `enabled`, the ops are ours, ops.exit() has not been called: or it dies. */
static void prove_running(struct bpf_object *object, const char *ops_name)
{
	int64_t deadline = now_ms() + READY_MS;
	char state[64], ops[256];

	for (;; nap_ms(1)) {
		read_line(SCX "state", state, sizeof(state));
		read_line(SCX "root/ops", ops, sizeof(ops));
		if (print_exit(object))
			die("the kernel ended %s at once", ops_name);
		if (!strcmp(state, "enabled") && !strcmp(ops, ops_name))
			return;
		if (!strcmp(state, "disabled") || now_ms() > deadline)
			die("%s was attached, but the kernel's state is %s, ops %s", ops_name,
			    state, ops);
	}
}

/* ------------------------------------------------------------------ life */

static volatile sig_atomic_t told_to_end;

static void on_signal(int signal)
{
	told_to_end = signal;
}

/* Until a signal, or until the scheduler has ended. Returns the exit code. */
static int stay(struct bpf_object *object, struct bpf_link *link)
{
	struct pollfd wake = { bpf_object__find_map_fd_by_name(object, "exit_wake"), POLLIN, 0 };
	struct timespec second = { 1, 0 };
	sigset_t open;
	char state[64];

	sigemptyset(&open);
	while (!told_to_end) {
		int ready = ppoll(&wake, wake.fd >= 0, wake.fd >= 0 ? NULL : &second, &open);

		if (ready < 0)
			continue;
		if (ready > 0 && print_exit(object))
			return EXIT_ENDED_BY_KERNEL;
		if (!strcmp(read_line(SCX "state", state, sizeof(state)), "disabled")) {
			print_exit(object);
			return EXIT_ENDED_BY_KERNEL;
		}
	}
	bpf_link__destroy(link);
	print_exit(object);
	return 0;
}

static void go_background(const char *folder)
{
	char path[4096];
	FILE *file;
	pid_t pid = fork();
	int log;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid > 0) {
		snprintf(path, sizeof(path), "%s/pid", folder);
		file = fopen(path, "w");
		if (!file || fprintf(file, "%d\n", pid) < 0 || fclose(file)) {
			kill(pid, SIGTERM);
			die("%s: %s", path, strerror(errno));
		}
		exit(0);
	}
	setsid();
	snprintf(path, sizeof(path), "%s/log", folder);
	log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (log < 0)
		die("%s: %s", path, strerror(errno));
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	close(log);
}

/* Ends the one in the background. Its log's last line is its exit code. */
static int stop(const char *folder)
{
	char path[4096], line[2048];
	int64_t deadline = now_ms() + READY_MS;
	int code = 1;
	FILE *log;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/pid", folder);
	pid = atoi(read_line(path, line, sizeof(line)));
	if (pid <= 0)
		die("%s has no process id", path);
	if (kill(pid, SIGTERM) && errno != ESRCH)
		die("process %d: %s", pid, strerror(errno));
	while (!kill(pid, 0)) {
		/* A zombie without a reaper has ended, too. */
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (strstr(read_line(path, line, sizeof(line)), ") Z "))
			break;
		if (now_ms() > deadline)
			die("process %d does not end", pid);
		nap_ms(1);
	}
	snprintf(path, sizeof(path), "%s/log", folder);
	log = fopen(path, "r");
	while (log && fgets(line, sizeof(line), log))
		if (sscanf(line, "ended %d", &code) != 1)
			fputs(line, stdout);
	if (log)
		fclose(log);
	unlink(path);
	return code;
}

static struct options parse(int argc, char **argv)
{
	static const struct option LONG[] = {
		{ "set", required_argument, NULL, 's' },
		{ "intent", required_argument, NULL, 'i' },
		{ "hint", required_argument, NULL, 'h' },
		{ "ops", required_argument, NULL, 'o' },
		{ "background", required_argument, NULL, 'b' },
		{ "stop", required_argument, NULL, 'x' },
		{},
	};
	struct options options = {};
	int option;

	while ((option = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
		if (options.nr_set == MAX_OPTIONS || options.nr_intent == MAX_OPTIONS ||
		    options.nr_hint == MAX_OPTIONS)
			die("more than %d --set, --intent or --hint", MAX_OPTIONS - 1);
		switch (option) {
		case 's': options.set[options.nr_set++] = optarg; break;
		case 'i': options.intent[options.nr_intent++] = optarg; break;
		case 'h': options.hint[options.nr_hint++] = optarg; break;
		case 'o': options.ops = optarg; break;
		case 'b': options.background = optarg; break;
		case 'x': exit(stop(optarg));
		default:
			die("usage: scxload [--set N=V] [--intent DIR=CLASS] [--hint KIND:WHAT=US] "
			    "[--ops NAME] [--background DIR] OBJECT | --stop DIR");
		}
	}
	if (optind != argc - 1)
		die("one object is wanted");
	options.object = argv[optind];
	return options;
}

int main(int argc, char **argv)
{
	struct options options = parse(argc, argv);
	struct sigaction action = { .sa_handler = on_signal };
	struct bpf_object *object;
	struct bpf_link *link;
	int64_t began = now_ms();
	char ops_name[256];
	sigset_t blocked;
	int code;

	libbpf_set_print(print);
	object = bpf_object__open_file(options.object, NULL);
	if (!object)
		die("%s: %s", options.object, strerror(errno));
	for (int i = 0; i < options.nr_set; i++)
		set_constant(object, options.set[i]);
	fit(object, options.ops, ops_name, sizeof(ops_name));
	if (bpf_object__load(object))
		die("the kernel refused %s: %s", options.object, strerror(errno));
	for (int i = 0; i < options.nr_intent; i++)
		write_intent(object, options.intent[i]);
	for (int i = 0; i < options.nr_hint; i++)
		write_hint(object, options.hint[i]);
	link = bpf_map__attach_struct_ops(struct_ops(object));
	if (!link)
		die("attach: %s", strerror(errno));
	prove_running(object, ops_name);
	printf("attached ops=%s ms=%lld\n", ops_name, (long long)(now_ms() - began));
	fflush(stdout);

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, NULL); /* they arrive in ppoll() only */
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	if (options.background)
		go_background(options.background);
	code = stay(object, link);
	if (options.background)
		printf("ended %d\n", code);
	return code;
}
