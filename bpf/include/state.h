/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node-wide maps, each pinned under its name here. */
#ifndef SHIMWARD_STATE_H
#define SHIMWARD_STATE_H

#include "record.h"

#define CONTAINERS_MAX 8192
#define GRANTS_MAX     65536
#define ASKERS_MAX     1024

/* Set by the loader before the load; constant afterwards. */
const volatile struct settings node;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct guard);
} guards SEC(".maps");

/* Keyed by cgroup id, as is states. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, u64);
	__type(value, struct container);
} containers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, u64);
	__type(value, struct state);
} states SEC(".maps");

/* Keyed by a hash of the container's key, because a ring is made before its cgroup. An update of
 * this map takes effect at once but returns only after an RCU grace period.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, u64);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_RINGBUF);
			__uint(max_entries, 256 * 1024);
		});
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GRANTS_MAX);
	__type(key, struct executable);
	__type(value, struct grant);
} grants SEC(".maps");

/* An executable's identity and change time when it was looked at. */
struct image {
	struct executable key; /* cgroup and purpose are set for each lookup */
	s64 ctime_sec;
	u32 ctime_nsec;
	u32 pad;
};

/* A task that requested what the kernel does later by itself, as it was at the request: it may have
 * ended by then.
 */
struct asker {
	u64 cgroup; /* cgroup id of its guarded container, or 0 */
	u32 call;
	u8 flags;     /* enum record_flag */
	u8 contained; /* in_container */
	u16 pad;
	struct image image;
	struct guard guard; /* zeros if it had none */
	struct process process;
};

/* Keyed by the address of a file that is set to send a signal which dumps core; kept until the file
 * is closed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ASKERS_MAX);
	__type(key, u64);
	__type(value, struct asker);
} askers SEC(".maps");

/* Scratch space in which a task builds its own asker; no other task uses it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct asker);
} asking SEC(".maps");

/* Maps a container's key to its cgroup id; for user space only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, char[KEY_LEN]);
	__type(value, u64);
} keys SEC(".maps");

#endif
