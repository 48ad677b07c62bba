/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The lsm sensor: hooks that run before memory is reached, where a refusal is an errno. It does not
 * see later use of what was opened earlier; the access sensor does.
 */
#ifndef SHIMWARD_GATES_H
#define SHIMWARD_GATES_H

#include "arch.h"
#include "judge.h"

#define UFFD_NAME "[userfaultfd]"
#define UFFD_LEN  16

/* Set when the kernel calls lsm_file_open. A successful attach proves nothing: without bpf among
 * the active modules (lsm=) it succeeds too, but the program is never called.
 */
u32 lsm_called;

/* Judges and reports a deed whose actor and target are known. Returns the hook's return value. */
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

/* Returns the task that a procfs inode belongs to, or NULL if it belongs to none or the task is
 * gone. Unlike a hook's argument, the pointer is not trusted by the verifier.
 */
static __always_inline struct task_struct *proc_task(struct inode *inode)
{
	struct proc_inode *proc = container_of_core(inode, struct proc_inode, vfs_inode);
	struct hlist_node *first = BPF_CORE_READ(proc, pid, tasks[0].first);

	return first ? container_of_core(first, struct task_struct, pid_links) : NULL;
}

/* Returns whether a task and the current one belong to one process or share their memory. */
static __always_inline bool is_own(struct task_struct *target, struct task_struct *task)
{
	return BPF_CORE_READ(target, group_leader) == task->group_leader ||
	       BPF_CORE_READ(target, mm) == task->mm;
}

/* The current task gets a procfs mem file. The target comes from an inode or a file's private data,
 * so unlike a hook's argument it is not trusted by the verifier.
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

/* Returns whether a file is a userfaultfd. It is recognized by its name on the file system of
 * anonymous inodes, where only the kernel names files.
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

/* The current task gets a userfaultfd of another process. With it, the task can supply the content
 * of pages which that process does not have yet.
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
	/* A memory without an owner has no pages left either. */
	if (!owner || is_own(owner, task))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)owner;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	deed.vector = VECTOR_USERFAULTFD;
	kind = call_of(task, (struct pt_regs *)bpf_task_pt_regs(task));
	if (kind & CALL_GETFD) {
		/* Access to the process it is taken from, usually the owner, was checked
		 * already.
		 */
		deed.vector = VECTOR_PIDFD_GETFD;
		deed.operation = OPERATION_ATTACH;
	}
	return gate(&deed, -EACCES);
}

/* Returns whether the target is a task that `runc exec` starts or takes the seccomp listener from.
 * Such a task is already in the container but has not execed, so it has no guard and is not part of
 * the workload.
 */
static __always_inline bool is_runtimes_own(struct deed *deed, struct task_struct *target)
{
	return !deed->actor_cgroup && !deed->target_guard && target->flags & PF_FORKNOEXEC;
}

/* Fills in the call that requests control of another task. */
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

/* Marks the tracer's later reads of the tracee as reported: the record of the attach covers
 * them.
 */
static __always_inline void trace_begins(struct deed *deed, struct task_struct *tracer,
					 struct task_struct *tracee)
{
	struct guard *keeper = bpf_task_storage_get(&guards, tracer, NULL, 0);

	if (keeper)
		mark_told(deed, keeper, name_of(address_of(tracee)));
}

/* /proc/<pid>/stat shows addresses to readers with ptrace read access and zeros to others. Only
 * do_task_stat checks with PTRACE_MODE_NOAUDIT, so that flag identifies it. ps reads stat of every
 * process, so no record is written either.
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

/* PTRACE_MODE_READ is also checked for every look into procfs: only the system call shows what the
 * access is for. Of the calls that are watched, only process_madvise checks with
 * PTRACE_MODE_FSCREDS.
 */
static __always_inline int inspect(struct task_struct *child, u32 mode, struct task_struct *task)
{
	u32 kind = call_of(task, (struct pt_regs *)bpf_task_pt_regs(task));
	struct deed deed = {.target = address_of(child), .operation = OPERATION_INSPECT};

	/* get_robust_list takes no mmap lock, so inspects(), which the access sensor uses, omits
	 * it.
	 */
	deed.vector = kind & CALL_ROBUST ? VECTOR_RECON : inspects(kind);
	if (!deed.vector || !(mode & PTRACE_MODE_REALCREDS) != !!(kind & CALL_ADVISE))
		return 0;
	current_acts(&deed, task);
	deed.target_cgroup = guard_of(child, deed.target, &deed.target_guard);
	if (deed.vector == VECTOR_RECON && !watches_recon(&deed))
		return 0;
	return is_runtimes_own(&deed, child) ? 0 : gate(&deed, -EPERM);
}

/* Opening a mem file triggers this check too, after file_open and with PTRACE_MODE_FSCREDS.
 * LeakSanitizer attaches to a process with which it shares memory; that is allowed.
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

/* The current task asks its parent to trace it: the parent is the actor. */
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

/* Fails the fork if the child cannot inherit its parent's guard: because the kernel has no memory
 * for it, or because another task's lookup is in progress on this CPU (before 6.2). guard_fork runs
 * too late to prevent the fork.
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

/* The current task is about to sample another task's registers and stack. The kernel applies the
 * ptrace check only to callers without CAP_PERFMON. Only events from perf_event_open are judged;
 * others are the kernel's own, a debugger's watchpoints, or copies for children (event->parent).
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
