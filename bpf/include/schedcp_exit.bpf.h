/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The exit record: what the kernel told ops.exit(), for the process that holds the link.
 *
 * `exit_wake` becomes readable (poll, epoll) when the record is complete, so nobody has to ask.
 */
#ifndef SCHEDCP_EXIT_BPF_H
#define SCHEDCP_EXIT_BPF_H

#include "intent.h"
#include "schedcp_compat.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exit_record);
} exit_record SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exit_dump);
} exit_dump SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024); /* one page on every architecture */
} exit_wake SEC(".maps");

static inline void exit_record_fill(struct scx_exit_info *ei)
{
	u32 zero = 0;
	struct exit_record *record = bpf_map_lookup_elem(&exit_record, &zero);
	struct exit_dump *dump = bpf_map_lookup_elem(&exit_dump, &zero);
	u64 kind = BPF_CORE_READ(ei, kind);

	if (!record || !dump)
		return;
	bpf_probe_read_kernel_str(record->reason, sizeof(record->reason),
				  BPF_CORE_READ(ei, reason));
	bpf_probe_read_kernel_str(record->msg, sizeof(record->msg), BPF_CORE_READ(ei, msg));
	bpf_probe_read_kernel_str(dump->text, sizeof(dump->text), BPF_CORE_READ(ei, dump));
	record->code = BPF_CORE_READ(ei, exit_code);
	*(volatile __u64 *)&record->kind = kind; /* last: it says that the rest is there */
	bpf_ringbuf_output(&exit_wake, &kind, sizeof(kind), BPF_RB_FORCE_WAKEUP);
}

#endif
