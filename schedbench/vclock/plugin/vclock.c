/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vclock: an honest, parallel, bit-identical virtual clock for QEMU's TCG.
 *
 * Every vCPU has its own instruction clock: an instruction costs INSN_PS picoseconds of its vCPU and
 * nothing of the others', so four busy vCPUs do four vCPU-seconds of work in a second. QEMU runs
 * them in turn in one thread (tcg,thread=single); this plugin decides whose turn it is, from virtual
 * time alone, so that the host's speed and load cannot be seen in the guest.
 *
 * Terms
 *   now        Virtual time that every vCPU has reached or slept through. Device timers see this.
 *   at[i]      vCPU i's own time, at most about one quantum ahead of `now`.
 *   the turn   The right to execute guest code, held by one vCPU (or none) until `turn_end`.
 *   end        min(now + quantum, next timer): nobody is given a turn beyond it.
 *
 * Rules
 *   1. Of the vCPUs that can run and are before `end`, the one most behind gets the turn.
 *   2. When nobody is before `end`, `now` moves there and due timers run at once, in this thread.
 *   3. When all sleep, `now` jumps to the next timer.
 *   4. An interrupt raised by the vCPU with the turn for itself acts at once, as in QEMU. For any
 *      other it is kept until that vCPU gets the turn and has reached the time of its raising. A
 *      sleeper so wakes at its waker's time.
 *
 * Why each part is needed
 *   - The main loop thread must never find a due timer, or timers would run in host time: it always
 *     reads time 0. Timers are ours to run.
 *   - QEMU leaves a vCPU at any moment for reasons of the host (RCU grace periods kick it) and goes
 *     on to the next. Therefore a vCPU without the turn has its counter at LIMIT, where the check at
 *     the start of each block sends it away before it executes anything; and therefore rule 4:
 *     otherwise such a kick would decide when a waiting interrupt is taken.
 *   - Per-vCPU counters in generated code take the index of the vCPU that runs only where the
 *     translation is for a "parallel context", which thread=single does not set. We set it.
 *   - QEMU sizes each vCPU's TLB by gettimeofday(). What a TLB still holds shows: Linux does not
 *     flush other CPUs' TLBs when it makes a page writable and takes a spurious fault where an old
 *     entry is left. QEMU therefore gets virtual time from gettimeofday(), too.
 *   - A halted vCPU leaves without a word to plugins. Its halt is noticed by the next vCPU that QEMU
 *     tries to run, or by the idle check when QEMU tried them all.
 *
 * This rests on QEMU's internals, so it refuses to run but on builds in accepted[] whose accelerator
 * table is as expected. docs/vclock.md says how a build gets on the list.
 *
 * Arguments: insn-ps=N (default 1000: 1 instruction a nanosecond), quantum-ns=N (default 20000),
 * pause=N (what a PAUSE costs, in instructions; default 300), limit-ms=N (QEMU exits with 4 at that
 * virtual time; default none).
 */
#define _GNU_SOURCE /* dladdr, dl_iterate_phdr */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MAX_VCPUS  16 /* as many as a scoreboard of QEMU has entries before it moves in memory */
#define LIMIT	   (1ULL << 62)
#define NEVER	   INT64_MAX
#define FAR	   (NEVER / 4 / PS) /* ns, 26 days: nothing waits for a later timer */
#define EXIT_LIMIT 4
#define PS	   1000LL /* picoseconds in a nanosecond: times here are in ps, QEMU's in ns */

/* GNU build ids of qemu-system-x86_64 for which docs/vclock.md records a proof. */
static const struct {
	const char *id, *name;
} accepted[] = {
#include "accepted.h"
};

/*
 * What we use of QEMU beside its plugin interface; declarations by their ABI. Weak, so that another
 * build gets our sentence and not the linker's.
 */
#define QEMU_API __attribute__((weak))
typedef struct cpu_state cpu_state;
enum { CLOCK_VIRTUAL = 1, TIMER_ATTR_ALL = -1 };
enum { CF_PARALLEL = 0x8000 };
enum { INTERRUPT_HARD = 0x0002, INTERRUPT_POLL = 0x0010 };

