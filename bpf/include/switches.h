/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Settings of the node that access no memory themselves but open a way to it: what receives the
 * memory of crashed processes, whether LSM programs are called, and probes.
 */
#ifndef SHIMWARD_SWITCHES_H
#define SHIMWARD_SWITCHES_H

#include "gates.h"

#define SWITCH_LEN 16

static __always_inline bool is_procfs(struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFREG && inode->i_sb->s_magic == PROC_SUPER_MAGIC;
}

/* Entries of procfs and tracefs are recognized by name, wherever they are mounted: nobody can
 * rename them. Clearing ftrace_enabled makes the kernel remove every call that it patched into its
 * functions, including those of LSM programs (ftrace_shutdown_sysctl).
 */
static __always_inline u8 sysctl_of(struct dentry *dentry)
{
	char folder[8] = {}, name[SWITCH_LEN] = {};

	bpf_probe_read_kernel_str(folder, sizeof(folder), dentry->d_parent->d_name.name);
	if (__builtin_memcmp(folder, "kernel", sizeof("kernel")))
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	if (!__builtin_memcmp(name, "core_pattern", sizeof("core_pattern")))
		return VECTOR_CORE_PATTERN;
	if (!__builtin_memcmp(name, "ftrace_enabled", sizeof("ftrace_enabled")))
		return VECTOR_FTRACE_ENABLED;
	return 0;
}

/* Returns whether the file sets up what reads the memory of whichever process triggers it: a
 * uprobe, a kprobe on a user address, or an event's filter (a trigger can have one, too), which
 * since Linux 5.18 can compare the string that a system call's argument points to (.ustring).
 */
static __always_inline bool sets_probes(struct dentry *dentry)
{
	char name[SWITCH_LEN] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	return !__builtin_memcmp(name, "filter", sizeof("filter")) ||
	       !__builtin_memcmp(name, "trigger", sizeof("trigger")) ||
	       !__builtin_memcmp(name, "uprobe_events", sizeof("uprobe_events")) ||
	       !__builtin_memcmp(name, "kprobe_events", sizeof("kprobe_events")) ||
	       !__builtin_memcmp(name, "dynamic_events", sizeof("dynamic_events"));
}

/* Returns the vector of the switch that a write to this file would set; 0 if there is none. */
static __always_inline u8 switch_of(struct file *file)
{
	if (!(file->f_mode & FMODE_WRITE))
		return 0;
	if (is_procfs(file->f_inode))
		return sysctl_of(file->f_path.dentry);
	if (file->f_inode->i_sb->s_magic == TRACEFS_MAGIC && sets_probes(file->f_path.dentry))
		return VECTOR_TRACEFS;
	return 0;
}

#endif
