/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* An access, and whether a rule of the actor's plan matches it. */
#ifndef SHIMWARD_RULES_H
#define SHIMWARD_RULES_H

#include "task.h"

/* An access as found by a sensor, and its judgement. Tasks and guards are plain addresses. Those
 * and cgroup ids are 0 if unknown.
 */
struct deed {
	u64 actor;
	u64 target;
	u64 actor_cgroup;
	u64 target_cgroup;
	u64 actor_guard;
	u64 target_guard;
	u64 asker; /* instead of actor: the task that requested what the kernel now does */
	u32 call;
	u32 request;
	u8 vector;
	u8 operation;
	u8 relation;
	u8 verdict;
	u8 sensor;
	u8 flags;
	u8 lease;
	u8 rule; /* number of the rule in the actor's plan, from 1; 0: none matches */
};

static __always_inline struct container *container_of_id(u64 id)
{
	return id ? bpf_map_lookup_elem(&containers, &id) : NULL;
}

/* Fills in the executable that a task runs, in the file's current state. In a user namespace of its
 * own, even an unprivileged process can claim to run another file (PR_SET_MM_MAP). If it did not
 * exec the file that it claims to run, inode and device are set to 0.
 */
static __always_inline void take_image(u64 address, u64 guarded, struct image *image)
{
	struct task_struct *task = (struct task_struct *)address;
	struct guard *guard = (struct guard *)guarded;
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);

	image->key.inode = BPF_CORE_READ(inode, i_ino);
	image->key.device = BPF_CORE_READ(inode, i_sb, s_dev);
	if (guard && (BPF_PROBE_READ(guard, exe_inode) != image->key.inode ||
		      BPF_PROBE_READ(guard, exe_device) != image->key.device))
		image->key.inode = image->key.device = 0;
	change_time(inode, &image->ctime_sec, &image->ctime_nsec);
}

/* Like take_image for a deed's actor: if it made the request earlier, in the file's state then. */
static __always_inline void take_actors_image(struct deed *deed, struct image *image)
{
	struct asker *asker = (struct asker *)deed->asker;

	if (asker)
		bpf_probe_read_kernel(image, sizeof(*image), &asker->image);
	else
		take_image(deed->actor, deed->actor_guard, image);
}

/* Returns the map's entry for an executable, or NULL if there is none or the file has changed. */
static __always_inline struct grant *grant_of(struct image *image, u64 cgroup, u64 purpose)
{
	struct grant *grant;

	image->key.cgroup = cgroup;
	image->key.purpose = purpose;
	grant = bpf_map_lookup_elem(&grants, &image->key);
	if (!grant || image->ctime_sec != grant->ctime_sec ||
	    image->ctime_nsec != grant->ctime_nsec)
		return NULL;
	return grant;
}

static __always_inline u32 actors_uid(struct deed *deed)
{
	struct task_struct *actor = (struct task_struct *)deed->actor;

	if (deed->asker)
		return BPF_PROBE_READ((struct asker *)deed->asker, process.uid);
	return BPF_CORE_READ(actor, cred, euid.val);
}

/* The rules that name the actor's and the target's executable, as bitmasks, and the actor's
 * user.
 */
struct parties {
	u32 actors;
	u32 targets;
	u32 uid;
};

/* Returns a rule's action if the rule matches, else 0. Not inlined, so that it is verified once
 * rather than once for each possible rule.
 */
__noinline int rule_fits(struct deed *deed, struct parties *parties, u32 index)
{
	struct container *mine;
	struct rule *rule;

	if (!deed || !parties || index >= RULES)
		return 0;
	mine = container_of_id(deed->actor_cgroup);
	if (!mine)
		return 0;
	rule = &mine->rule[index];
	if (!(rule->vectors & 1u << (deed->vector & 31)) ||
	    !(rule->operations & 1u << (deed->operation & 7)) ||
	    !(rule->relations & 1u << (deed->relation & 7)))
		return 0;
	if (rule->asks & RULE_ASKS_ACTOR && !(parties->actors & 1u << index))
		return 0;
	if (rule->asks & RULE_ASKS_TARGET && !(parties->targets & 1u << index))
		return 0;
	if (!rule->uids)
		return rule->action;
	for (u32 i = 0; i < RULE_UIDS && i < rule->uids; i++)
		if (rule->uid[i] == parties->uid)
			return rule->action;
	return 0;
}

/* Returns a bitmask of the rules that name the actor's executable. This function and the next have
 * stack frames of their own because older verifiers add up the frames of all callers.
 */
static __noinline u32 naming_actor(struct deed *deed)
{
	struct image image = {};
	struct grant *grant;

	take_actors_image(deed, &image);
	grant = grant_of(&image, deed->actor_cgroup, PURPOSE_RULES);
	return grant ? grant->actors : 0;
}

static __noinline u32 naming_target(struct deed *deed)
{
	struct image image = {};
	struct grant *grant;

	take_image(deed->target, deed->target_guard, &image);
	grant = grant_of(&image, deed->actor_cgroup, PURPOSE_RULES);
	return grant ? grant->targets : 0;
}

/* Returns the action of the first rule that matches and records its number; 0 if none matches. */
__noinline int first_rule(struct deed *deed)
{
	struct parties parties = {};
	struct container *mine;
	u32 rules;

	if (!deed)
		return 0;
	mine = container_of_id(deed->actor_cgroup);
	if (!mine)
		return 0;
	rules = mine->rules;
	if (mine->asks & RULE_ASKS_ACTOR)
		parties.actors = naming_actor(deed);
	if (mine->asks & RULE_ASKS_TARGET)
		parties.targets = naming_target(deed);
	parties.uid = actors_uid(deed);
	for (u32 i = 0; i < RULES && i < rules; i++) {
		int action = rule_fits(deed, &parties, i);

		if (action) {
			deed->rule = i + 1;
			return action;
		}
	}
	return 0;
}

#endif
