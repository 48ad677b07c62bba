/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which system call a task is in and what that call can do to memory: the only file with register
 * names and system call numbers.
 */
#ifndef SHIMWARD_ARCH_H
#define SHIMWARD_ARCH_H

#include "access.h"
#include "kernel.h"

/* What a system call can do to another process's memory. This is a hint, not proof: io_uring can
 * complete a read of a mem file on the way out of any call that its task happens to be in.
 */
enum call {
	CALL_READ = 1 << 0,    /* can reach a file's read */
	CALL_WRITE = 1 << 1,   /* can reach a file's write */
	CALL_VM = 1 << 2,      /* process_vm_readv or, with CALL_WRITE, process_vm_writev */
	CALL_PTRACE = 1 << 3,  /* ptrace */
	CALL_GETFD = 1 << 4,   /* pidfd_getfd */
	CALL_ADVISE = 1 << 5,  /* process_madvise */
	CALL_REAP = 1 << 6,    /* process_mrelease */
	CALL_COMPAT = 1 << 7,  /* through the 32-bit entry; not in the tables */
	CALL_KCMP = 1 << 8,    /* kcmp */
	CALL_PAGES = 1 << 9,   /* move_pages, migrate_pages */
	CALL_PERF = 1 << 10,   /* perf_event_open */
	CALL_ROBUST = 1 << 11, /* get_robust_list */
	CALL_SCHED = 1 << 12,  /* sched_setattr */
};

#define CALL_RING (CALL_READ | CALL_WRITE) /* io_uring: either, or both at once */
#define CALLS	  600

#if defined(__TARGET_ARCH_x86)
#include "arch_x86.h"
#elif defined(__TARGET_ARCH_arm64)
#include "arch_arm64.h"
#else
#error "no system call numbers for this architecture"
#endif

/* Returns the vector that a system call is in itself, if it is one of those that only learn
 * something about another process's memory or influence its paging; VECTOR_UNKNOWN if it is not.
 */
static __always_inline u8 inspects(u32 kind)
{
	if (kind & CALL_ADVISE)
		return VECTOR_PROCESS_MADVISE;
	if (kind & CALL_REAP)
		return VECTOR_PROCESS_MRELEASE;
	if (kind & CALL_KCMP)
		return VECTOR_KCMP;
	return kind & CALL_PAGES ? VECTOR_MOVE_PAGES : VECTOR_UNKNOWN;
}

/* Returns the number of the system call that the task is in, as its entry point numbers it. Returns
 * 0 for an io_uring worker: its registers are left over from the call that created it.
 */
static __always_inline u32 call_number(struct task_struct *task, struct call_registers *regs)
{
	return task->flags & PF_IO_WORKER ? 0 : arch_call(regs);
}

/* Returns a mask of enum call: what the system call that the task is in can do. */
static __always_inline u32 call_of(struct task_struct *task, struct call_registers *regs)
{
	u64 nr = arch_call(regs);
	u32 kind;

	if (task->flags & PF_IO_WORKER)
		return CALL_RING;
	if (arch_is_compat(task)) {
		if (nr >= CALLS)
			return 0;
		kind = compat_calls[nr] | CALL_COMPAT;
	} else {
		nr &= ~(u64)ARCH_X32_BIT;
		if (nr >= CALLS)
			return 0;
		kind = native_calls[nr];
	}
	return kind;
}

#endif
