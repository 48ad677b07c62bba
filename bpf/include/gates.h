/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The lsm sensor: the gates before the memory, where a refusal is an errno. It
 * sees no use of what was opened before; that is the access sensor's.
 */
#ifndef SHIMWARD_GATES_H
#define SHIMWARD_GATES_H

#include "arch.h"
#include "judge.h"

#define UFFD_NAME "[userfaultfd]"
#define UFFD_LEN  16

/* Set when the kernel calls lsm_file_open. Attaching tells nothing: without bpf
 * among the active modules (lsm=) it succeeds, and the program is never called.
 */
u32 lsm_called;

/* Finishes a deed whose sides are known: returns what the hook is to return. */
static __always_inline int gate(struct deed *deed, int refusal)
{
	int refuse;

	if (!deed->actor_cgroup && !deed->target_cgroup)
		return 0;
	deed->sensor = SENSOR_LSM;
	refuse = judge(deed);
	deed->verdict = refuse ? VERDICT_REFUSED : VERDICT_OBSERVED;
	report(deed, false);
	return refuse ? refusal : 0;
}

static __always_inline u64 guard_of(struct task_struct *task, u64 address, u64 *guard)
{
	return cgroup_under(bpf_task_storage_get(&guards, task, NULL, 0), address, guard);
}

static __always_inline void current_acts(struct deed *deed, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	deed->actor = bpf_get_current_task();
	deed->actor_cgroup = guard_of(task, deed->actor, &deed->actor_guard);
	deed->call = call_number(task, regs);
	if (arch_is_compat(task))
		deed->flags |= FLAG_COMPAT;
}

/* Returns the task that an inode of procfs is about; NULL: it is about none, or that
 * is gone. The verifier does not trust it as it does a hook's argument.
 */
static __always_inline struct task_struct *proc_task(struct inode *inode)
{
	struct proc_inode *proc = container_of_core(inode, struct proc_inode, vfs_inode);
	struct hlist_node *first = BPF_CORE_READ(proc, pid, tasks[0].first);

	return first ? container_of_core(first, struct task_struct, pid_links) : NULL;
}

/* Tells whether a task and the current one are of one process, or share their memory. */
static __always_inline bool is_own(struct task_struct *target, struct task_struct *task)
{
	return BPF_CORE_READ(target, group_leader) == task->group_leader ||
	       BPF_CORE_READ(target, mm) == task->mm;
}

/* A procfs mem file comes into the hands of the current task. The target comes
 * from an inode or a file's private data, which the verifier does not trust as
 * it does a hook's argument.
 */
static __always_inline int take_mem(struct file *file, struct task_struct *target)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool writes = file->f_mode & FMODE_WRITE;
	struct deed deed = {.target = (u64)target};

	current_acts(&deed, task);
	if (target && is_own(target, task)) {
		if (!writes)
			return 0;
		deed.vector = VECTOR_SELF_MEM;
		deed.relation = RELATION_SELF;
		deed.target_guard = deed.actor_guard;
		deed.target_cgroup = deed.actor_cgroup;
	} else {
		deed.vector = VECTOR_PROC_MEM;
		deed.target_cgroup = target ? cgroup_of((u64)target, &deed.target_guard) : 0;
	}
	deed.operation = writes ? OPERATION_WRITE : OPERATION_READ;
	return gate(&deed, -EACCES);
}

/* Tells whether a file is a userfaultfd: by the name that the kernel alone gives
 * on the file system of its anonymous inodes.
 */
static __always_inline bool is_userfaultfd(struct file *file)
{
	char name[UFFD_LEN] = {};

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return !__builtin_memcmp(name, UFFD_NAME, sizeof(UFFD_NAME));
}

/* Another's userfaultfd comes into the hands of the current task, which can fill the
 * pages with it that the other's memory does not have yet.
 */
