/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The access sensor. Any access to another process's memory first takes the lock of that memory,
 * whichever interface it comes through and however long ago that was opened. The program runs at
 * every mmap lock on the node, so the cheapest tests come first.
 */
#ifndef SHIMWARD_TOUCH_H
#define SHIMWARD_TOUCH_H

#include "arch.h"
#include "judge.h"
#include "stack.h"

/* include/uapi/linux/ptrace.h */
#define PTRACE_PEEKTEXT 1
#define PTRACE_PEEKDATA 2
#define PTRACE_POKETEXT 4
#define PTRACE_POKEDATA 5

/* Returns the operation on a procfs mem file that the stack shows: read, write, or 0 for neither.
 *
 * Only callers of access_remote_vm count: a page fault on the caller's own buffer takes the
 * caller's own lock, with mem_write on the stack too. If the compiler merged mem_read and mem_write
 * (mem_rw), the system call gives the direction.
 */
__noinline int find_mem(struct trace *trace)
{
	bool remote = false, either = false;

	if (!trace)
		return 0;
	for (u32 i = 0; i < STACK_DEPTH && i < trace->depth; i++) {
		u64 at = trace->at[i];

		if (within(at, SYMBOL_ACCESS_REMOTE) || within(at, SYMBOL_ACCESS_REMOTE_INNER)) {
			remote = true;
		} else if (!remote) {
			continue;
		} else if (either) {
			if (within(at, SYMBOL_IO_READ))
				return OPERATION_READ;
			if (within(at, SYMBOL_IO_WRITE))
				return OPERATION_WRITE;
		} else if (within(at, SYMBOL_MEM_READ)) {
			return OPERATION_READ;
		} else if (within(at, SYMBOL_MEM_WRITE)) {
			return OPERATION_WRITE;
		} else if (within(at, SYMBOL_MEM_RW)) {
			if ((trace->kind & CALL_RING) == CALL_READ)
				return OPERATION_READ;
			if ((trace->kind & CALL_RING) == CALL_WRITE)
				return OPERATION_WRITE;
			either = true;
		}
	}
	/* If the direction is unknown, assume the stronger. */
	return either ? OPERATION_WRITE : 0;
}

/* Returns the operation on a procfs mem file that the current task is in, or 0. Unlike the
 * descriptor in the call's argument, which another thread may replace meanwhile, the stack cannot
 * be tampered with.
 */
static __always_inline int caught_in_mem(void *ctx, u32 kind)
{
	struct trace trace = {.kind = kind};

	return take_stack(ctx, &trace) ? find_mem(&trace) : 0;
}

/* Fills in the vector and the operation. Returns false if this is not an access to report. The
 * stack comes first: it shows what is being done, the call only what was requested.
 */
static __always_inline bool name_deed(void *ctx, struct deed *deed, struct task_struct *task,
				      struct pt_regs *regs, u32 kind)
{
	deed->vector = VECTOR_PROC_MEM;
	deed->operation = caught_in_mem(ctx, kind);
	/* Is it io_uring's, during an unrelated call? Then leave the call out. */
	if (deed->operation && (!(kind & CALL_RING) || kind & CALL_VM))
		return true;
	deed->call = call_number(task, regs);
	if (kind & CALL_COMPAT)
		deed->flags |= FLAG_COMPAT;
	if (deed->operation)
		return true;
	if (kind & CALL_VM) {
		deed->vector =
			kind & CALL_WRITE ? VECTOR_PROCESS_VM_WRITEV : VECTOR_PROCESS_VM_READV;
		deed->operation = kind & CALL_WRITE ? OPERATION_WRITE : OPERATION_READ;
		return true;
	}
	deed->vector = inspects(kind);
	if (deed->vector) {
		deed->operation = OPERATION_INSPECT;
		return true;
	}
	if (!(kind & CALL_PTRACE))
		return false;
	deed->vector = VECTOR_PTRACE;
	deed->request = arch_arg0(task, regs);
	switch (deed->request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
		deed->operation = OPERATION_READ;
		return true;
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA:
		deed->operation = OPERATION_WRITE;
		return true;
	}
	return false;
}

