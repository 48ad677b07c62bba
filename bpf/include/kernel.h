/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel types that the programs read, with only the fields that they read: CO-RE finds the
 * offset of each on the running kernel.
 */
#ifndef SHIMWARD_KERNEL_H
#define SHIMWARD_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define NULL ((void *)0)

#define SIGKILL 9
#define EPERM	1
#define EAGAIN	11
#define ENOMEM	12
#define EACCES	13

/* include/linux/sched.h, include/linux/fs.h, include/linux/ptrace.h */
#define PF_IO_WORKER	      0x10
#define PF_FORKNOEXEC	      0x40
#define FMODE_READ	      0x1
#define FMODE_WRITE	      0x2
#define FMODE_PATH	      0x4000
#define PTRACE_MODE_ATTACH    0x02
#define PTRACE_MODE_NOAUDIT   0x04
#define PTRACE_MODE_REALCREDS 0x10
#define PIDTYPE_TGID	      1

/* include/uapi/linux/magic.h, stat.h, linux/kdev_t.h, include/uapi/asm-generic/resource.h, fcntl.h
 */
#define PROC_SUPER_MAGIC    0x9fa0
#define TMPFS_MAGIC	    0x01021994
#define HUGETLBFS_MAGIC	    0x958458f6
#define SECRETMEM_MAGIC	    0x5345434d
#define ANON_INODE_FS_MAGIC 0x09041934
#define TRACEFS_MAGIC	    0x74726163
#define RLIMIT_CPU	    0
#define RLIMIT_FSIZE	    1
#define RLIMIT_STACK	    3
#define RLIMIT_CORE	    4
#define RLIMIT_RTTIME	    15
#define F_SETSIG	    10
#define SIGNAL_GROUP_EXIT   0x4 /* include/linux/sched/signal.h */
#define S_IFMT		    0170000
#define S_IFREG		    0100000
#define S_IFCHR		    0020000
#define S_IFBLK		    0060000
#define S_SWAPFILE	    (1 << 8) /* include/linux/fs.h */
#define MKDEV(ma, mi)	    ((ma) << 20 | (mi))
#define MAJOR(device)	    ((device) >> 20)
#define MSR_MAJOR	    202 /* include/uapi/linux/major.h */

#define container_of_core(ptr, type, field)                                                        \
	((type *)((u64)(ptr)-bpf_core_field_offset(type, field)))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct cgroup_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct cgroup_namespace *cgroup_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct list_head {
	struct list_head *next;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[4];
	struct upid numbers[1];
};

typedef struct {
	unsigned int val;
} kuid_t;

struct cred {
	kuid_t euid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[1]; /* [0] is the root, [level] itself */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef u32 dev_t;

struct super_block {
	dev_t s_dev;
	unsigned long s_magic;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

struct inode {
	unsigned short i_mode;
	unsigned int i_flags;
	dev_t i_rdev;
	unsigned long i_ino;
	struct super_block *i_sb;
	s64 i_ctime_sec; /* 6.11 and later */
	u32 i_ctime_nsec;
};

/* The change time before 6.6, and from 6.6 to 6.10. */
struct inode___before_6_6 {
	struct timespec64 i_ctime;
};

struct inode___before_6_11 {
	struct timespec64 __i_ctime;
};

struct bpf_local_storage {
	struct hlist_head list;
};

struct bpf_local_storage_data {
	void *smap;
	u8 data[];
};

struct bpf_local_storage_elem {
	struct hlist_node snode;
	struct bpf_local_storage_data sdata;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct gendisk {
	struct block_device *part0;
};

struct block_device {
	dev_t bd_dev;
	struct gendisk *bd_disk;
};

struct swap_info_struct {
	struct block_device *bdev;
	struct file *swap_file;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file_operations {
	void *read;
	void *write;
};

/* The task that a file signals on I/O, and the signal. */
struct fown_struct {
	struct file *file; /* 6.12 and later */
};

struct file {
	unsigned int f_mode;
	const struct file_operations *f_op;
	struct path f_path;
	void *private_data;
	struct inode *f_inode;
};

struct file___before_6_12 {
	struct fown_struct f_owner;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

typedef struct {
	int counter;
} atomic_t;

struct files_struct {
	atomic_t count; /* tasks that use it */
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
};

struct mm_struct {
	struct task_struct *owner;
	struct file *exe_file;
	unsigned long arg_start;
	unsigned long arg_end;
};

/* fs/userfaultfd.c; include/linux/userfaultfd_k.h since 6.7. Not in every kernel. */
struct userfaultfd_ctx {
	struct mm_struct *mm;
};

struct sigaction {
	void *sa_handler; /* NULL: the default action */
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[1];
};

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct sigpending {
	sigset_t signal;
};

struct signal_struct {
	unsigned int flags;
};

struct thread_info {
	unsigned long flags;
	u32 status; /* x86 */
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	unsigned int ptrace;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *parent; /* the tracer, if there is one */
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	u64 start_boottime;
	const struct cred *cred;
	char comm[16];
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	struct sigpending pending;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct bpf_local_storage *bpf_storage;
};

/* A task's perf events, which were in two lists before 6.2. */
struct task_struct___since_6_2 {
	struct perf_event_context *perf_event_ctxp;
};

struct task_struct___before_6_2 {
	struct perf_event_context *perf_event_ctxp[2];
};

struct hw_perf_event {
	struct task_struct *target;
};

struct perf_event_attr {
	u64 sample_type;
};

struct perf_event {
	struct list_head event_entry;
	struct perf_event_attr attr;
	struct perf_event *parent; /* of an event that a child inherits */
	struct hw_perf_event hw;
	struct task_struct *owner; /* its opener, until that exits; unset in inherited events */
};

struct perf_event_context {
	struct list_head event_list;
};

#pragma clang attribute pop

#endif
