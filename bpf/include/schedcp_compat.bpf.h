/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One spelling of the sched_ext kfuncs for kernels 6.12 to 7.3.
 *
 * A scheduler calls sc_*() and never asks for a kernel version: every kfunc is a weak ksym, every
 * type and enum value is asked of BTF, and the verifier removes the branches that do not apply.
 *
 *	6.13	dispatch -> dsq_insert, consume -> dsq_move_to_local, dispatch_from_dsq -> dsq_move
 *	6.15	scx_bpf_now()
 *	6.18	scx_bpf_cpu_curr() instead of scx_bpf_cpu_rq()
 *	6.19	dsq_insert returns bool (___v2); packed arguments for dsq_insert_vtime;
 *		scx_bpf_task_set_slice() instead of a store
 *	7.1	dsq_move_to_local takes enqueue flags (___v2); dsq_peek is reliable
 *
 * libbpf strips the last ___suffix of a ksym, so a kernel name that itself ends in ___v2 is
 * declared with one suffix more.
 */
#ifndef SCHEDCP_COMPAT_BPF_H
#define SCHEDCP_COMPAT_BPF_H

#define BPF_NO_KFUNC_PROTOTYPES
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#ifndef EINVAL
#define EINVAL 22
#define ENOMEM 12
#define E2BIG  7
#endif
#ifndef PF_EXITING
#define PF_EXITING 0x00000004
#endif
#ifndef PF_KTHREAD
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h: macros are not in BTF */
#endif

/* A tunable that user space may change while the scheduler runs: in .data, zero or not. */
#define SC_LIVE volatile SEC(".data")

/* An op. Sleepable ops may allocate and wait: init, exit, init_task, cgroup_init, cgroup_exit. */
#define SC_OP(name, args...)	       SEC("struct_ops/" #name) BPF_PROG(name, ##args)
#define SC_OP_SLEEPABLE(name, args...) SEC("struct_ops.s/" #name) BPF_PROG(name, ##args)

#define SC_ENUM(type, name)	       bpf_core_enum_value(enum type, name)
#define SC_KICK_IDLE		       SC_ENUM(scx_kick_flags, SCX_KICK_IDLE)
#define SC_KICK_PREEMPT		       SC_ENUM(scx_kick_flags, SCX_KICK_PREEMPT)
#define SC_WAKE_SYNC		       SC_ENUM(scx_wake_flags, SCX_WAKE_SYNC)
#define SC_ENQ_WAKEUP		       SC_ENUM(scx_enq_flags, SCX_ENQ_WAKEUP)
#define SC_ENQ_LAST		       SC_ENUM(scx_enq_flags, SCX_ENQ_LAST)
#define SC_ENQ_PREEMPT		       SC_ENUM(scx_enq_flags, SCX_ENQ_PREEMPT)
#define SC_TASK_QUEUED		       SC_ENUM(scx_ent_flags, SCX_TASK_QUEUED)
#define SC_DSQ_LOCAL		       SC_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL)
#define SC_DSQ_LOCAL_ON		       SC_ENUM(scx_dsq_id_flags, SCX_DSQ_LOCAL_ON)
#define SC_DSQ_ITER_REV		       SC_ENUM(scx_dsq_iter_flags, SCX_DSQ_ITER_REV)

/*
 * An index into an array of `places`, a power of two. Old verifiers do not learn the bounds of a
 * loop variable from a comparison, and the compiler drops a mask that it can prove needless.
 */
#define SC_INDEX(index, places)         \
	({                              \
		u32 _index = (index);   \
		barrier_var(_index);    \
		_index &((places) - 1); \
	})

/* The same on every kernel since 6.12. */
s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym;
s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags,
			   bool *is_idle) __ksym;
s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) __ksym;
void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;
s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
u32 scx_bpf_nr_cpu_ids(void) __ksym;
const struct cpumask *scx_bpf_get_idle_cpumask(void) __ksym;
void scx_bpf_put_idle_cpumask(const struct cpumask *mask) __ksym;
void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data_len) __ksym;
void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 data_len) __ksym;
bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym;
bool bpf_cpumask_empty(const struct cpumask *mask) __ksym;
u32 bpf_cpumask_first(const struct cpumask *mask) __ksym;
int bpf_iter_scx_dsq_new(struct bpf_iter_scx_dsq *it, u64 dsq_id, u64 flags) __ksym;
struct task_struct *bpf_iter_scx_dsq_next(struct bpf_iter_scx_dsq *it) __ksym;
void bpf_iter_scx_dsq_destroy(struct bpf_iter_scx_dsq *it) __ksym;

