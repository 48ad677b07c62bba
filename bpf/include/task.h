/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Facts about a task. Tasks are passed as plain addresses and read with probe reads: some come from
 * pointers that the verifier does not trust (a procfs inode), and all are read the same way.
 * Functions that are not static are verified once, not at each call.
 */
#ifndef SHIMWARD_TASK_H
#define SHIMWARD_TASK_H

#include <linux/version.h>
#include "state.h"

#define CGROUP_DEPTH 24
#define FAMILY_DEPTH 16
#define STORAGES     64 /* of one task: other BPF tracers on the node may have some, too */

/* Returns a pointer's plain address: a function that is verified separately takes no pointer that
 * the verifier tracks.
 */
static __always_inline u64 address_of(void *pointer)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

/* Returns p's number in the pid namespace of the given level, or 0 if it has none. */
static __always_inline u32 pid_at(struct pid *p, u32 level)
{
	u64 numbers = (u64)p + bpf_core_field_offset(struct pid, numbers);
	struct upid *number;

	if (!p || level > BPF_CORE_READ(p, level))
		return 0;
	number = (struct upid *)(numbers + (u64)level * bpf_core_type_size(struct upid));
	return BPF_CORE_READ(number, nr);
}

/* Returns the inum of the pid namespace that the task lives in. */
static __always_inline u32 pid_ns_of(struct task_struct *task)
{
	struct pid *p = BPF_CORE_READ(task, thread_pid);
	u64 numbers = (u64)p + bpf_core_field_offset(struct pid, numbers);
	struct upid *number;

	if (!p)
		return 0;
	number = (struct upid *)(numbers +
				 (u64)BPF_CORE_READ(p, level) * bpf_core_type_size(struct upid));
	return BPF_CORE_READ(number, ns, ns.inum);
}

/* Returns the file behind a task's descriptor, or NULL if there is none. */
static __always_inline struct file *file_at(struct task_struct *task, u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

static __always_inline u32 mnt_ns_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
}

/* Returns the task's process id as the runtime sees it. */
static __always_inline u32 tgid_of(struct task_struct *task)
{
	return pid_at(BPF_CORE_READ(task, group_leader, thread_pid), node.level);
}

/* Returns whether an unguarded task looks as if it were in a container: in another pid or cgroup
 * namespace than the runtime, or in another mount namespace and under a root on another device. (A
 * service with a private /tmp has its own mount namespace but the host's root.) An exiting task has
 * already released its cgroup namespace, mount namespace and root.
 */
__noinline bool in_container(u64 address)
{
	struct task_struct *task = (struct task_struct *)address;
	struct nsproxy *namespaces = BPF_CORE_READ(task, nsproxy);
	u32 pid_ns = pid_ns_of(task);

	if (pid_ns && pid_ns != node.pid_ns)
		return true;
	if (!namespaces)
		return false;
	if (BPF_CORE_READ(namespaces, cgroup_ns, ns.inum) != node.cgroup_ns)
		return true;
	if (BPF_CORE_READ(namespaces, mnt_ns, ns.inum) == node.mnt_ns)
		return false;
	return BPF_CORE_READ(task, fs, root.dentry, d_sb, s_dev) != node.root_device;
}

/* Returns the id of the enrolled cgroup that the task is in, directly or in a descendant; 0 if
 * there is none. The search goes down from the root: a container is near it, but can nest cgroups
 * below its own as deep as it likes.
 */
__noinline u64 enrolled_cgroup(u64 address)
{
	struct task_struct *task = (struct task_struct *)address;
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp), *ancestor;
	u64 ancestors = (u64)cgroup + bpf_core_field_offset(struct cgroup, ancestors);
	int level = BPF_CORE_READ(cgroup, level);
	u64 found = 0;

	for (int i = 0; i < CGROUP_DEPTH && i <= level; i++) {
		u64 id;

		if (bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
					  (void *)(ancestors + i * sizeof(ancestor))))
			break;
		id = BPF_CORE_READ(ancestor, kn, id);
		if (bpf_map_lookup_elem(&containers, &id))
			found = id;
	}
	return found;
}

/* Set when a guard could not be inherited: see guard_fork. From then on, a task without a guard may
 * be one that should have one.
 */
