# SPDX-License-Identifier: Apache-2.0
"""What a scheduler's object may contain. Everything not named here is refused.

The helpers are those a CPU scheduler needs: maps, time, local storage, timers, bounded loops,
read-only probing. Kept out on purpose: writing user memory, overriding returns, signals, printing
to the trace buffer, tail calls, output to perf, and everything of networking. Numbers are those of
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import re

SECTIONS = re.compile(
    r"""
      (\.text | struct_ops(\.s)?/[A-Za-z0-9_.]+ | struct_ops(\.s)?)
    | \.struct_ops(\.link)?
    | (license | version | \.maps)
    | \.(rodata|data|bss)(\.[A-Za-z0-9_.]+)?
    | \.(BTF|BTF\.ext)
    | \.(symtab|strtab|shstrtab|llvm_addrsig|comment|note\.GNU-stack)
    | \.debug_[a-z_]+
    | \.rel(a)?(\..+|struct_ops.*|license)
    """,
    re.VERBOSE,
)
EXECUTABLE = re.compile(r"\.text|struct_ops(\.s)?(/[A-Za-z0-9_.]+)?")

# include/linux/license.h
LICENCES = frozenset(
    {
        "GPL",
        "GPL v2",
        "GPL and additional rights",
        "Dual BSD/GPL",
        "Dual MIT/GPL",
        "Dual MPL/GPL",
    }
)

MAP_TYPES = {
    1: "hash",
    2: "array",
    5: "percpu-hash",
    6: "percpu-array",
    9: "lru-hash",
    10: "lru-percpu-hash",
    22: "queue",
    23: "stack",
    27: "ringbuf",
    29: "task-storage",
    32: "cgrp-storage",
}
MAP_FIELDS = frozenset({"type", "max_entries", "key_size", "value_size", "map_flags"})
MAX_MAPS = 64
MAX_MAP_BYTES = 64 << 20
MAX_ALL_MAPS_BYTES = 128 << 20
MAX_INSTRUCTIONS = 65536
MAX_DATA_BYTES = 4 << 20

HELPERS = {
    1: "map_lookup_elem",
    2: "map_update_elem",
    3: "map_delete_elem",
    5: "ktime_get_ns",
    7: "get_prandom_u32",
    8: "get_smp_processor_id",
    14: "get_current_pid_tgid",
    35: "get_current_task",
    42: "get_numa_node_id",
    80: "get_current_cgroup_id",
    87: "map_push_elem",
    88: "map_pop_elem",
    89: "map_peek_elem",
    93: "spin_lock",
    94: "spin_unlock",
    113: "probe_read_kernel",
    115: "probe_read_kernel_str",
    118: "jiffies64",
    123: "get_current_ancestor_cgroup_id",
    125: "ktime_get_boot_ns",
    130: "ringbuf_output",
    131: "ringbuf_reserve",
    132: "ringbuf_submit",
    133: "ringbuf_discard",
    134: "ringbuf_query",
    153: "per_cpu_ptr",
    154: "this_cpu_ptr",
    156: "task_storage_get",
    157: "task_storage_delete",
    158: "get_current_task_btf",
    160: "ktime_get_coarse_ns",
    164: "for_each_map_elem",
    165: "snprintf",
    169: "timer_init",
    170: "timer_set_callback",
    171: "timer_start",
    172: "timer_cancel",
    181: "loop",
    194: "kptr_xchg",
    195: "map_lookup_percpu_elem",
    208: "ktime_get_tai_ns",
    210: "cgrp_storage_get",
    211: "cgrp_storage_delete",
}
# Named when refused, because a number says nothing to a reader.
REFUSED_HELPERS = {
    4: "probe_read",
    6: "trace_printk",
    12: "tail_call",
    25: "perf_event_output",
    36: "probe_write_user",
    58: "override_return",
    109: "send_signal",
    117: "send_signal_thread",
    148: "copy_from_user",
    166: "sys_bpf",
    177: "trace_vprintk",
}

# Kernel functions, without a `___suffix` of the object's own; and one variable, to be read: which
# CPUs share a last-level cache (kernel/sched/topology.c).
KFUNCS = re.compile(
    r"""
      (__)?scx_bpf_[a-z0-9_]+
    | bpf_task_(acquire|release|from_pid|from_vpid|under_cgroup)
    | bpf_cgroup_(acquire|release|from_id|ancestor)
    | bpf_cpumask_[a-z0-9_]+
    | bpf_rcu_read_(lock|unlock)
    | bpf_iter_(num|scx_dsq|css|css_task|task|bits)_(new|next|destroy)
    | bpf_(obj_new|obj_drop|refcount_acquire|percpu_obj_new|percpu_obj_drop)(_impl)?
    | bpf_(list|rbtree)_[a-z_]+
    | bpf_(cast_to_kern_ctx|rdonly_cast)
    | sd_llc_id
    """,
    re.VERBOSE,
)

# enum scx_ops_flags (kernel/sched/ext*, 6.12 to 7.3). The kernel refuses those it does not know.
OPS_FLAGS = {
    1 << 0: "KEEP_BUILTIN_IDLE",
    1 << 1: "ENQ_LAST",
    1 << 2: "ENQ_EXITING",
    1 << 3: "SWITCH_PARTIAL",
    1 << 4: "ENQ_MIGRATION_DISABLED",
    1 << 5: "ALLOW_QUEUED_WAKEUP",
    1 << 6: "BUILTIN_IDLE_PER_NODE",
    1 << 16: "HAS_CGROUP_WEIGHT",
}
ENQ_LAST = 1 << 1
OPS_NAME = re.compile(r"[A-Za-z0-9_.-]{1,127}")
OPS_TYPE = "sched_ext_ops"
MAX_TIMEOUT_MS = 30_000  # SCX_WATCHDOG_MAX_TIMEOUT
