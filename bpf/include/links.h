/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Memory that is also a file (a memfd, shared memory) can be opened through /proc/<pid>/fd/<n>,
 * /proc/<pid>/map_files/<range> or, if the process executes it, /proc/<pid>/exe, and its use takes
 * no mmap lock. The kernel requires only PTRACE_MODE_READ there.
 */
#ifndef SHIMWARD_LINKS_H
#define SHIMWARD_LINKS_H

#include "gates.h"
#include "stack.h"

#define LINK_LEN  12 /* of the names that are compared */
#define FD_DIGITS 10
#define NO_NUMBER 0xffffffff

static __always_inline u32 number_of(const char *text)
{
	u32 number = 0;

	for (int i = 0; i < FD_DIGITS; i++) {
		if (!text[i])
			return i ? number : NO_NUMBER;
		if (text[i] < '0' || text[i] > '9')
			return NO_NUMBER;
		number = number * 10 + (text[i] - '0');
	}
	return NO_NUMBER;
}

/* Returns whether a file's content is memory rather than stored data. */
static __always_inline bool is_memory(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return false;
	return magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC || magic == SECRETMEM_MAGIC;
}

/* Returns the vector for a link, by the name of its directory; 0 if it does not lead to memory. */
static __always_inline u8 link_vector(struct dentry *dentry, struct task_struct *target)
{
	char folder[LINK_LEN] = {}, name[LINK_LEN] = {};
	u32 fd;

	bpf_probe_read_kernel_str(folder, sizeof(folder),
				  BPF_CORE_READ(dentry, d_parent, d_name.name));
	/* A BPF program cannot find out which mapping the link is for; only checkpointing uses
	 * these links.
	 */
	if (!__builtin_memcmp(folder, "map_files", sizeof("map_files")))
		return VECTOR_MAP_FILES;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	/* An executable in a memfd is in no directory, and can be reached through this link. */
	if (!__builtin_memcmp(name, "exe", sizeof("exe")))
		return is_memory(BPF_CORE_READ(target, mm, exe_file)) ? VECTOR_PROC_FD : 0;
	if (__builtin_memcmp(folder, "fd", sizeof("fd")))
		return 0;
	fd = number_of(name);
	if (fd == NO_NUMBER || !is_memory(file_at(target, fd)))
		return 0;
	return VECTOR_PROC_FD;
}

/* Returns whether the link is only followed for stat(2) or access(2), as lsof and fuser do with all
 * links. The system call's number would not do: io_uring opens files during other calls.
 */
static __always_inline bool only_looks(void *ctx)
{
	struct trace trace = {};

	if (!take_stack(ctx, &trace))
		return false;
	for (u32 i = 0; i < STACK_DEPTH && i < trace.depth; i++)
		if (within(trace.at[i], SYMBOL_STATX) || within(trace.at[i], SYMBOL_ACCESSIBLE))
			return true;
	return false;
}

SEC("lsm/inode_follow_link")
int BPF_PROG(lsm_inode_follow_link, struct dentry *dentry, struct inode *inode, bool rcu, int ret)
{
	struct task_struct *task, *target;
	struct deed deed = {.operation = OPERATION_ATTACH};

	if (ret || inode->i_sb->s_magic != PROC_SUPER_MAGIC)
		return ret;
	task = bpf_get_current_task_btf();
	target = proc_task(inode);
	if (!target || is_own(target, task))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)target;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	if (!deed.actor_cgroup && !deed.target_cgroup)
		return 0;
	deed.vector = link_vector(dentry, target);
	if (!deed.vector || only_looks(ctx))
		return 0;
	return gate(&deed, -EACCES);
}

#endif
