/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * When a process crashes, the kernel writes its memory to a file on the process's own behalf. What
 * can be observed is who makes it crash, and who sets how much a crash dumps.
 */
#ifndef SHIMWARD_CRASH_H
#define SHIMWARD_CRASH_H

#include "gates.h"

/* include/linux/signal.h, SIG_KERNEL_COREDUMP_MASK: QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU,
 * XFSZ, SYS. The numbers are the same on all architectures supported here.
 */
#define CORE_SIGNALS                                                                               \
	(1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 11 | 1u << 24 |         \
	 1u << 25 | 1u << 31)

static __always_inline bool is_core_signal(u32 sig)
{
	return sig >= 1 && sig <= 31 && CORE_SIGNALS & 1u << sig;
}

/* Returns whether a signal would end a task with a core dump, that is, whether the task has no
 * handler for it.
 */
static __always_inline bool dumps_core(struct task_struct *target, int sig)
{
	u64 actions = (u64)BPF_CORE_READ(target, sighand) +
		      bpf_core_field_offset(struct sighand_struct, action);
	struct k_sigaction *action =
		(struct k_sigaction *)(actions +
				       (sig - 1) * bpf_core_type_size(struct k_sigaction));

	return !BPF_CORE_READ(action, sa.sa_handler);
}

/* Judges an attempt to have another process's memory dumped. It is allowed within one container,
 * and to host processes: the runtime sends whatever stop signal an image names.
 */
static __always_inline int provoke(struct deed *deed)
{
	deed->vector = VECTOR_CORE_DUMP;
	deed->operation = OPERATION_READ;
	if (deed->actor_cgroup == deed->target_cgroup &&
	    !strangers(deed->actor_guard, deed->target_guard))
		return 0;
	if (!deed->actor_cgroup && !comes_from_container(deed))
		return 0;
	return gate(deed, -EPERM);
}

static __always_inline int provoke_now(struct task_struct *target, struct task_struct *task)
{
	struct deed deed = {.target = address_of(target)};

	current_acts(&deed, task);
	deed.target_cgroup = guard_of(target, deed.target, &deed.target_guard);
	return provoke(&deed);
}

SEC("lsm/task_kill")
int BPF_PROG(lsm_task_kill, struct task_struct *target, void *info, int sig, struct cred *sender,
	     int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	/* If credentials are passed, the sender is not the current task. They usually are NULL, but
	 * newer verifiers assume that a hook's pointer argument is never NULL and drop the code
	 * after a test for it; hence address_of.
	 */
	if (ret || !is_core_signal(sig) || address_of(sender))
		return ret;
	if (target->group_leader == task->group_leader || !dumps_core(target, sig))
		return 0;
	return provoke_now(target, task);
}

/* Changing another process's limits can set how much of its memory a crash dumps, or make
 * it crash.
 */
SEC("lsm/task_setrlimit")
int BPF_PROG(lsm_task_setrlimit, struct task_struct *target, unsigned int resource, void *limit,
	     int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deed deed = {.vector = VECTOR_CORE_LIMIT, .operation = OPERATION_READ};

	if (ret || target->group_leader == task->group_leader)
		return ret;
	switch (resource) {
	case RLIMIT_CPU:
	case RLIMIT_FSIZE:
	case RLIMIT_STACK:
	case RLIMIT_RTTIME:
		return provoke_now(target, task);
	}
	if (resource != RLIMIT_CORE)
		return 0;
	deed.target = address_of(target);
	current_acts(&deed, task);
	deed.target_cgroup = guard_of(target, deed.target, &deed.target_guard);
	return is_runtimes_own(&deed, target) ? 0 : gate(&deed, -EPERM);
}

/* With SCHED_FLAG_DL_OVERRUN, the kernel sends SIGXCPU to a deadline task that overruns its
 * runtime. No hook is called for that signal. Of the calls that set a deadline, only sched_setattr
 * can request it.
 */
SEC("lsm/task_setscheduler")
int BPF_PROG(lsm_task_setscheduler, struct task_struct *target, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (ret || target->group_leader == task->group_leader)
		return ret;
	if (!(call_of(task, (struct pt_regs *)bpf_task_pt_regs(task)) & CALL_SCHED))
		return 0;
	return provoke_now(target, task);
}

#endif
