/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A tracer, or a task that samples registers and stack, which attached to a process before the
 * process was guarded stays attached through the exec that arms the guard. No later hook sees it.
 */
#ifndef SHIMWARD_EARLY_H
#define SHIMWARD_EARLY_H

#include "judge.h"

#define EARLY_EVENTS 64 /* events of one task to look at */

/* Judges the deed, kills the current task if it is refused, and reports it. */
static __always_inline void settle_by_kill(struct deed *deed)
{
	if (judge(deed)) {
		if (!bpf_send_signal(SIGKILL))
			deed->verdict = VERDICT_KILLED;
		else
			deed->flags |= FLAG_KILL_FAILED;
	}
	report(deed, false);
}

/* If the rules refuse the access, kills the current task before its first instruction, so there is
 * nothing to read. The actor cannot be sent a signal from here.
 */
static __always_inline void end_early(struct task_struct *task, struct guard *guard, u64 actor,
				      enum vector vector, enum operation operation)
{
	struct deed deed = {
		.actor = actor,
		.target = address_of(task),
		.target_cgroup = guard->cgroup,
		.target_guard = address_of(guard),
		.vector = vector,
		.operation = operation,
		.sensor = SENSOR_ACCESS,
		.verdict = VERDICT_OBSERVED,
	};

	deed.actor_cgroup = actor ? cgroup_of(actor, &deed.actor_guard) : 0;
	settle_by_kill(&deed);
}

static __always_inline struct perf_event_context *context_of(struct task_struct *task, u32 which)
{
	struct task_struct___since_6_2 *newer = (void *)task;
	struct task_struct___before_6_2 *older = (void *)task;

	if (bpf_core_field_exists(newer->perf_event_ctxp))
		return which ? NULL : BPF_CORE_READ(newer, perf_event_ctxp);
	if (!bpf_core_field_exists(older->perf_event_ctxp))
		return NULL;
	return which ? BPF_CORE_READ(older, perf_event_ctxp[1])
		     : BPF_CORE_READ(older, perf_event_ctxp[0]);
}

/* Finds the task that opened an event of the context, preferring a task in a container to one on
 * the host. Returns false if the context has no event. Events that children inherit have no owner
 * of their own, so the parent event's owner is used. *sampler is 0 if the owner has exited: other
 * tasks may still hold its descriptor.
 */
static __always_inline bool find_sampler(struct perf_event_context *context, u64 *sampler)
{
	u64 head = (u64)context + bpf_core_field_offset(struct perf_event_context, event_list);
	struct list_head *link = BPF_CORE_READ(context, event_list.next);
	bool found = false;

	for (int i = 0; i < EARLY_EVENTS && link && (u64)link != head; i++) {
		struct perf_event *event = container_of_core(link, struct perf_event, event_entry);
		struct perf_event *parent = BPF_CORE_READ(event, parent);

		event = parent ?: event;
		*sampler = (u64)BPF_CORE_READ(event, owner);
		found = true;
		if (!*sampler || in_container(*sampler) || find_guard(*sampler))
			break;
		link = BPF_CORE_READ(link, next);
	}
	return found;
}

/* Judges tracers and samplers that are already attached when the current task is armed. */
static __always_inline void meet_early(struct task_struct *task, struct guard *guard)
{
	u64 actor;

	if (BPF_CORE_READ(task, ptrace)) {
		actor = (u64)BPF_CORE_READ(task, parent);
		end_early(task, guard, actor, VECTOR_PTRACE, OPERATION_ATTACH);
	}
	for (u32 i = 0; i < 2; i++) {
		struct perf_event_context *context = context_of(task, i);

		if (!context || !find_sampler(context, &actor))
			continue;
		end_early(task, guard, actor, VECTOR_PERF_EVENT, OPERATION_READ);
		break;
	}
}

#endif
