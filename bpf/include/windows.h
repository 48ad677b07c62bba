/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files that are opened by path or received: another process's mem, files that reveal something
 * about its memory, and the node's own files that show memory or set switches.
 */
#ifndef SHIMWARD_WINDOWS_H
#define SHIMWARD_WINDOWS_H

#include "switches.h"

#define RECON_LEN 16

/* Returns whether a file shows the memory of the whole node. /dev/mem, /dev/kmem and /dev/port are
 * recognized by their numbers (drivers/char/mem.c), hibernation's /dev/snapshot by its own
 * (SNAPSHOT_MINOR), and a writable /dev/cpu/<n>/msr by its major number: one register says where
 * system calls go. /proc/kcore is recognized by its dentry's name, the same wherever it is mounted.
 */
static __always_inline bool shows_kernel(struct file *file)
{
	struct inode *inode = file->f_inode;
	struct dentry *dentry, *root;
	char name[6] = {};

	if ((inode->i_mode & S_IFMT) == S_IFCHR) {
		dev_t device = inode->i_rdev;

		return device == MKDEV(1, 1) || device == MKDEV(1, 2) || device == MKDEV(1, 4) ||
		       device == MKDEV(10, 231) ||
		       (MAJOR(device) == MSR_MAJOR && file->f_mode & FMODE_WRITE);
	}
	if (!is_procfs(inode))
		return false;
	dentry = file->f_path.dentry;
	root = dentry->d_parent;
	if (root != root->d_parent)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	return !__builtin_memcmp(name, "kcore", sizeof(name));
}

/* The node's swap areas, one pointer each (mm/swapfile.c). The address is 0 if the kernel does not
 * reveal it (without CONFIG_KALLSYMS_ALL).
 */
extern void swap_info __ksym __weak;

#define MAX_SWAPFILES 32

/* Returns whether a device holds swapped-out memory: it is a swap area, a swap file is on it, or it
 * is the whole disk of such a partition.
 */
static __always_inline bool holds_swap(dev_t device)
{
	if (!&swap_info)
		return false;
	for (int i = 0; i < MAX_SWAPFILES; i++) {
		struct swap_info_struct *swap = NULL;
		struct block_device *bdev;

		bpf_probe_read_kernel(&swap, sizeof(swap), (void *)&swap_info + i * sizeof(swap));
		if (!swap)
			break;
		if (!BPF_CORE_READ(swap, swap_file))
			continue;
		bdev = BPF_CORE_READ(swap, bdev);
		if (bdev && (BPF_CORE_READ(bdev, bd_dev) == device ||
			     BPF_CORE_READ(bdev, bd_disk, part0, bd_dev) == device))
			return true;
	}
	return false;
}

static __always_inline bool is_swapped_to(struct inode *inode)
{
	switch (inode->i_mode & S_IFMT) {
	case S_IFREG:
		return inode->i_flags & S_SWAPFILE;
	case S_IFBLK:
		return holds_swap(inode->i_rdev);
	default:
		return false;
	}
}

/* Returns the vector of a file that shows all processes' memory; 0 if it does not. A file opened
 * for neither reading nor writing (access mode 3) still takes ioctls.
 */
static __always_inline u8 window_of(struct file *file)
{
	if (file->f_mode & FMODE_PATH)
		return 0;
	if (is_swapped_to(file->f_inode))
		return VECTOR_SWAP;
	return shows_kernel(file) ? VECTOR_KERNEL_MEM : 0;
}

/* Returns the vector of a file that shows or configures the node; 0 if it does neither. */
static __always_inline u8 node_vector(struct file *file)
{
	u8 vector = window_of(file);

	return vector ? vector : switch_of(file);
}

static __always_inline int take_node(u8 vector, struct file *file)
{
	struct deed deed = {
		.vector = vector,
		.relation = RELATION_KERNEL,
		.operation = file->f_mode & FMODE_WRITE ? OPERATION_WRITE : OPERATION_READ,
	};

	current_acts(&deed, bpf_get_current_task_btf());
	return deed.actor_cgroup ? gate(&deed, -EACCES) : 0;
}