u32 guards_lost;

/* Returns the cgroup id of the container that a task without a guard nevertheless belongs to, as
 * its cgroup shows; 0 if there is none.
 */
__noinline u64 stray_cgroup(u64 task)
{
	u64 id = enrolled_cgroup(task);
	u32 mnt_ns = mnt_ns_of((struct task_struct *)task);
	struct container *container;
	struct state *state;

	if (!id || !mnt_ns)
		return 0;
	container = bpf_map_lookup_elem(&containers, &id);
	state = bpf_map_lookup_elem(&states, &id);
	if (!container || !state || !state->started)
		return 0;
	/* As in arms: the task may have made a mount namespace of its own. */
	if (mnt_ns != state->mnt_ns && mnt_ns == container->runtime_mnt_ns)
		return 0;
	return id;
}

/* Returns the address of a task's guard, or 0 if it has none. Reads what bpf_task_storage_get
 * reads, for a task that the verifier does not trust.
 */
__noinline u64 find_guard(u64 address)
{
	struct hlist_node *link =
		BPF_CORE_READ((struct task_struct *)address, bpf_storage, list.first);
	u64 map = address_of(&guards);

	for (int i = 0; i < STORAGES && link; i++) {
		struct bpf_local_storage_elem *elem =
			container_of_core(link, struct bpf_local_storage_elem, snode);

		/* A storage map begins with its struct bpf_map. */
		if ((u64)BPF_CORE_READ(elem, sdata.smap) == map)
			return (u64)elem +
			       bpf_core_field_offset(struct bpf_local_storage_elem, sdata.data);
		link = BPF_CORE_READ(link, next);
	}
	return 0;
}

/* Returns the id of the cgroup that a task is guarded with, or 0, and sets *guard to the address of
 * its guard, or 0.
 */
static __always_inline u64 cgroup_of(u64 task, u64 *guard)
{
	*guard = find_guard(task);
	if (*guard)
		return BPF_PROBE_READ((struct guard *)*guard, cgroup);
	return guards_lost ? stray_cgroup(task) : 0;
}

extern int LINUX_KERNEL_VERSION __kconfig;

/* Like cgroup_of, for a task that bpf_task_storage_get was called for. Before 6.2 (commit
 * e8b02296a6b8) that call fails when it preempts another one on the same CPU.
 */
static __always_inline u64 cgroup_under(struct guard *found, u64 task, u64 *guard)
{
	if (found) {
		*guard = address_of(found);
		return found->cgroup;
	}
	if (LINUX_KERNEL_VERSION < KERNEL_VERSION(6, 2, 0) || guards_lost)
		return cgroup_of(task, guard);
	return 0;
}

/* Returns whether the target is a descendant of the actor. */
__noinline bool descends(u64 actor, u64 target)
{
	struct task_struct *top = BPF_CORE_READ((struct task_struct *)actor, group_leader);
	struct task_struct *task = (struct task_struct *)target;

	for (int i = 0; i < FAMILY_DEPTH && task; i++) {
		struct task_struct *parent = BPF_CORE_READ(task, real_parent);

		if (parent == task)
			break;
		if (BPF_CORE_READ(parent, group_leader) == top)
			return true;
		task = parent;
	}
	return false;
}

/* Reads the inode's change time, in whichever field this kernel keeps it. */
static __always_inline void change_time(struct inode *inode, s64 *sec, u32 *nsec)
{
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		*sec = BPF_CORE_READ(inode, i_ctime_sec);
		*nsec = BPF_CORE_READ(inode, i_ctime_nsec);
	} else if (bpf_core_field_exists(((struct inode___before_6_11 *)inode)->__i_ctime)) {
		struct inode___before_6_11 *older = (void *)inode;

		*sec = BPF_CORE_READ(older, __i_ctime.tv_sec);
		*nsec = BPF_CORE_READ(older, __i_ctime.tv_nsec);
	} else {
		struct inode___before_6_6 *oldest = (void *)inode;

		*sec = BPF_CORE_READ(oldest, i_ctime.tv_sec);
		*nsec = BPF_CORE_READ(oldest, i_ctime.tv_nsec);
	}
}

#endif