/* Formatted like printf, at most 12 arguments. sc_error() ends the scheduler with kind ERROR_BPF. */
#define SC_BSTR(call, fmt, args...)                                              \
	({                                                                       \
		static char _fmt[] = fmt;                                        \
		unsigned long long _args[___bpf_narg(args) ?: 1] = {};           \
		_Pragma("GCC diagnostic push")                                   \
			_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")   \
				___bpf_fill(_args, args);                        \
		_Pragma("GCC diagnostic pop")                                    \
			call(_fmt, _args, ___bpf_narg(args) * sizeof(_args[0])); \
	})
#define sc_error(fmt, args...) SC_BSTR(scx_bpf_error_bstr, fmt, ##args)
#define sc_dump(fmt, args...)  SC_BSTR(scx_bpf_dump_bstr, fmt, ##args)

/* ------------------------------------------------------------------ time */

u64 scx_bpf_now(void) __ksym __weak;

/* Nanoseconds of the CPU's rq clock where the kernel offers it (cheap), else CLOCK_MONOTONIC. */
static inline u64 sc_now(void)
{
	return bpf_ksym_exists(scx_bpf_now) ? scx_bpf_now() : bpf_ktime_get_ns();
}

/* ------------------------------------------------------------------ inserting */

bool scx_bpf_dsq_insert___v2___kernel(struct task_struct *p, u64 dsq_id, u64 slice,
				      u64 enq_flags) __ksym __weak;
void scx_bpf_dsq_insert___v1(struct task_struct *p, u64 dsq_id, u64 slice,
			     u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags) __ksym __weak;

static inline void sc_insert(struct task_struct *p, u64 dsq_id, u64 slice, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert___v2___kernel))
		scx_bpf_dsq_insert___v2___kernel(p, dsq_id, slice, enq_flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert___v1))
		scx_bpf_dsq_insert___v1(p, dsq_id, slice, enq_flags);
	else
		scx_bpf_dispatch(p, dsq_id, slice, enq_flags);
}

bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
				struct scx_bpf_dsq_insert_vtime_args *args) __ksym __weak;
void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
			      u64 enq_flags) __ksym __weak;
void scx_bpf_dispatch_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
			    u64 enq_flags) __ksym __weak;

static inline void sc_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
				   u64 enq_flags)
{
	if (bpf_core_type_exists(struct scx_bpf_dsq_insert_vtime_args) &&
	    bpf_ksym_exists(__scx_bpf_dsq_insert_vtime)) {
		struct scx_bpf_dsq_insert_vtime_args args = {
			.dsq_id = dsq_id,
			.slice = slice,
			.vtime = vtime,
			.enq_flags = enq_flags,
		};

		__scx_bpf_dsq_insert_vtime(p, &args);
	} else if (bpf_ksym_exists(scx_bpf_dsq_insert_vtime)) {
		scx_bpf_dsq_insert_vtime(p, dsq_id, slice, vtime, enq_flags);
	} else {
		scx_bpf_dispatch_vtime(p, dsq_id, slice, vtime, enq_flags);
	}
}

/* ------------------------------------------------------------------ moving */

bool scx_bpf_dsq_move_to_local___v2___kernel(u64 dsq_id, u64 enq_flags) __ksym __weak;
bool scx_bpf_dsq_move_to_local___v1(u64 dsq_id) __ksym __weak;
bool scx_bpf_consume(u64 dsq_id) __ksym __weak;

/* From ops.dispatch(): the first task of the DSQ that may run on this CPU. False: none. */
static inline bool sc_move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___kernel))
		return scx_bpf_dsq_move_to_local___v2___kernel(dsq_id, 0);
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___v1))
		return scx_bpf_dsq_move_to_local___v1(dsq_id);
	return scx_bpf_consume(dsq_id);
}

