/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* arm64, with its 32-bit entry. Included by arch.h. */

#define ARCH_X32_BIT 0
#define TIF_32BIT    22 /* arch/arm64/include/asm/thread_info.h */

struct pt_regs {
	u64 orig_x0; /* regs[0] before the result overwrites it */
	s32 syscallno;
} __attribute__((preserve_access_index));

#define call_registers pt_regs

static __always_inline u64 arch_call(struct pt_regs *regs)
{
	return (u32)regs->syscallno;
}

static __always_inline bool arch_is_compat(struct task_struct *task)
{
	return task->thread_info.flags & (1UL << TIF_32BIT);
}

static __always_inline u32 arch_arg0(struct task_struct *task, struct pt_regs *regs)
{
	return regs->orig_x0;
}

/* include/uapi/asm-generic/unistd.h */
static const u16 native_calls[CALLS] = {
	[63] = CALL_READ,	      /* read */
	[67] = CALL_READ,	      /* pread64 */
	[65] = CALL_READ,	      /* readv */
	[69] = CALL_READ,	      /* preadv */
	[286] = CALL_READ,	      /* preadv2 */
	[64] = CALL_WRITE,	      /* write */
	[68] = CALL_WRITE,	      /* pwrite64 */
	[66] = CALL_WRITE,	      /* writev */
	[70] = CALL_WRITE,	      /* pwritev */
	[287] = CALL_WRITE,	      /* pwritev2 */
	[71] = CALL_RING,	      /* sendfile */
	[76] = CALL_RING,	      /* splice */
	[285] = CALL_RING,	      /* copy_file_range */
	[426] = CALL_RING,	      /* io_uring_enter */
	[117] = CALL_PTRACE,	      /* ptrace */
	[270] = CALL_VM | CALL_READ,  /* process_vm_readv */
	[271] = CALL_VM | CALL_WRITE, /* process_vm_writev */
	[438] = CALL_GETFD,	      /* pidfd_getfd */
	[440] = CALL_ADVISE,	      /* process_madvise */
	[448] = CALL_REAP,	      /* process_mrelease */
	[272] = CALL_KCMP,	      /* kcmp */
	[238] = CALL_PAGES,	      /* migrate_pages */
	[239] = CALL_PAGES,	      /* move_pages */
	[241] = CALL_PERF,	      /* perf_event_open */
	[100] = CALL_ROBUST,	      /* get_robust_list */
	[274] = CALL_SCHED,	      /* sched_setattr */
};

/* arch/arm/tools/syscall.tbl */
static const u16 compat_calls[CALLS] = {
	[3] = CALL_READ,	      /* read */
	[180] = CALL_READ,	      /* pread64 */
	[145] = CALL_READ,	      /* readv */
	[361] = CALL_READ,	      /* preadv */
	[392] = CALL_READ,	      /* preadv2 */
	[4] = CALL_WRITE,	      /* write */
	[181] = CALL_WRITE,	      /* pwrite64 */
	[146] = CALL_WRITE,	      /* writev */
	[362] = CALL_WRITE,	      /* pwritev */
	[393] = CALL_WRITE,	      /* pwritev2 */
	[187] = CALL_RING,	      /* sendfile */
	[239] = CALL_RING,	      /* sendfile64 */
	[340] = CALL_RING,	      /* splice */
	[391] = CALL_RING,	      /* copy_file_range */
	[426] = CALL_RING,	      /* io_uring_enter */
	[26] = CALL_PTRACE,	      /* ptrace */
	[376] = CALL_VM | CALL_READ,  /* process_vm_readv */
	[377] = CALL_VM | CALL_WRITE, /* process_vm_writev */
	[438] = CALL_GETFD,	      /* pidfd_getfd */
	[440] = CALL_ADVISE,	      /* process_madvise */
	[448] = CALL_REAP,	      /* process_mrelease */
	[378] = CALL_KCMP,	      /* kcmp */
	[400] = CALL_PAGES,	      /* migrate_pages */
	[344] = CALL_PAGES,	      /* move_pages */
	[364] = CALL_PERF,	      /* perf_event_open */
	[339] = CALL_ROBUST,	      /* get_robust_list */
	[380] = CALL_SCHED,	      /* sched_setattr */
};
