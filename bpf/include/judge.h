/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* From a sensor's finding to a verdict: how the parties relate, what their rules say, and the
 * record for user space.
 */
#ifndef SHIMWARD_JUDGE_H
#define SHIMWARD_JUDGE_H

#include "rules.h"

#define SUPPRESS_NS (50 * 1000 * 1000ULL)

static __always_inline bool foreign(u64 guard)
{
	return guard && BPF_PROBE_READ((struct guard *)guard, foreign);
}

/* Returns whether two tasks of one cgroup nevertheless do not belong to one container: because just
 * one of them is foreign (see is_foreign), or both are but have different origins.
 */
static __always_inline bool strangers(u64 a, u64 b)
{
	bool one = foreign(a), other = foreign(b);

	if (!one || !other)
		return one != other;
	return BPF_PROBE_READ((struct guard *)a, origin) !=
		       BPF_PROBE_READ((struct guard *)b, origin) ||
	       BPF_PROBE_READ((struct guard *)a, origin_start) !=
		       BPF_PROBE_READ((struct guard *)b, origin_start);
}

static __always_inline u8 relate(struct deed *deed, struct container *mine,
				 struct container *theirs)
{
	if (deed->actor_cgroup && deed->actor_cgroup == deed->target_cgroup) {
		if (strangers(deed->actor_guard, deed->target_guard))
			return RELATION_OTHER_CONTAINER;
		return descends(deed->actor, deed->target) ? RELATION_CHILD
							   : RELATION_SAME_CONTAINER;
	}
	if (deed->target_cgroup) {
		if (mine && theirs && mine->pod && mine->pod == theirs->pod)
			return RELATION_SAME_POD;
		return RELATION_OTHER_CONTAINER;
	}
	/* A memory without an owner cannot be attributed to any process. */
	if (!deed->target || in_container(deed->target))
		return RELATION_OTHER_CONTAINER;
	return RELATION_HOST;
}

/* Returns whether the actor is in a container, guarded or not. An unknown actor is assumed
 * to be.
 */
static __always_inline bool comes_from_container(struct deed *deed)
{
	if (deed->asker)
		return BPF_PROBE_READ((struct asker *)deed->asker, contained);
	return !deed->actor || in_container(deed->actor);
}

/* Set when a container is armed whose plan watches reconnaissance (recon). On a node without such a
 * container, readers of procfs are not looked up.
 */
u32 recon_watched;

/* Returns whether reconnaissance is watched by the actor's plan, or by the target's if the actor is
 * not a host process. The node's agents read procfs all the time.
 */
static __always_inline bool watches_recon(struct deed *deed)
{
	struct container *mine = container_of_id(deed->actor_cgroup), *theirs;

	if (mine && mine->recon)
		return true;
	if (deed->actor_cgroup == deed->target_cgroup)
		return false;
	theirs = container_of_id(deed->target_cgroup);
	if (!theirs || !theirs->inbound_recon)
		return false;
	return deed->actor_cgroup || comes_from_container(deed);
}

/* Returns whether a grant covers the scope and has not expired. */
static __always_inline bool holds(struct grant *grant, u32 scope)
{
	if (!grant || !(grant->scope & scope))
		return false;
	return !grant->until || bpf_ktime_get_boot_ns() < grant->until;
}

/* Returns whether the actor runs an executable with a grant for its relation to the target, and the
 * file is unchanged since. Sets deed->lease if the grant is a lease.
 */
static __noinline bool granted(struct deed *deed)
{
	u32 scope = SCOPE_CONTAINER;
	struct image image = {};

	if (deed->relation == RELATION_SAME_POD)
		scope = SCOPE_POD;
	else if (deed->relation > RELATION_SAME_POD)
		return false;
	take_actors_image(deed, &image);
	if (holds(grant_of(&image, deed->actor_cgroup, PURPOSE_PLAN), scope))
		return true;
	if (!holds(grant_of(&image, deed->actor_cgroup, PURPOSE_LEASE), scope))
		return false;
	deed->lease = 1;
	return true;
}

/* Returns the action of a container's plan for an access by the container: that of the first rule
 * that matches, else that of the table. VECTOR_RECON has an action of its own, as it reads no
 * memory content.
 */
static __always_inline u8 rule_for(struct container *mine, struct deed *deed)
{
	u8 action = mine->rules ? first_rule(deed) : 0;

	if (action)
		return action;
	return deed->vector == VECTOR_RECON ? mine->recon : mine->actions[deed->relation & 7];
}

