/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The node-wide maps, each pinned under its name here. */
#ifndef SHIMWARD_STATE_H
#define SHIMWARD_STATE_H

#include "record.h"

#define CONTAINERS_MAX 8192
#define GRANTS_MAX     65536

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

/* A container's cgroup id by its key, for user space alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CONTAINERS_MAX);
	__type(key, char[KEY_LEN]);
	__type(value, u64);
} keys SEC(".maps");

#endif
