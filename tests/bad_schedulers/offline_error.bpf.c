/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Says that it looks after CPUs that come and go, and gives up when one goes.
 *
 * class: 19, error on hotplug
 * caught-by: behaviour
 * reason: behaviour.hotplug
 */
#include "corpus.h"

LICENCE("GPL");

void OPS(offline_error_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_dsq_insert(p, SCX_DSQ_GLOBAL, SCX_SLICE_DFL, enq_flags);
}

void OPS_SLEEPABLE(offline_error_cpu_online, s32 cpu)
{
}

void OPS_SLEEPABLE(offline_error_cpu_offline, s32 cpu)
{
	static char text[] = "a CPU went away";
	unsigned long long none = 0;

	scx_bpf_error_bstr(text, &none, 0);
}

SEC(".struct_ops.link")
struct sched_ext_ops offline_error_ops = {
	.enqueue = (void *)offline_error_enqueue,
	.cpu_online = (void *)offline_error_cpu_online,
	.cpu_offline = (void *)offline_error_cpu_offline,
	.name = "offline_error",
};