/* Returns the action of a container's plan for an access to it by another container. */
static __always_inline u8 inbound_rule_for(struct container *theirs, struct deed *deed)
{
	return deed->vector == VECTOR_RECON ? theirs->inbound_recon : theirs->inbound;
}

/* Returns whether the access must be prevented. The caller fills in the verdict. */
__noinline int judge(struct deed *deed)
{
	bool outbound = false, inbound = false, enforce = false;
	struct container *mine, *theirs;

	if (!deed)
		return false;
	mine = container_of_id(deed->actor_cgroup);
	theirs = container_of_id(deed->target_cgroup);
	if (!deed->relation)
		deed->relation = relate(deed, mine, theirs);
	if (!deed->actor_cgroup) {
		deed->flags |= FLAG_INBOUND;
		/* All that counts about an unguarded actor is whether it is in a container. */
		if (!comes_from_container(deed)) {
			deed->flags |= FLAG_HOST_ACTOR;
			deed->relation = RELATION_HOST;
		}
	} else if (!mine) {
		/* Its container is released. A task that left the cgroup and outlives the container
		 * has no rules left that could allow the access, and only the target's container
		 * can receive the record.
		 */
		deed->flags |= FLAG_INBOUND;
		outbound = true;
		enforce = BPF_PROBE_READ((struct guard *)deed->actor_guard, enforce);
	} else if (deed->vector == VECTOR_RECON && !mine->recon) {
		deed->flags |= FLAG_INBOUND; /* only the target's plan watches */
	} else if (rule_for(mine, deed) == ACTION_REFUSE) {
		if (granted(deed)) {
			deed->flags |= FLAG_ALLOWED;
		} else {
			outbound = true;
			enforce = mine->enforce;
		}
	}
	/* The target's inbound rule holds even if the actor's container allows the access. */
	if (theirs && deed->actor_cgroup != deed->target_cgroup &&
	    !(deed->flags & FLAG_HOST_ACTOR) && inbound_rule_for(theirs, deed) == ACTION_REFUSE) {
		inbound = true;
		if (theirs->enforce && !enforce) {
			enforce = true;
			deed->flags |= FLAG_INBOUND_RULE;
		} else if (!outbound) {
			deed->flags |= FLAG_INBOUND_RULE;
		}
	}
	if (!outbound && !inbound)
		return false;
	if (!enforce)
		deed->flags |= FLAG_WOULD_REFUSE;
	return enforce;
}

static __noinline int describe(struct process *out, u64 address, u64 cgroup, u64 guarded)
{
	struct guard *guard = (struct guard *)guarded;
	struct task_struct *task = (struct task_struct *)address;
	struct pid *inside = BPF_CORE_READ(task, group_leader, thread_pid);

	out->start = BPF_CORE_READ(task, group_leader, start_boottime);
	out->cgroup = cgroup;
	out->pid = tgid_of(task);
	out->tid = pid_at(BPF_CORE_READ(task, thread_pid), node.level);
	out->pid_inside = inside ? pid_at(inside, BPF_CORE_READ(inside, level)) : 0;
	out->uid = BPF_CORE_READ(task, cred, euid.val);
	BPF_CORE_READ_INTO(&out->comm, task, comm);
	/* Without a guard these reads fail and zero the fields. */
	bpf_probe_read_kernel(&out->origin, sizeof(out->origin), &guard->origin);
	bpf_probe_read_kernel(&out->origin_start, sizeof(out->origin_start), &guard->origin_start);
	bpf_probe_read_kernel(&out->args_len, sizeof(out->args_len), &guard->args_len);
	bpf_probe_read_kernel(&out->exe, sizeof(out->exe), &guard->exe);
	bpf_probe_read_kernel(&out->args, sizeof(out->args), &guard->args);
	for (int i = 0; i < ANCESTORS; i++) {
		struct ancestor *ancestor = &out->ancestors[i];

		task = task ? BPF_CORE_READ(task, group_leader, real_parent, group_leader) : NULL;
		ancestor->pid = tgid_of(task);
		if (ancestor->pid)
			BPF_CORE_READ_INTO(&ancestor->comm, task, comm);
		else
			task = NULL;
	}
	return 0;
}

/* Returns an identifier of a process that stays unique until the node reboots. An address does not:
 * the next process at that address would count as already reported.
 */
