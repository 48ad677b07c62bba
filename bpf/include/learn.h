/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Programs that user space runs itself, for facts that no file gives exactly: where the functions
 * behind procfs's mem file are, an open file's inode (on overlayfs and btrfs, stat's device number
 * is not the inode's), and who uses a descriptor table.
 */
#ifndef SHIMWARD_LEARN_H
#define SHIMWARD_LEARN_H

#include "gates.h"

#define SYMBOL_LEN 64

struct symbol_place {
	u64 start;
	char text[SYMBOL_LEN]; /* name+0x0/0xsize */
};

struct learned_node {
	u32 mem_fd; /* in: an open /proc/self/mem */
	u32 level;
	u32 pid_ns;
	u32 cgroup_ns;
	u32 mnt_ns;
	u32 pad;
	u64 root_device;
	u64 mem_fops;
	struct symbol_place symbols[SYMBOLS];
};

struct learned_file {
	u32 fd; /* in */
	u32 ctime_nsec;
	s64 ctime_sec;
	u64 inode;
	u64 device;
};

struct learned_table {
	u32 fd;	   /* in: of an open /proc/<tid> */
	u32 users; /* tasks that use the task's descriptor table */
};

struct tally {
	u64 cgroup;
	u32 vector;
	u32 verdict;
};

static __always_inline struct file *file_of(u32 fd)
{
	return file_at((struct task_struct *)bpf_get_current_task(), fd);
}

#define FIND(ctx, slot, name)                                                                      \
	do {                                                                                       \
		static const char symbol[] = name;                                                 \
		u64 at = 0;                                                                        \
		if (!bpf_kallsyms_lookup_name(symbol, sizeof(symbol), 0, &at))                     \
			PLACE(ctx, slot, at);                                                      \
	} while (0)

/* %pS gives a function's size, whatever kptr_restrict is set to. */
#define PLACE(ctx, slot, at)                                                                       \
	do {                                                                                       \
		char text[SYMBOL_LEN] = {};                                                        \
		u64 args[] = {at};                                                                 \
		(ctx)->symbols[slot].start = (at);                                                 \
		bpf_snprintf(text, sizeof(text), "%pS", args, sizeof(args));                       \
		__builtin_memcpy((ctx)->symbols[slot].text, text, sizeof(text));                   \
	} while (0)

SEC("syscall")
int learn_node(struct learned_node *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *file = file_of(ctx->mem_fd);
	u64 read, write;

	ctx->level = BPF_CORE_READ(task, thread_pid, level);
	ctx->pid_ns = pid_ns_of(task);
	ctx->cgroup_ns = BPF_CORE_READ(task, nsproxy, cgroup_ns, ns.inum);
	ctx->mnt_ns = mnt_ns_of(task);
	ctx->root_device = BPF_CORE_READ(task, fs, root.dentry, d_sb, s_dev);
	ctx->mem_fops = (u64)BPF_CORE_READ(file, f_op);
	read = (u64)BPF_CORE_READ(file, f_op, read);
	write = (u64)BPF_CORE_READ(file, f_op, write);
	PLACE(ctx, SYMBOL_MEM_READ, read);
	PLACE(ctx, SYMBOL_MEM_WRITE, write);
	FIND(ctx, SYMBOL_MEM_RW, "mem_rw");
	FIND(ctx, SYMBOL_ACCESS_REMOTE, "access_remote_vm");
	FIND(ctx, SYMBOL_ACCESS_REMOTE_INNER, "__access_remote_vm");
	FIND(ctx, SYMBOL_IO_READ, "io_read");
	FIND(ctx, SYMBOL_IO_WRITE, "io_write");
	FIND(ctx, SYMBOL_STATX, "vfs_statx");
	FIND(ctx, SYMBOL_ACCESSIBLE, "do_faccessat");
	return 0;
}

SEC("syscall")
int learn_file(struct learned_file *ctx)
{
	struct file *file = file_of(ctx->fd);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	s64 sec = 0;
	u32 nsec = 0;

	if (!inode)
		return 1;
	change_time(inode, &sec, &nsec);
	ctx->ctime_sec = sec;
	ctx->ctime_nsec = nsec;
	ctx->inode = BPF_CORE_READ(inode, i_ino);
	ctx->device = BPF_CORE_READ(inode, i_sb, s_dev);
	return 0;
}

/* Tells how many tasks use a task's descriptor table. Searching procfs for them would not: each
 * could hand the table to a child and end before it is looked at.
 */
SEC("syscall")
int learn_table(struct learned_table *ctx)
{
	struct file *file = file_of(ctx->fd);
	struct task_struct *task = proc_task(BPF_CORE_READ(file, f_inode));
	struct files_struct *files = BPF_CORE_READ(task, files);

	if (!files)
		return 1;
	ctx->users = BPF_CORE_READ(files, count.counter);
	return 0;
}

/* Counts an attempt seen by the seccomp listener, which is in user space. An update from there
 * would overwrite what the kernel counts at the same moment.
 */
SEC("syscall")
int count_seccomp(struct tally *ctx)
{
	u64 id = ctx->cgroup;
	u32 vector = ctx->vector, verdict = ctx->verdict;
	struct state *state = bpf_map_lookup_elem(&states, &id);

	if (!state || vector >= VECTOR_END || verdict >= VERDICT_END)
		return 1;
	__sync_fetch_and_add(&state->counts[vector][verdict][SENSOR_SECCOMP], 1);
	return 0;
}

/* Guards the calling thread with a cgroup id that no container has, or ends that. The loader uses
 * this to prove that the access sensor works on this kernel.
 */
struct trial {
	u64 cgroup; /* 0: end it */
};

SEC("syscall")
int try_guard(struct trial *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct guard *guard;

	if (!ctx->cgroup)
		return bpf_task_storage_delete(&guards, task) != 0;
	guard = bpf_task_storage_get(&guards, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!guard)
		return 1;
	guard->cgroup = ctx->cgroup;
	return 0;
}

#endif
