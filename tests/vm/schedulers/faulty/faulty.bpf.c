/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * faulty: a global queue that misbehaves on demand, for the tests of the scheduler host.
 *
 * `fault` says how; a task of class background sets it off, so the test chooses the moment.
 */
#include "schedcp_compat.bpf.h"

#include "intent.h"
#include "schedcp_exit.bpf.h"
#include "schedcp_intents.bpf.h"
#include "schedcp_stats.bpf.h"

char _license[] SEC("license") = "GPL";

enum { FAULT_NONE, FAULT_LOSE, FAULT_ERROR, FAULT_INIT };

const volatile u32 fault = FAULT_NONE;

enum { DSQ_ALL, DSQ_LOST };

void SC_OP(faulty_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct intent_cache cache = {};
	u64 dsq = DSQ_ALL;

	intents_refresh(p, &cache, INTENT_NORMAL);
	if (cache.class == INTENT_BACKGROUND && fault == FAULT_ERROR)
		sc_error("%s[%d] is not wanted here", p->comm, p->pid);
	if (cache.class == INTENT_BACKGROUND && fault == FAULT_LOSE)
		dsq = DSQ_LOST;
	sc_insert(p, dsq, 5000000, enq_flags);
}

void SC_OP(faulty_dispatch, s32 cpu, struct task_struct *prev)
{
	sc_move_to_local(DSQ_ALL);
}

s32 SC_OP_SLEEPABLE(faulty_init)
{
	if (fault == FAULT_INIT)
		return -EINVAL;
	return scx_bpf_create_dsq(DSQ_ALL, -1) ?: scx_bpf_create_dsq(DSQ_LOST, -1);
}

void SC_OP_SLEEPABLE(faulty_exit, struct scx_exit_info *ei)
{
	exit_record_fill(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops faulty_ops = {
	.enqueue = (void *)faulty_enqueue,
	.dispatch = (void *)faulty_dispatch,
	.init = (void *)faulty_init,
	.exit = (void *)faulty_exit,
	.timeout_ms = 3000,
	.name = "schedcp_faulty",
};