static __always_inline u64 name_of(u64 address)
{
	struct task_struct *task = (struct task_struct *)address;
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	return BPF_CORE_READ(leader, start_boottime) ^ (u64)BPF_CORE_READ(leader, pid) << 40;
}

/* Remembers a record as the last one reported. keeper is the guard that holds it: the actor's, or
 * the target's if the actor is unguarded. peer is name_of the other party.
 */
static __always_inline void mark_told(struct deed *deed, struct guard *keeper, u64 peer)
{
	keeper->last_peer = peer;
	keeper->last_what = deed->vector << 16 | deed->operation << 8 | deed->flags;
	keeper->last_time = bpf_ktime_get_boot_ns();
}

/* Returns whether a record like this one was written already. The access sensor fires for each
 * page, and reading a gigabyte is one event, not 250,000. Likewise, the words that a tracer reads
 * after a recorded attach are not events of their own.
 */
static __always_inline bool repeats(struct deed *deed, struct guard *keeper)
{
	u64 peer = name_of(deed->actor_guard ? deed->target : deed->actor);
	u32 what = deed->vector << 16 | deed->operation << 8 | deed->flags, last;

	if (!keeper || deed->verdict != VERDICT_OBSERVED)
		return false;
	last = keeper->last_what;
	if (keeper->last_peer == peer) {
		if (deed->vector == VECTOR_PTRACE && last >> 16 == VECTOR_PTRACE &&
		    deed->operation <= (last >> 8 & 0xff))
			return true;
		if (last == what && bpf_ktime_get_boot_ns() - keeper->last_time < SUPPRESS_NS)
			return true;
	}
	mark_told(deed, keeper, peer);
	return false;
}

static __always_inline u8 bond_of(struct deed *deed)
{
	struct task_struct *actor = (struct task_struct *)deed->actor;
	struct task_struct *target = (struct task_struct *)deed->target;
	struct task_struct *top = BPF_CORE_READ(actor, group_leader);
	u8 bond = 0;

	if (!target)
		return 0;
	if (BPF_CORE_READ(target, ptrace) && BPF_CORE_READ(target, parent, group_leader) == top)
		bond |= BOND_TRACED;
	if (BPF_CORE_READ(target, flags) & PF_FORKNOEXEC &&
	    BPF_CORE_READ(target, real_parent, group_leader) == top)
		bond |= BOND_NEWBORN;
	return bond;
}

/* Counts the access, and writes a record unless it repeats an earlier one. Runs after the decision
 * has been carried out, so a failure here cannot undo it.
 */
__noinline int report(struct deed *deed, bool repeated)
{
	u32 vector, verdict, sensor;
	struct record *record;
	struct state *state;
	void *ring;
	u64 id;

	if (!deed)
		return 0;
	vector = deed->vector;
	verdict = deed->verdict;
	sensor = deed->sensor;
	/* Otherwise the compiler checks one copy of an index and uses another. */
	barrier_var(vector);
	barrier_var(verdict);
	barrier_var(sensor);
	if (vector >= VECTOR_END || verdict >= VERDICT_END || sensor >= SENSOR_END)
		return 0;
	id = deed->flags & FLAG_INBOUND ? deed->target_cgroup : deed->actor_cgroup;
	state = bpf_map_lookup_elem(&states, &id);
	if (!state)
		return 0;
	__sync_fetch_and_add(&state->counts[vector][verdict][sensor], 1);
	if (repeated)
		return 0;
	ring = bpf_map_lookup_elem(&rings, &state->ring);
	record = ring ? bpf_ringbuf_reserve(ring, sizeof(*record), 0) : NULL;
	if (!record) {
		__sync_fetch_and_add(&state->dropped, 1);
		return 0;
	}
	record->time = bpf_ktime_get_boot_ns();
	record->call = deed->call;
	record->request = deed->request;
	record->vector = deed->vector;
	record->operation = deed->operation;
	record->relation = deed->relation;
	record->verdict = deed->verdict;
	record->sensor = deed->sensor;
	record->flags = deed->flags;
	record->lease = deed->lease;
	record->bond = bond_of(deed);
	record->rule = deed->rule;
	if (deed->asker)
		bpf_probe_read_kernel(&record->actor, sizeof(record->actor),
				      &((struct asker *)deed->asker)->process);
	else
		describe(&record->actor, deed->actor, deed->actor_cgroup, deed->actor_guard);
	describe(&record->target, deed->target, deed->target_cgroup, deed->target_guard);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#endif