/* Returns whether a signal would have no effect on the current task: its process is already
 * exiting, and the task has taken the SIGKILL for that or never had one. io_uring then cancels the
 * task's outstanding requests, but still runs those linked to them (IOSQE_IO_HARDLINK).
 */
static __always_inline bool is_past_signals(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT &&
	       !(BPF_CORE_READ(task, pending.signal.sig[0]) & 1UL << (SIGKILL - 1));
}

#define KILL_TRIES (1 << 14) /* about 100 us: hundreds of times as long as it takes */

static long is_killed(u32 index, struct task_struct **task)
{
	return !!(BPF_CORE_READ(*task, pending.signal.sig[0]) & 1UL << (SIGKILL - 1));
}

/* Kills the current task's process. Returns false if the process goes on. Since 6.14, if the kernel
 * counts preemption, the signal is sent from an interrupt on this CPU (commit 87c544108b61), so
 * wait for it: the code after the tracepoint must find it pending.
 */
static __always_inline bool kill_current(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (is_past_signals() || bpf_send_signal(SIGKILL))
		return false;
	return bpf_loop(KILL_TRIES, is_killed, &task, 0) < KILL_TRIES;
}

/* Judges the deed, carries out the decision, and only then reports it. The signal is pending before
 * get_user_pages_remote checks for one, so nothing is copied.
 */
static __always_inline void settle(struct deed *deed, struct guard *keeper)
{
	deed->sensor = SENSOR_ACCESS;
	deed->verdict = VERDICT_OBSERVED;
	if (judge(deed)) {
		if (kill_current())
			deed->verdict = VERDICT_KILLED;
		else
			deed->flags |= FLAG_KILL_FAILED;
	}
	report(deed, repeats(deed, keeper));
}

/* The current task takes the lock of a memory other than its own. During fork and exec, that is the
 * memory being set up: its owner is the caller, or a copy of the caller that still has its group
 * leader.
 */
static __always_inline void touch_foreign(void *ctx, struct mm_struct *mm, struct task_struct *task,
					  struct pt_regs *regs, u32 kind)
{
	struct deed deed = {.actor = bpf_get_current_task()};
	struct guard *mine, *theirs = NULL;
	struct task_struct *owner = mm->owner;

	if (owner && owner->group_leader == task->group_leader)
		return;
	mine = bpf_task_storage_get(&guards, task, NULL, 0);
	deed.actor_cgroup = cgroup_under(mine, deed.actor, &deed.actor_guard);
	if (owner) {
		deed.target = address_of(owner);
		theirs = bpf_task_storage_get(&guards, owner, NULL, 0);
		deed.target_cgroup = cgroup_under(theirs, deed.target, &deed.target_guard);
	}
	if (!deed.actor_cgroup && !deed.target_cgroup)
		return;
	if (!name_deed(ctx, &deed, task, regs, kind))
		return;
	settle(&deed, mine ?: theirs);
}

/* The current task takes the lock of its own memory. Writing one's own memory through
 * /proc/self/mem bypasses page protection.
 */
static __always_inline void touch_self(void *ctx, struct task_struct *task, struct pt_regs *regs,
				       u32 kind)
{
	struct guard *mine = bpf_task_storage_get(&guards, task, NULL, 0);
	struct deed deed = {.vector = VECTOR_SELF_MEM, .relation = RELATION_SELF};

	if (!mine || caught_in_mem(ctx, kind) != OPERATION_WRITE)
		return;
	deed.operation = OPERATION_WRITE;
	deed.call = call_number(task, regs);
	deed.flags = kind & CALL_COMPAT ? FLAG_COMPAT : 0;
	deed.actor = deed.target = bpf_get_current_task();
	deed.actor_guard = deed.target_guard = address_of(mine);
	deed.actor_cgroup = deed.target_cgroup = mine->cgroup;
	settle(&deed, mine);
}

SEC("tp_btf/mmap_lock_start_locking")
int BPF_PROG(touch, struct mm_struct *mm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *own = task->mm;
	struct pt_regs *regs;
	u32 kind;

	if (!own)
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	kind = call_of(task, regs);
	if (own == mm) {
		if (kind & CALL_WRITE && !(kind & CALL_VM))
			touch_self(ctx, task, regs, kind);
	} else {
		touch_foreign(ctx, mm, task, regs, kind);
	}
	return 0;
}

#endif