struct accel_ops {
	void *object_class[12];
	void (*ops_init)(struct accel_ops *);
	void *cpus_are_resettable, *cpu_reset_hold;
	void *create_vcpu_thread, *kick_vcpu_thread;
	bool (*cpu_thread_is_idle)(cpu_state *);
	void *synchronize[5];
	void (*handle_interrupt)(cpu_state *, int mask);
	int64_t (*get_virtual_clock)(void);
	void *set_virtual_clock;
	int64_t (*get_elapsed_ticks)(void);
	void *supports_guest_debug;
};

QEMU_API void *object_class_by_name(const char *name);
QEMU_API cpu_state *qemu_get_cpu(int index);
QEMU_API bool qemu_in_vcpu_thread(void);
QEMU_API void qemu_cpu_kick(cpu_state *);
QEMU_API bool cpu_thread_is_idle(cpu_state *);
QEMU_API void cpu_exit(cpu_state *);
QEMU_API void cpu_loop_exit_restore(cpu_state *, uintptr_t host_pc) __attribute__((noreturn));
QEMU_API void tcg_cflags_set(cpu_state *, uint32_t flags);
QEMU_API void tcg_handle_interrupt(cpu_state *, int mask);
QEMU_API void rr_start_vcpu_thread(cpu_state *);
QEMU_API void rr_kick_vcpu_thread(cpu_state *);
QEMU_API void bql_lock_impl(const char *file, int line);
QEMU_API void bql_unlock(void);
QEMU_API int64_t qemu_clock_deadline_ns_all(int clock, int attributes);
QEMU_API bool qemu_clock_run_timers(int clock);

static struct vcpu {
	cpu_state *cpu;
	uint64_t *count; /* picoseconds up to LIMIT; generated code adds to it */
	int64_t at;	 /* own time, when without the turn */
	int64_t due;	 /* when `pending` was raised first, or NEVER */
	int pending;	 /* interrupts kept (rule 4) */
} vcpus[MAX_VCPUS];

static struct qemu_plugin_scoreboard *counts;
static int n_vcpus, turn = -1;
static int64_t now, turn_end;
static int64_t insn_ps = 1000, quantum = 20000 * PS, pause_insns = 300;
static int64_t limit = NEVER; /* of `now` */
static bool asking;	      /* we call cpu_thread_is_idle() ourselves */
static bool delivered;	      /* the last turn given came with an interrupt */

/* Time as the running vCPU sees it; `now` when none has the turn (timers run). */
static int64_t current_time(void)
{
	return turn < 0 ? now : turn_end + (int64_t)(*vcpus[turn].count - LIMIT);
}

/* The guest's TSC counts these nanoseconds too: it is a 1 GHz TSC at any instruction rate. */
static int64_t vclock_get(void)
{
	return qemu_in_vcpu_thread() ? current_time() / PS : 0;
}

/* For the sizes of TLBs; they change at virtual times then. */
static int vclock_gettimeofday(struct timeval *time, void *zone)
{
	int64_t ns = vclock_get();

	time->tv_sec = ns / 1000000000;
	time->tv_usec = ns % 1000000000 / 1000;
	return 0;
}

static bool asleep(int i)
{
	bool idle;

	asking = true;
	idle = cpu_thread_is_idle(vcpus[i].cpu);
	asking = false;
	return idle;
}

static void take_turn_away(void)
{
	if (turn < 0)
		return;
	vcpus[turn].at = current_time();
	*vcpus[turn].count = LIMIT;
	turn = -1;
}

static void give_turn(int i, int64_t from, int64_t end)
{
	struct vcpu *v = &vcpus[i];

	delivered = v->due <= from;
	if (delivered) {
		int mask = v->pending;

		v->pending = 0;
		v->due = NEVER;
		/*
		 * The cause of a hard interrupt may have gone meanwhile (the vCPU itself took or masked
		 * it): have its APIC look again, as QEMU does for an interrupt from another thread.
		 */
		if (mask & INTERRUPT_HARD)
			mask |= INTERRUPT_POLL;
		tcg_handle_interrupt(v->cpu, mask);
	} else if (v->due < end) {
		end = v->due;
	}
	turn = i;
	turn_end = end;
	*v->count = LIMIT - (uint64_t)(end - from);
}