static __always_inline int take_userfaultfd(struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf(), *owner;
	struct deed deed = {.operation = OPERATION_WRITE};
	struct userfaultfd_ctx *pages = file->private_data;
	u32 kind;

	if (!bpf_core_field_exists(pages->mm))
		return 0;
	owner = BPF_CORE_READ(pages, mm, owner);
	/* Of a memory whose last owner is gone there are no pages either. */
	if (!owner || is_own(owner, task))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)owner;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	deed.vector = VECTOR_USERFAULTFD;
	kind = call_of(task, (struct pt_regs *)bpf_task_pt_regs(task));
	if (kind & CALL_GETFD) {
		/* Of whom it is taken was asked about already: mostly its owner. */
		deed.vector = VECTOR_PIDFD_GETFD;
		deed.operation = OPERATION_ATTACH;
	}
	return gate(&deed, -EACCES);
}

/* A task that `runc exec` starts, or takes the seccomp listener from: it is in the
 * container already and has not execed, so it has no guard, and is no workload.
 */
static __always_inline bool is_runtimes_own(struct deed *deed, struct task_struct *target)
{
	return !deed->actor_cgroup && !deed->target_guard && target->flags & PF_FORKNOEXEC;
}

/* Tells which call asks for control of another task. */
static __always_inline void name_gate(struct deed *deed, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	u32 kind = call_of(task, regs);

	deed->operation = OPERATION_ATTACH;
	if (kind & CALL_VM) {
		deed->vector =
			kind & CALL_WRITE ? VECTOR_PROCESS_VM_WRITEV : VECTOR_PROCESS_VM_READV;
		deed->operation = kind & CALL_WRITE ? OPERATION_WRITE : OPERATION_READ;
	} else if (kind & CALL_PTRACE) {
		deed->vector = VECTOR_PTRACE;
		deed->request = arch_arg0(task, regs);
	} else if (kind & CALL_GETFD) {
		deed->vector = VECTOR_PIDFD_GETFD;
	} else if (kind & CALL_PERF) {
		deed->vector = VECTOR_PERF_EVENT;
		deed->operation = OPERATION_READ;
	}
}

/* What the tracer reads of the tracee from here on has been told with this. */
static __always_inline void trace_begins(struct deed *deed, struct task_struct *tracer,
					 struct task_struct *tracee)
{
	struct guard *keeper = bpf_task_storage_get(&guards, tracer, NULL, 0);

	if (keeper)
		mark_told(deed, keeper, name_of(address_of(tracee)));
}

/* Somebody reads another's stat, which shows addresses to who may look into that one and
 * zeros to others: do_task_stat alone asks without wanting it audited. ps reads it of every
 * process, and is not told of either.
 */
static __always_inline int look_at_stat(struct task_struct *child, struct task_struct *task)
{
	struct deed deed = {
		.target = address_of(child),
		.vector = VECTOR_RECON,
		.operation = OPERATION_INSPECT,
	};

	if (!recon_watched)
		return 0;
	current_acts(&deed, task);
	deed.target_cgroup = guard_of(child, deed.target, &deed.target_guard);
	return watches_recon(&deed) && judge(&deed) ? -EPERM : 0;
}

/* PTRACE_MODE_READ is asked for by all that looks into procfs as well: only the system
 * call tells what for. Of what is watched, process_madvise alone asks with the
 * credentials of the file system.
 */
static __always_inline int inspect(struct task_struct *child, u32 mode, struct task_struct *task)
{
	u32 kind = call_of(task, (struct pt_regs *)bpf_task_pt_regs(task));
	struct deed deed = {.target = address_of(child), .operation = OPERATION_INSPECT};

	/* It takes nobody's lock, and so is none of those that the access sensor names. */
	deed.vector = kind & CALL_ROBUST ? VECTOR_RECON : inspects(kind);
	if (!deed.vector || !(mode & PTRACE_MODE_REALCREDS) != !!(kind & CALL_ADVISE))
		return 0;
	current_acts(&deed, task);
	deed.target_cgroup = guard_of(child, deed.target, &deed.target_guard);
	if (deed.vector == VECTOR_RECON && !watches_recon(&deed))
		return 0;
	return is_runtimes_own(&deed, child) ? 0 : gate(&deed, -EPERM);
}

