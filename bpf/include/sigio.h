/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Signals sent for I/O, when a file becomes readable or its lease is broken. The kernel sends them
 * to the process set by F_SETOWN or the like. It keeps the credentials of the process that set this
 * up, but not the process itself. Only F_SETSIG selects which signal is sent.
 */
#ifndef SHIMWARD_SIGIO_H
#define SHIMWARD_SIGIO_H

#include "crash.h"

/* Set when a file is first configured to send a signal that dumps core. Few nodes ever see one, but
 * all of them close files all the time.
 */
u32 asked;

/* The current task selects the signal that a file sends. If this cannot be recorded, it is
 * refused.
 */
SEC("lsm/file_fcntl")
int BPF_PROG(lsm_file_fcntl, struct file *file, unsigned int cmd, unsigned long arg, int ret)
{
	struct task_struct *task;
	struct deed deed = {};
	struct asker *asker;
	u64 key;

	/* do_fcntl uses the low 32 bits of the argument. */
	if (ret || cmd != F_SETSIG || !is_core_signal(arg))
		return ret;
	task = bpf_get_current_task_btf();
	asker = bpf_task_storage_get(&asking, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!asker)
		return -ENOMEM;
	current_acts(&deed, task);
	asker->cgroup = deed.actor_cgroup;
	asker->call = deed.call;
	asker->flags = deed.flags;
	asker->contained = in_container(deed.actor);
	take_image(deed.actor, deed.actor_guard, &asker->image);
	/* Without a guard this read fails and zeroes the field. */
	bpf_probe_read_kernel(&asker->guard, sizeof(asker->guard), (void *)deed.actor_guard);
	describe(&asker->process, deed.actor, deed.actor_cgroup, deed.actor_guard);
	asked = 1;
	key = address_of(file);
	return bpf_map_update_elem(&askers, &key, asker, BPF_ANY) ? -ENOMEM : 0;
}

/* The address may be reused for another file. */
SEC("lsm/file_free_security")
int BPF_PROG(lsm_file_free_security, struct file *file)
{
	u64 key;

	if (!asked)
		return 0;
	key = address_of(file);
	bpf_map_delete_elem(&askers, &key);
	return 0;
}

static __always_inline u64 file_of_owner(struct fown_struct *owner)
{
	if (bpf_core_field_exists(owner->file))
		return (u64)BPF_CORE_READ(owner, file);
	return address_of(owner) - bpf_core_field_offset(struct file___before_6_12, f_owner);
}

/* A file sends its signal: often in an interrupt, and rarely in the context of the task that set it
 * up. For a file set up before the programs were loaded, that task is unknown.
 */
SEC("lsm/file_send_sigiotask")
int BPF_PROG(lsm_file_send_sigiotask, struct task_struct *target, struct fown_struct *owner,
	     int sig, int ret)
{
	struct deed deed = {};
	struct asker *asker;
	u64 file;

	if (ret || !is_core_signal(sig) || !dumps_core(target, sig))
		return ret;
	file = file_of_owner(owner);
	asker = bpf_map_lookup_elem(&askers, &file);
	if (asker) {
		deed.asker = address_of(asker);
		deed.call = asker->call;
		deed.flags = asker->flags;
		deed.actor_cgroup = asker->cgroup;
		if (asker->guard.cgroup)
			deed.actor_guard = address_of(&asker->guard);
	}
	deed.target = address_of(target);
	deed.target_cgroup = cgroup_of(deed.target, &deed.target_guard);
	return provoke(&deed);
}

#endif
