/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* x86-64, with its x32 and i386 entries. Included by arch.h. */

#define ARCH_X32_BIT 0x40000000
#define TS_COMPAT    0x0002 /* arch/x86/include/asm/thread_info.h */

struct pt_regs {
	unsigned long bx; /* the first argument of int 0x80 */
	unsigned long di; /* the first argument of syscall */
	unsigned long orig_ax;
} __attribute__((preserve_access_index));

#define call_registers pt_regs

/* The kernel dispatches on the low 32 bits of the register but saves all 64 in orig_ax. */
static __always_inline u64 arch_call(struct pt_regs *regs)
{
	return (u32)regs->orig_ax;
}

static __always_inline bool arch_is_compat(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

static __always_inline u32 arch_arg0(struct task_struct *task, struct pt_regs *regs)
{
	return arch_is_compat(task) ? regs->bx : regs->di;
}

/* arch/x86/entry/syscalls/syscall_64.tbl; numbers from 512 on are x32 only */
static const u16 native_calls[CALLS] = {
	[0] = CALL_READ,	      /* read */
	[17] = CALL_READ,	      /* pread64 */
	[19] = CALL_READ,	      /* readv */
	[295] = CALL_READ,	      /* preadv */
	[327] = CALL_READ,	      /* preadv2 */
	[1] = CALL_WRITE,	      /* write */
	[18] = CALL_WRITE,	      /* pwrite64 */
	[20] = CALL_WRITE,	      /* writev */
	[296] = CALL_WRITE,	      /* pwritev */
	[328] = CALL_WRITE,	      /* pwritev2 */
	[40] = CALL_RING,	      /* sendfile */
	[275] = CALL_RING,	      /* splice */
	[326] = CALL_RING,	      /* copy_file_range */
	[426] = CALL_RING,	      /* io_uring_enter */
	[101] = CALL_PTRACE,	      /* ptrace */
	[310] = CALL_VM | CALL_READ,  /* process_vm_readv */
	[311] = CALL_VM | CALL_WRITE, /* process_vm_writev */
	[438] = CALL_GETFD,	      /* pidfd_getfd */
	[515] = CALL_READ,	      /* readv */
	[534] = CALL_READ,	      /* preadv */
	[546] = CALL_READ,	      /* preadv2 */
	[516] = CALL_WRITE,	      /* writev */
	[535] = CALL_WRITE,	      /* pwritev */
	[547] = CALL_WRITE,	      /* pwritev2 */
	[521] = CALL_PTRACE,	      /* ptrace */
	[539] = CALL_VM | CALL_READ,  /* process_vm_readv */
	[540] = CALL_VM | CALL_WRITE, /* process_vm_writev */
	[440] = CALL_ADVISE,	      /* process_madvise */
	[448] = CALL_REAP,	      /* process_mrelease */
	[312] = CALL_KCMP,	      /* kcmp */
	[256] = CALL_PAGES,	      /* migrate_pages */
	[279] = CALL_PAGES,	      /* move_pages */
	[533] = CALL_PAGES,	      /* move_pages */
	[298] = CALL_PERF,	      /* perf_event_open */
	[274] = CALL_ROBUST,	      /* get_robust_list */
	[531] = CALL_ROBUST,	      /* get_robust_list */
	[314] = CALL_SCHED,	      /* sched_setattr */
};

/* arch/x86/entry/syscalls/syscall_32.tbl */
static const u16 compat_calls[CALLS] = {
	[3] = CALL_READ,	      /* read */
	[180] = CALL_READ,	      /* pread64 */
	[145] = CALL_READ,	      /* readv */
	[333] = CALL_READ,	      /* preadv */
	[378] = CALL_READ,	      /* preadv2 */
	[4] = CALL_WRITE,	      /* write */
	[181] = CALL_WRITE,	      /* pwrite64 */
	[146] = CALL_WRITE,	      /* writev */
	[334] = CALL_WRITE,	      /* pwritev */
	[379] = CALL_WRITE,	      /* pwritev2 */
	[187] = CALL_RING,	      /* sendfile */
	[239] = CALL_RING,	      /* sendfile64 */
	[313] = CALL_RING,	      /* splice */
	[377] = CALL_RING,	      /* copy_file_range */
	[426] = CALL_RING,	      /* io_uring_enter */
	[26] = CALL_PTRACE,	      /* ptrace */
	[347] = CALL_VM | CALL_READ,  /* process_vm_readv */
	[348] = CALL_VM | CALL_WRITE, /* process_vm_writev */
	[438] = CALL_GETFD,	      /* pidfd_getfd */
	[440] = CALL_ADVISE,	      /* process_madvise */
	[448] = CALL_REAP,	      /* process_mrelease */
	[349] = CALL_KCMP,	      /* kcmp */
	[294] = CALL_PAGES,	      /* migrate_pages */
	[317] = CALL_PAGES,	      /* move_pages */
	[336] = CALL_PERF,	      /* perf_event_open */
	[312] = CALL_ROBUST,	      /* get_robust_list */
	[351] = CALL_SCHED,	      /* sched_setattr */
};