/* Opening a mem file asks too, with the other kind of credentials, after
 * file_open. LeakSanitizer attaches to a process whose memory it shares.
 */
SEC("lsm/ptrace_access_check")
int BPF_PROG(lsm_ptrace_access_check, struct task_struct *child, unsigned int mode, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deed deed = {.target = address_of(child)};
	int refusal;

	if (ret)
		return ret;
	if (child->mm == task->mm)
		return 0;
	if (!(mode & PTRACE_MODE_ATTACH))
		return mode & PTRACE_MODE_NOAUDIT ? look_at_stat(child, task)
						  : inspect(child, mode, task);
	if (!(mode & PTRACE_MODE_REALCREDS))
		return 0;
	current_acts(&deed, task);
	deed.target_cgroup = guard_of(child, deed.target, &deed.target_guard);
	if (is_runtimes_own(&deed, child))
		return 0;
	name_gate(&deed, task);
	refusal = gate(&deed, -EPERM);
	if (!refusal && deed.vector == VECTOR_PTRACE)
		trace_begins(&deed, task, child);
	return refusal;
}

/* The current task asks its parent to trace it: the parent is who gets the access. */
SEC("lsm/ptrace_traceme")
int BPF_PROG(lsm_ptrace_traceme, struct task_struct *parent, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deed deed = {
		.actor = address_of(parent),
		.target = bpf_get_current_task(),
		.vector = VECTOR_PTRACE,
		.operation = OPERATION_ATTACH,
		.flags = FLAG_TRACEME,
	};
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	int refusal;

	if (ret)
		return ret;
	deed.call = call_number(task, regs);
	if (arch_is_compat(task))
		deed.flags |= FLAG_COMPAT;
	deed.actor_cgroup = guard_of(parent, deed.actor, &deed.actor_guard);
	deed.target_cgroup = guard_of(task, deed.target, &deed.target_guard);
	refusal = gate(&deed, -EPERM);
	if (!refusal)
		trace_begins(&deed, parent, task);
	return refusal;
}

/* A child that could not have its parent's guard is not made: the kernel has no memory for
 * it, or another task's look-up is under way on this CPU (before 6.2). guard_fork comes too
 * late for that.
 */
SEC("lsm/task_alloc")
int BPF_PROG(lsm_task_alloc, struct task_struct *child, unsigned long flags, int ret)
{
	struct guard *guard;

	if (ret)
		return ret;
	guard = bpf_task_storage_get(&guards, bpf_get_current_task_btf(), NULL, 0);
	if (!guard)
		return find_guard(bpf_get_current_task()) ? -EAGAIN : 0;
	if (!bpf_task_storage_get(&guards, child, guard, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return -EAGAIN;
	return 0;
}

/* Somebody will sample a task's registers and stack. The kernel asks ptrace's check of
 * those alone who have no CAP_PERFMON. Of events that samplers open, this is what
 * perf_event_open does itself: others are the kernel's, a debugger's watchpoints and
 * copies for children (parent).
 */
SEC("lsm/perf_event_alloc")
int BPF_PROG(lsm_perf_event_alloc, struct perf_event *event, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf(), *target;
	struct deed deed = {.vector = VECTOR_PERF_EVENT, .operation = OPERATION_READ};

	if (ret || event->parent)
		return ret;
	target = BPF_CORE_READ(event, hw.target);
	if (!target || is_own(target, task))
		return 0;
	if (!(call_of(task, (struct pt_regs *)bpf_task_pt_regs(task)) & CALL_PERF))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)target;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	return gate(&deed, -EPERM);
}

#endif
