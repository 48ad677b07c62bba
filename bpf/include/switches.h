/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Settings of the node that take nobody's memory by themselves, and open the way to
 * it: who gets the memory of what crashes, whether LSM programs are called, and probes.
 */
#ifndef SHIMWARD_SWITCHES_H
#define SHIMWARD_SWITCHES_H

#include "gates.h"

#define SWITCH_LEN 16

static __always_inline bool is_procfs(struct inode *inode)
{
	return (inode->i_mode & S_IFMT) == S_IFREG && inode->i_sb->s_magic == PROC_SUPER_MAGIC;
}

/* The names of procfs's and tracefs's own entries, wherever they are mounted: nobody can
 * change them. ftrace_enabled has the kernel take out every call that it patched into
 * its functions, those of LSM programs too (ftrace_shutdown_sysctl).
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

/* Tells whether the file sets what fetches from the memory of whoever runs into it: a
 * uprobe, a kprobe with a user's address, or an event's filter (a trigger has one, too),
 * which compares what a system call's argument points to since Linux 5.18 (.ustring).
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

/* Returns the vector of a switch that a file can be written to set; 0: it is none. */
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
