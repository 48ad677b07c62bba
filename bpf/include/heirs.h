/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * An event by which a process samples its own registers and stack goes on in the children that
 * inherit it, and in what the process execs, whoever has its descriptor by then. perf_event_open
 * names no other process, and no hook is called later.
 */
#ifndef SHIMWARD_HEIRS_H
#define SHIMWARD_HEIRS_H

#include "early.h"

/* include/uapi/linux/perf_event.h: PERF_SAMPLE_REGS_USER, STACK_USER, REGS_INTR */
#define SAMPLES_MEMORY (1 << 12 | 1 << 13 | 1 << 18)

/* Returns whether the event, or the one that it was inherited from, was opened by a process on
 * itself. Whoever else attached an event to the process was judged then. The thread that opened it
 * may have exited, or the one that it was opened on: all have the process's number.
 */
static __always_inline bool samples_itself(struct perf_event *event, int process)
{
	struct perf_event *first = BPF_CORE_READ(event, parent);
	struct task_struct *owner;

	first = first ?: event;
	if (!(BPF_CORE_READ(first, attr.sample_type) & SAMPLES_MEMORY) ||
	    BPF_CORE_READ(first, hw.target, tgid) != process)
		return false;
	owner = BPF_CORE_READ(first, owner);
	return !owner || BPF_CORE_READ(owner, tgid) == process;
}

/* Returns whether a context has an event by which that process samples itself, or more events than
 * are looked at: the newest come first, so any number of them could hide that one.
 */
static __noinline bool has_samples(u64 address, int process)
{
	struct perf_event_context *context = (struct perf_event_context *)address;
	u64 head = address + bpf_core_field_offset(struct perf_event_context, event_list);
	struct list_head *link = BPF_CORE_READ(context, event_list.next);

	for (int i = 0; i < EARLY_EVENTS && link && (u64)link != head; i++) {
		if (samples_itself(container_of_core(link, struct perf_event, event_entry),
				   process))
			return true;
		link = BPF_CORE_READ(link, next);
	}
	return link && (u64)link != head;
}

static __always_inline bool is_sampled(struct task_struct *task, int process)
{
	struct perf_event_context *first = context_of(task, 0), *second = context_of(task, 1);

	return (first && has_samples((u64)first, process)) ||
	       (second && has_samples((u64)second, process));
}

/* Judges the current process, which samples the target: a child that it starts, or itself with
 * another program. If that is refused, it is killed before there is anything to read.
 */
static __always_inline void settle_heir(struct task_struct *target, struct guard *mine,
					struct guard *theirs)
{
	struct deed deed = {
		.actor = bpf_get_current_task(),
		.target = address_of(target),
		.actor_cgroup = mine->cgroup,
		.target_cgroup = mine->cgroup,
		.actor_guard = address_of(mine),
		.target_guard = address_of(theirs),
		.vector = VECTOR_PERF_EVENT,
		.operation = OPERATION_READ,
		.relation = RELATION_CHILD,
		.sensor = SENSOR_ACCESS,
		.verdict = VERDICT_OBSERVED,
	};

	settle_by_kill(&deed);
}

static __always_inline void meet_child(struct task_struct *parent, struct task_struct *child,
				       struct guard *guard, struct guard *inherited)
{
	if (child->tgid != parent->tgid && is_sampled(child, parent->tgid))
		settle_heir(child, guard, inherited);
}

static __always_inline void meet_program(struct task_struct *task, struct guard *guard)
{
	if (is_sampled(task, task->tgid))
		settle_heir(task, guard, guard);
}

#endif
