/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a scheduler and user space share: class numbers, map values, the exit record.
 *
 * User space finds a map by its name and reads the fields that it knows (schedcpd/host/scheduler.py),
 * so fields may be appended; names, order and meanings stay.
 */
#ifndef SCHEDCP_INTENT_H
#define SCHEDCP_INTENT_H

/* Map key `intents[].class`, and the DSQ of the class. schedcpd/model/infer.py: IntentClass.wire */
enum intent_class {
	INTENT_LATENCY = 0,
	INTENT_INTERACTIVE = 1,
	INTENT_NORMAL = 2,
	INTENT_BATCH = 3,
	INTENT_BACKGROUND = 4,
	INTENT_NR_CLASSES = 5,
};

enum intent_limits {
	INTENT_MAX_CGROUPS = 16384, /* entries in `intents` and in `cgroup_stats` */
	INTENT_MAX_DEPTH = 24,	    /* cgroups deeper than this use their 24 nearest ancestors */
	INTENT_HIST_BUCKETS = 64,   /* bucket n counts run delays in [2^n, 2^(n+1)) ns */
};

/* Value of map `intents`; the key is the cgroup's kernfs id on the default hierarchy. */
struct intent {
	__u32 class; /* enum intent_class */
};

/* Value of maps `class_stats` (by class) and `cgroup_stats` (by cgroup id), one for each CPU. */
struct intent_stats {
	__u64 runs;	   /* times a task was put on a CPU */
	__u64 preemptions; /* times a task lost its CPU while it still wanted it */
	__u64 run_ns;	   /* time on a CPU */
	__u64 delay_ns;	   /* time between wanting a CPU and getting one */
	__u64 delay_hist[INTENT_HIST_BUCKETS];
};

enum exit_limits {
	EXIT_REASON_LEN = 128,
	EXIT_MSG_LEN = 1024,
	EXIT_DUMP_LEN = 32768,
};

/* Value of map `exit_record`: struct scx_exit_info as of ops.exit(); kind 0 while running. */
struct exit_record {
	__u64 kind; /* enum scx_exit_kind */
	__s64 code;
	char reason[EXIT_REASON_LEN];
	char msg[EXIT_MSG_LEN];
};

/* Value of map `exit_dump`. */
struct exit_dump {
	char text[EXIT_DUMP_LEN];
};

/*
 * Bits of the constant `wanted_flags`: what a scheduler asks of the kernel where the kernel has it.
 * The loader turns each into the enum scx_ops_flags value of the same name, if BTF knows one.
 */
enum wanted_flag {
	WANT_ENQ_LAST = 1 << 0,
	WANT_ENQ_EXITING = 1 << 1,
	WANT_ENQ_MIGRATION_DISABLED = 1 << 2,
	WANT_HAS_CGROUP_WEIGHT = 1 << 3, /* 6.12 to 6.17; the kernel warns without it */
	WANT_KEEP_BUILTIN_IDLE = 1 << 4,
	WANT_ALLOW_QUEUED_WAKEUP = 1 << 5,
};

#endif