/* Rules 1 to 3. With the BQL. Returns false when all sleep after at most one jump. */
static bool dispatch(void)
{
	bool jumped = false;
	int last = turn;

	take_turn_away();
	for (;;) {
		int64_t deadline = qemu_clock_deadline_ns_all(CLOCK_VIRTUAL, TIMER_ATTR_ALL);
		int64_t timer = deadline < 0 || deadline > FAR ? NEVER : now + deadline * PS;
		int64_t end = now + quantum, best_from = NEVER;
		bool awake = false;
		int best = -1;

		if (timer > now && timer < end)
			end = timer;
		for (int k = 1; k <= n_vcpus; k++) {
			int i = (last + k) % n_vcpus; /* at equal times, QEMU's own order */
			int64_t from = vcpus[i].at > now ? vcpus[i].at : now;

			if (asleep(i)) {
				if (vcpus[i].due == NEVER)
					continue;
				if (vcpus[i].due > from)
					from = vcpus[i].due;
			}
			awake = true;
			if (from < end && from < best_from) {
				best = i;
				best_from = from;
			}
		}
		if (best >= 0) {
			give_turn(best, best_from, end);
			return true;
		}
		if (!awake) {
			if (jumped || timer == NEVER)
				return false;
			jumped = true;
			end = timer;
		}
		now = end;
		if (now >= limit) {
			fprintf(stderr, "vclock: the limit of virtual time is reached\n");
			_exit(EXIT_LIMIT);
		}
		qemu_clock_run_timers(CLOCK_VIRTUAL);
	}
}

/*
 * At the start of a block whose vCPU's counter is at LIMIT: its turn is over, or it has none.
 * Leaving goes through cpu_handle_interrupt(), which takes what give_turn() has just delivered, and
 * then, after cpu_exit(), back to QEMU's round-robin loop.
 */
static void on_limit(unsigned int index, void *unused)
{
	cpu_state *cpu = vcpus[index].cpu;

	if (turn < 0 || turn == (int)index || asleep(turn)) {
		bql_lock_impl(__FILE__, __LINE__);
		dispatch();
		bql_unlock();
		if (turn == (int)index && !delivered)
			return;
	}
	if (turn != (int)index)
		cpu_exit(cpu);
	cpu_loop_exit_restore(cpu, (uintptr_t)__builtin_return_address(0));
}

/* Asked by QEMU, with the BQL, about a halted vCPU without work, when it has tried to run them all. */
static bool vclock_idle(cpu_state *cpu)
{
	if (asking || !qemu_in_vcpu_thread())
		return true;
	if (turn >= 0 && !asleep(turn))
		return false;
	if (!dispatch()) {
		/* All sleep on. Let the main loop have the lock, which may want to end the machine. */
		bql_unlock();
		usleep(50);
		bql_lock_impl(__FILE__, __LINE__);
	}
	return false;
}

/* Rule 4. With the BQL. From another thread (a device of the host's) nothing is deterministic. */
static void vclock_interrupt(cpu_state *cpu, int mask)
{
	int64_t time = current_time();
	int i = 0;

	while (i < n_vcpus && vcpus[i].cpu != cpu)
		i++;
	if (i == n_vcpus || i == turn) {
		tcg_handle_interrupt(cpu, mask);
		return;
	}
	vcpus[i].pending |= mask;
	if (time < vcpus[i].due)
		vcpus[i].due = time;
	if (!qemu_in_vcpu_thread())
		qemu_cpu_kick(cpu);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	qemu_plugin_u64 count = { counts, 0 };
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, n - 1);
	int64_t cost = (int64_t)n;
	uint8_t code[2];

	/* A PAUSE always ends its block. */
	if (qemu_plugin_insn_size(last) == 2 && qemu_plugin_insn_data(last, code, 2) == 2 &&
	    code[0] == 0xf3 && code[1] == 0x90)
		cost += pause_insns - 1;
	qemu_plugin_register_vcpu_tb_exec_cond_cb(tb, on_limit, QEMU_PLUGIN_CB_R_REGS,
						  QEMU_PLUGIN_COND_GE, count, LIMIT, NULL);
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64, count,
							  (uint64_t)(cost * insn_ps));
}

