/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node-wide maps, each pinned under its name here. */
#ifndef SHIMWARD_STATE_H
#define SHIMWARD_STATE_H

#include "record.h"

#define CONTAINERS_MAX 8192
#define GRANTS_MAX     65536
#define ASKERS_MAX     1024

/* Filled in by the loader, constant from then on. */
const volatile struct settings node;

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct guard);
} guards SEC(".maps");

/* By cgroup id, as the next one is. */
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

/* By a hash of the container's key: a ring is made before its cgroup is. A change
 * of this map takes effect at once and returns after an RCU grace period.
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

/* What a file was when it was executed. */
struct image {
	struct executable key; /* cgroup and purpose are who looks it up's */
	s64 ctime_sec;
	u32 ctime_nsec;
	u32 pad;
};

/* Who asked for what the kernel does later by itself, as it was when it asked: by then it
 * may have ended.
 */
struct asker {
	u64 cgroup; /* that it was guarded with, or 0 */
	u32 call;
	u8 flags;     /* enum record_flag */
	u8 contained; /* in_container */
	u16 pad;
	struct image image;
	struct guard guard; /* zeros, if it had none */
	struct process process;
};

/* By the address of the file that is to send a signal which dumps core; for as long as it is open.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ASKERS_MAX);
	__type(key, u64);
	__type(value, struct asker);
} askers SEC(".maps");

/* Where a task puts together what it is: nobody else has a hand in it meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct asker);
} asking SEC(".maps");

/* A container's cgroup id by its key, for user space alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, char[KEY_LEN]);
	__type(value, u64);
} keys SEC(".maps");

#endif