/* Files that reveal where a process's memory is, what it was started with, and what it is doing.
 * For these, the kernel checks PTRACE_MODE_READ, or ATTACH (stack, syscall, personality), or
 * nothing (timers, which shows the value that a signal delivers; clear_refs, which makes pagemap
 * show what is written from then on). map_files is the directory, whose entries are named by
 * addresses.
 */
static const char recon_names[][RECON_LEN] = {
	"maps",	 "smaps",   "smaps_rollup", "numa_maps",   "pagemap", "auxv",	    "environ",
	"wchan", "syscall", "stack",	    "personality", "timers",  "clear_refs", "map_files",
};

/* fdinfo shows the data that epoll returns to a process and the buffers of an io_uring, mostly
 * addresses. Which file an entry describes can change after the open.
 */
static __always_inline bool tells_of_memory(struct dentry *dentry)
{
	char folder[8] = {}, name[RECON_LEN] = {};

	bpf_probe_read_kernel_str(folder, sizeof(folder), dentry->d_parent->d_name.name);
	if (!__builtin_memcmp(folder, "fdinfo", sizeof("fdinfo")))
		return true;
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	for (u32 i = 0; i < sizeof(recon_names) / RECON_LEN; i++)
		if (!__builtin_memcmp(name, recon_names[i], RECON_LEN))
			return true;
	return false;
}

static __always_inline int open_recon(struct file *file)
{
	struct deed deed = {.vector = VECTOR_RECON, .operation = OPERATION_INSPECT};
	struct task_struct *task = bpf_get_current_task_btf(), *target;

	if (!recon_watched || !tells_of_memory(file->f_path.dentry))
		return 0;
	target = proc_task(file->f_inode);
	if (!target || is_own(target, task))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)target;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	return watches_recon(&deed) ? gate(&deed, -EACCES) : 0;
}

/* A process's core limit and coredump_filter set how much of its memory a crash dumps. To open
 * coredump_filter, the kernel only requires that the opener owns the file.
 */
static __always_inline bool sets_core(struct file *file)
{
	char name[RECON_LEN] = {};

	if (!(file->f_mode & FMODE_WRITE))
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), file->f_path.dentry->d_name.name);
	return !__builtin_memcmp(name, "coredump_filter", sizeof("coredump_filter"));
}

static __always_inline int open_core_filter(struct file *file)
{
	struct deed deed = {.vector = VECTOR_CORE_LIMIT, .operation = OPERATION_READ};
	struct task_struct *task = bpf_get_current_task_btf(), *target;

	target = proc_task(file->f_inode);
	if (!target || is_own(target, task))
		return 0;
	current_acts(&deed, task);
	deed.target = (u64)target;
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	return gate(&deed, -EACCES);
}

SEC("lsm/file_open")
int BPF_PROG(lsm_file_open, struct file *file, int ret)
{
	struct task_struct *target;
	u8 vector;

	if ((u64)file->f_op != node.mem_fops) {
		if (ret)
			return ret;
		vector = node_vector(file);
		if (vector)
			return take_node(vector, file);
		if (file->f_inode->i_sb->s_magic != PROC_SUPER_MAGIC)
			return 0;
		return sets_core(file) ? open_core_filter(file) : open_recon(file);
	}
	lsm_called = 1;
	target = proc_task(file->f_inode);
	/* Without a task, the open fails anyway. */
	return ret || !target ? ret : take_mem(file, target);
}

SEC("lsm/file_receive")
int BPF_PROG(lsm_file_receive, struct file *file, int ret)
{
	struct mm_struct *mm;
	u8 vector;

	if (ret)
		return ret;
	if ((u64)file->f_op != node.mem_fops) {
		if (is_userfaultfd(file))
			return take_userfaultfd(file);
		vector = node_vector(file);
		return vector ? take_node(vector, file) : 0;
	}
	mm = file->private_data;
	return take_mem(file, BPF_CORE_READ(mm, owner));
}

#endif