static void on_vcpu_init(qemu_plugin_id_t id, unsigned int index)
{
	struct vcpu *v = &vcpus[index];

	v->cpu = qemu_get_cpu((int)index);
	v->count = qemu_plugin_scoreboard_find(counts, index);
	*v->count = LIMIT;
	tcg_cflags_set(v->cpu, CF_PARALLEL);
}

static int find_build_id(struct dl_phdr_info *info, size_t size, void *out)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + ph->p_vaddr);
		const char *end = at + ph->p_memsz;

		while (ph->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
			const ElfW(Nhdr) *note = (const void *)at;
			const unsigned char *name = (const void *)(note + 1);
			const unsigned char *data = name + ((note->n_namesz + 3) & ~3u);

			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
			    note->n_descsz == 20 && !memcmp(name, "GNU", 4)) {
				for (int k = 0; k < 20; k++)
					sprintf((char *)out + 2 * k, "%02x", data[k]);
			}
			at = (const char *)data + ((note->n_descsz + 3) & ~3u);
		}
	}
	return 1; /* the first object is the program itself */
}

/* Points the program's own calls of gettimeofday() at ours. Counts the calls' slots it changed. */
static int redirect_clock(struct dl_phdr_info *info, size_t size, void *changed)
{
	const ElfW(Dyn) *dynamic = NULL;
	const ElfW(Rela) * tables[2] = { NULL, NULL };
	const ElfW(Sym) *symbols = NULL;
	size_t sizes[2] = { 0, 0 };
	const char *names = NULL;
	long page = sysconf(_SC_PAGESIZE);

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
		const void *at = (const void *)dynamic->d_un.d_ptr; /* relocated by the loader */

		switch (dynamic->d_tag) {
		case DT_RELA: tables[0] = at; break;
		case DT_RELASZ: sizes[0] = dynamic->d_un.d_val; break;
		case DT_JMPREL: tables[1] = at; break;
		case DT_PLTRELSZ: sizes[1] = dynamic->d_un.d_val; break;
		case DT_SYMTAB: symbols = at; break;
		case DT_STRTAB: names = at; break;
		}
	}
	for (int t = 0; symbols && names && t < 2; t++) {
		for (size_t i = 0; i < sizes[t] / sizeof(ElfW(Rela)); i++) {
			const ElfW(Rela) *rela = &tables[t][i];
			uintptr_t slot = info->dlpi_addr + rela->r_offset;
			unsigned int type = ELF64_R_TYPE(rela->r_info);
			void *start = (void *)(slot & -page);

			if ((type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) ||
			    strcmp(names + symbols[ELF64_R_SYM(rela->r_info)].st_name,
				   "gettimeofday") ||
			    mprotect(start, page, PROT_READ | PROT_WRITE))
				continue;
			*(void **)slot = (void *)vclock_gettimeofday;
			mprotect(start, page, PROT_READ); /* as RELRO has it */
			++*(int *)changed;
		}
	}
	return 1; /* the first object is the program itself */
}

static int refuse(const char *why, const char *what)
{
	fprintf(stderr, "vclock: refused: %s%s\n", why, what);
	return 1;
}

static bool in_program(const void *address)
{
	Dl_info there, program;

	return address && dladdr(address, &there) && dladdr((void *)qemu_get_cpu, &program) &&
	       there.dli_fbase == program.dli_fbase;
}

