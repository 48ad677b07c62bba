/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who is guarded: armed at exec, inherited at fork, kept whatever cgroup a task moves to. */
#ifndef SHIMWARD_GUARD_H
#define SHIMWARD_GUARD_H

#include "early.h"

#define PATH_DEPTH 16 /* components, from the file up; a power of two */
#define NAME_LEN   64 /* what of a component is kept */

/* Writes the path of the file that the task executes. What execve was given may be
 * /proc/self/exe, /dev/fd/3 or a link with a harmless name.
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
		/* A long one runs over into the arguments, which are written later. */
		len = bpf_probe_read_kernel_str(guard->exe + at, NAME_LEN,
						(void *)names[(depth - i) & (PATH_DEPTH - 1)]);
		if (len <= 0 || len > NAME_LEN)
			break;
		at += len - 1;
	}
	guard->exe[EXE_LEN - 1] = 0;
	return at;
}

/* Notes what the task runs from here on. */
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
	/* The page was written a moment ago by this very exec, so it is there. */
	if (bpf_probe_read_user(guard->args, len, (void *)start))
		guard->args_len = 0;
}

/* Returns the address of the task's root folder: the roots of btrfs's subvolumes have all one
 * number, and one device. */
static __always_inline u64 root_of(struct task_struct *task)
{
	return (u64)BPF_CORE_READ(task, fs, root.dentry);
}

/* Tells whether a task that is armed late is in another mount namespace than init was and
 * under another root. Who is privileged writes anybody's pid into its own cgroup: such a
 * one is guarded from here, and is none of the container's own. The runtime brings
 * nobody in under another root, unless init itself has moved.
 */
static __always_inline bool is_foreign(struct task_struct *task, struct state *state)
{
	return mnt_ns_of(task) != state->mnt_ns && root_of(task) != state->root;
}

/* Tells whether the exec of an unguarded task is the workload's: init's own
 * first, and from then on that of everything in the container's cgroup, unless
 * it is still in the runtime's mount namespace. There `runc init` execs itself
 * before it joins the container, and it may have been cloned into the cgroup.
 */
static __always_inline bool arms(struct task_struct *task, struct container *container,
				 struct state *state)
{
	u32 mnt_ns = mnt_ns_of(task);

	if (state->started)
		return mnt_ns == state->mnt_ns || mnt_ns != container->runtime_mnt_ns;
	if (tgid_of(task) != container->init)
		return false;
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
		/* An exec that cannot be guarded must not run. */
		bpf_send_signal(SIGKILL);
		return 0;
	}
	guard->cgroup = id;
	guard->origin = tgid_of(task);
	guard->origin_start = BPF_CORE_READ(task, group_leader, start_boottime);
	guard->enforce = container->enforce;
	guard->foreign = is_foreign(task, state);
	note_exec(guard, task);
	meet_early(task, guard);
	return 0;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(guard_fork, struct task_struct *child)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct guard *guard = bpf_task_storage_get(&guards, parent, NULL, 0);

	if (guard && bpf_task_storage_get(&guards, child, guard, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return 0;
	if (!guard && !find_guard(bpf_get_current_task()))
		return 0;
	/* A child without a guard is still known by its cgroup; its parent, which could
	 * go on making children until one is not, ends here.
	 */
	guards_lost = 1;
	bpf_send_signal(SIGKILL);
	return 0;
}

#endif