bool scx_bpf_dsq_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
		      u64 enq_flags) __ksym __weak;
bool scx_bpf_dispatch_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
			       u64 enq_flags) __ksym __weak;
bool scx_bpf_dsq_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
			    u64 enq_flags) __ksym __weak;
bool scx_bpf_dispatch_vtime_from_dsq(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
				     u64 enq_flags) __ksym __weak;
void scx_bpf_dsq_move_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;
void scx_bpf_dispatch_from_dsq_set_vtime(struct bpf_iter_scx_dsq *it, u64 vtime) __ksym __weak;

/* While iterating a DSQ: to another one, first in first out. False: someone else took the task. */
static inline bool sc_move(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move))
		return scx_bpf_dsq_move(it, p, dsq_id, 0);
	return scx_bpf_dispatch_from_dsq(it, p, dsq_id, 0);
}

/* The same, ordered by `vtime` in the other one. */
static inline bool sc_move_vtime(struct bpf_iter_scx_dsq *it, struct task_struct *p, u64 dsq_id,
				 u64 vtime)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_vtime)) {
		scx_bpf_dsq_move_set_vtime(it, vtime);
		return scx_bpf_dsq_move_vtime(it, p, dsq_id, 0);
	}
	scx_bpf_dispatch_from_dsq_set_vtime(it, vtime);
	return scx_bpf_dispatch_vtime_from_dsq(it, p, dsq_id, 0);
}

struct task_struct *scx_bpf_dsq_peek(u64 dsq_id) __ksym __weak;

#define FIRST_SCAN 8 /* tasks at the head of a DSQ that may be bound elsewhere */

/*
 * In *vtime that of a DSQ's first task that may run on `cpu`; -1 is any. A head that is bound elsewhere
 * says nothing of what the CPU would get from there. False: the DSQ has none among its first few.
 */
__noinline bool sc_first_vtime(u64 dsq_id, s32 cpu, u64 *vtime)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p = NULL;
	bool found = false;
	u32 i;

	if (!vtime)
		return false;
	/* Both since 7.1; the peek of 6.19 may miss what was moved. */
	if (bpf_ksym_exists(scx_bpf_dsq_peek) &&
	    bpf_ksym_exists(scx_bpf_dsq_move_to_local___v2___kernel)) {
		p = scx_bpf_dsq_peek(dsq_id);
		if (!p)
			return false;
		if (cpu < 0 || bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
			*vtime = p->scx.dsq_vtime;
			return true;
		}
	}
	if (!bpf_iter_scx_dsq_new(&it, dsq_id, 0)) {
		bpf_for(i, 0, FIRST_SCAN) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			if (cpu >= 0 && !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
				continue;
			*vtime = p->scx.dsq_vtime;
			found = true;
			break;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

/* ------------------------------------------------------------------ tasks and cgroups */

bool scx_bpf_task_set_slice(struct task_struct *p, u64 slice) __ksym __weak;

static inline void sc_set_slice(struct task_struct *p, u64 slice)
{
	if (bpf_ksym_exists(scx_bpf_task_set_slice))
		scx_bpf_task_set_slice(p, slice);
	else
		p->scx.slice = slice;
}

/* The kernfs id of a cgroup: what stat(1) shows as the inode of its directory. */
static inline u64 sc_cgroup_id(struct cgroup *cgrp)
{
	return cgrp->kn->id;
}

/* The id of the ancestor at `level` (0 is the root, cgrp->level the cgroup itself). */
static inline u64 sc_ancestor_id(struct cgroup *cgrp, u32 level)
{
	struct cgroup *ancestor = NULL;
	const char *slot = (const char *)cgrp + bpf_core_field_offset(cgrp->ancestors) +
			   level * sizeof(struct cgroup *);

	if (bpf_probe_read_kernel(&ancestor, sizeof(ancestor), slot) || !ancestor)
		return 0;
	return BPF_CORE_READ(ancestor, kn, id);
}

/* The cgroup of a task on the default hierarchy, whatever controllers it has. */
static inline struct cgroup *sc_task_cgroup(struct task_struct *p)
{
	return p->cgroups->dfl_cgrp;
}

#endif
