/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which tasks are guarded. A guard is set at exec, inherited at fork, and kept when the task moves
 * to another cgroup.
 */
#ifndef SHIMWARD_GUARD_H
#define SHIMWARD_GUARD_H

#include "heirs.h"

#define PATH_DEPTH 16 /* path components, from the file up; a power of two */
#define NAME_LEN   64 /* bytes kept of a component, with the NUL */

/* Writes the path of the file that the task executes. The path passed to execve is not used: it may
 * be /proc/self/exe, /dev/fd/3 or a link with a harmless name.
 */
__noinline int name_exe(struct guard *guard, u64 address)
{
	struct file *file = BPF_CORE_READ((struct task_struct *)address, mm, exe_file);
	struct mount *mount = container_of_core(BPF_CORE_READ(file, f_path.mnt), struct mount, mnt);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	u64 names[PATH_DEPTH];
	u32 depth = 0, at = 0;

	if (!guard)
		return 0;
	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			struct mount *below = BPF_CORE_READ(mount, mnt_parent);

			if (below == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = below;
			continue;
		}
		if (!dentry || dentry == parent)
			break;
		names[depth++ & (PATH_DEPTH - 1)] = (u64)BPF_CORE_READ(dentry, d_name.name);
		dentry = parent;
	}
	for (u32 i = 1; i <= PATH_DEPTH && i <= depth && at < EXE_LEN; i++) {
		long len;

		guard->exe[at++] = '/';
		/* A long name overruns exe into args, which is written later. */
		len = bpf_probe_read_kernel_str(guard->exe + at, NAME_LEN,
						(void *)names[(depth - i) & (PATH_DEPTH - 1)]);
		if (len <= 0 || len > NAME_LEN)
			break;
		at += len - 1;
	}
	guard->exe[EXE_LEN - 1] = 0;
	return at;
}

/* Records the executable and the arguments that the task runs from now on. */
static __always_inline void note_exec(struct guard *guard, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	u64 len = BPF_CORE_READ(task, mm, arg_end) - start;
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);

	guard->exe_inode = BPF_CORE_READ(inode, i_ino);
	guard->exe_device = BPF_CORE_READ(inode, i_sb, s_dev);
	if (!name_exe(guard, address_of(task)))
		guard->exe[0] = 0;
	if (len > ARGS_LEN)
		len = ARGS_LEN;
	guard->args_len = len;
	/* This exec has just written the page, so it is present. */
	if (bpf_probe_read_user(guard->args, len, (void *)start))
		guard->args_len = 0;
}

/* Returns the address of the task's root dentry. Its inode and device numbers would not do: they
 * are the same for the roots of all btrfs subvolumes.
 */
static __always_inline u64 root_of(struct task_struct *task)
{
	return (u64)BPF_CORE_READ(task, fs, root.dentry);
}

/* Returns whether a task that is armed after init differs from it in both mount namespace and root.
 * A privileged process can write any pid into its own cgroup: the task is guarded from then on but
 * does not belong to the container. The runtime starts no task under another root, unless init has
 * itself changed its root.
 */
static __always_inline bool is_foreign(struct task_struct *task, struct state *state)
{
	return mnt_ns_of(task) != state->mnt_ns && root_of(task) != state->root;
}

/* Returns whether a task that execs before the container's own program runs has the image's root: a
 * startContainer hook, which init starts, or an exec, which the runtime starts. createContainer
 * hooks still have the root that init and the runtime have.
 */
static __always_inline bool is_in_image(struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, group_leader, real_parent, group_leader);
	struct task_struct *above = BPF_CORE_READ(parent, real_parent, group_leader);
	u64 root = root_of(task);

	return root != root_of(parent) || root != root_of(above);
}

/* Returns whether the exec of an unguarded task belongs to the workload. The first one is init's
 * own, or one that is in the image already; after that, it is any exec in the container's cgroup,
 * unless the task is still in the runtime's mount namespace: `runc init` execs itself there before
 * it joins the container, and may have been cloned into the cgroup.
 */
static __always_inline bool arms(struct task_struct *task, struct container *container,
				 struct state *state)
{
	u32 mnt_ns = mnt_ns_of(task);

	if (state->started)
		return mnt_ns == state->mnt_ns || mnt_ns != container->runtime_mnt_ns;
	if (tgid_of(task) != container->init)
		return is_in_image(task);
	state->mnt_ns = mnt_ns;
	state->root = root_of(task);
	state->started = 1;
	return true;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(guard_exec, struct task_struct *task)
{
	struct guard *guard = bpf_task_storage_get(&guards, task, NULL, 0);
	struct container *container;
	struct state *state;
	u64 id;

	if (guard) {
		note_exec(guard, task);
		meet_program(task, guard);
		return 0;
	}
	id = enrolled_cgroup(bpf_get_current_task());
	if (!id)
		return 0;
	container = bpf_map_lookup_elem(&containers, &id);
	state = bpf_map_lookup_elem(&states, &id);
	if (!container || !state || !arms(task, container, state))
		return 0;
	if (container->recon)
		recon_watched = 1;
	guard = bpf_task_storage_get(&guards, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!guard) {
		/* A task that cannot be guarded must not run. */
		bpf_send_signal(SIGKILL);
		return 0;
	}
	guard->cgroup = id;
	guard->origin = tgid_of(task);
	guard->origin_start = BPF_CORE_READ(task, group_leader, start_boottime);
	guard->enforce = container->enforce;
	guard->foreign = state->started && is_foreign(task, state);
	note_exec(guard, task);
	meet_early(task, guard);
	return 0;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(guard_fork, struct task_struct *child)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct guard *guard = bpf_task_storage_get(&guards, parent, NULL, 0), *inherited = NULL;

	if (guard)
		inherited =
			bpf_task_storage_get(&guards, child, guard, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (guard && inherited) {
		meet_child(parent, child, guard, inherited);
		return 0;
	}
	if (!guard && !find_guard(bpf_get_current_task()))
		return 0;
	/* A child without a guard is still recognized by its cgroup. Kill the parent, which could
	 * go on forking until one is not.
	 */
	guards_lost = 1;
	bpf_send_signal(SIGKILL);
	return 0;
}

#endif