/* 0 if this is a build of QEMU we know and a machine we can serve. */
static int check_build(const qemu_info_t *info)
{
	char id[41] = "none";
	size_t i = 0;

	dl_iterate_phdr(find_build_id, id);
	while (i < sizeof(accepted) / sizeof(accepted[0]) && strcmp(accepted[i].id, id))
		i++;
	if (i == sizeof(accepted) / sizeof(accepted[0]))
		return refuse("this QEMU is not on the list of accepted builds; its id is ", id);
	if (!info->system_emulation || strcmp(info->target_name, "x86_64"))
		return refuse("only system emulation of x86_64 is known, not ", info->target_name);
	if (info->system.max_vcpus > MAX_VCPUS)
		return refuse("more than 16 vCPUs", "");
	return 0;
}

/* 0 if the accelerator's table, as QEMU has just filled it, is the one of thread=single. */
static int check_table(const struct accel_ops *ops)
{
	if (!in_program(ops->create_vcpu_thread) || !in_program(ops->cpu_reset_hold) ||
	    !in_program(ops->kick_vcpu_thread) || !in_program(ops->handle_interrupt) ||
	    !in_program(ops->supports_guest_debug) || ops->cpu_thread_is_idle ||
	    ops->set_virtual_clock || ops->cpus_are_resettable || ops->synchronize[0])
		return refuse("the accelerator's table of this QEMU is not laid out as known", "");
	if (ops->create_vcpu_thread != (void *)rr_start_vcpu_thread ||
	    ops->kick_vcpu_thread != (void *)rr_kick_vcpu_thread)
		return refuse("start QEMU with -accel tcg,thread=single", "");
	if (ops->get_virtual_clock || ops->get_elapsed_ticks ||
	    ops->handle_interrupt != tcg_handle_interrupt)
		return refuse("start QEMU without -icount", "");
	return 0;
}

static void (*qemu_ops_init)(struct accel_ops *);

/* Stands in for the table's own initialiser: QEMU calls it after plugins are loaded. */
static void vclock_ops_init(struct accel_ops *ops)
{
	qemu_ops_init(ops);
	if (check_table(ops))
		exit(1);
	ops->get_virtual_clock = vclock_get;
	ops->get_elapsed_ticks = vclock_get;
	ops->handle_interrupt = vclock_interrupt;
	ops->cpu_thread_is_idle = vclock_idle;
}

/* Reads NAME=NUMBER, 1 to max; 0 if the argument has another name or is wrong. */
static int64_t number(const char *arg, const char *name, int64_t max)
{
	size_t len = strlen(name);
	char *end;
	long long value;

	if (strncmp(arg, name, len) || arg[len] != '=')
		return 0;
	value = strtoll(arg + len + 1, &end, 10);
	return *end || value > max || value < 1 ? 0 : value;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	struct accel_ops *ops;
	int clocks = 0;

	for (int i = 0; i < argc; i++) {
		int64_t value;

		if ((value = number(argv[i], "insn-ps", 1000000)))
			insn_ps = value;
		else if ((value = number(argv[i], "quantum-ns", 1000000)))
			quantum = value * PS;
		else if ((value = number(argv[i], "pause", 100000)))
			pause_insns = value;
		else if ((value = number(argv[i], "limit-ms", 100000000)))
			limit = value * 1000000 * PS;
		else
			return refuse("wrong argument (insn-ps=, quantum-ns=, pause=, limit-ms=): ",
				      argv[i]);
	}
	if (check_build(info))
		return 1;
	ops = object_class_by_name("tcg-accel-ops");
	if (!ops || !in_program(ops->ops_init) || ops->cpus_are_resettable ||
	    ops->create_vcpu_thread)
		return refuse("no accelerator table of TCG as known", "");
	dl_iterate_phdr(redirect_clock, &clocks);
	if (clocks != 1)
		return refuse("this QEMU does not call gettimeofday() as known", "");
	qemu_ops_init = ops->ops_init;
	ops->ops_init = vclock_ops_init;
	n_vcpus = info->system.smp_vcpus;
	for (int i = 0; i < MAX_VCPUS; i++)
		vcpus[i].due = NEVER;
	counts = qemu_plugin_scoreboard_new(sizeof(uint64_t));
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu_init);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	return 0;
}
