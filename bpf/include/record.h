/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What user space and the programs tell each other. bpf2go makes Go of it. */
#ifndef SHIMWARD_RECORD_H
#define SHIMWARD_RECORD_H

#include "access.h"
#include "kernel.h"

#define COMM_LEN  16
#define EXE_LEN	  128
#define ARGS_LEN  256
#define ANCESTORS 6
#define KEY_LEN	  64
#define FLOWS	  32
#define SYMBOLS	  9
#define RULES	  16
#define RULE_UIDS 8

enum record_flag {
	FLAG_INBOUND = 1 << 0, /* the actor is in no container that lives, or in one whose plan has
				* no say, and the target is guarded */
	FLAG_WOULD_REFUSE = 1 << 1, /* a rule refuses it; the mode is audit */
	FLAG_TRACEME = 1 << 2,	    /* the target asked for it */
	FLAG_ALLOWED = 1 << 3,	    /* a rule refuses it; the actor's executable is allowed */
	FLAG_COMPAT = 1 << 4,	    /* call is a number of the 32-bit entry */
	FLAG_INBOUND_RULE = 1 << 5, /* it is the target's inbound rule that refuses */
	FLAG_HOST_ACTOR = 1 << 6,   /* the actor is in no container */
	FLAG_KILL_FAILED = 1 << 7,  /* a rule refuses it, and the signal could not be sent */
};

/* What the target has with the actor, of which the severity depends. */
enum bond {
	BOND_TRACED = 1 << 0,  /* the actor traces it */
	BOND_NEWBORN = 1 << 1, /* it is the actor's child, and has not execed since: its copy */
};

struct ancestor {
	u32 pid;
	char comm[COMM_LEN];
};

/* One side of an access. Pids are those of the runtime's pid namespace, the uid
 * is the initial user namespace's. exe and args are known of guarded tasks alone.
 */
struct process {
	u64 start; /* ns since boot */
	u64 origin_start;
	u64 cgroup; /* of its guarded container, or 0 */
	u32 pid;
	u32 tid;
	u32 pid_inside;
	u32 uid;
	u32 origin; /* the process through which it came into its container */
	u32 args_len;
	char comm[COMM_LEN];
	char exe[EXE_LEN];
	char args[ARGS_LEN]; /* separated by NUL */
	struct ancestor ancestors[ANCESTORS];
};

struct record {
	u64 time;    /* ns since boot */
	u32 call;    /* the system call's number */
	u32 request; /* of ptrace */
	u8 vector;
	u8 operation;
	u8 relation;
	u8 verdict;
	u8 sensor;
	u8 flags;
	u8 lease; /* FLAG_ALLOWED is for a time, not for the container's life */
	u8 bond;  /* enum bond */
	u32 rule; /* of the actor's plan's own, counted from 1; 0: none */
	u32 pad;
	struct process actor;
	struct process target;
};

/* What a rule asks besides its sets. */
enum rule_asks {
	RULE_ASKS_ACTOR = 1 << 0,  /* for the actor's executable */
	RULE_ASKS_TARGET = 1 << 1, /* for the target's */
};

/* A rule of a plan's own. A set has the bits of what fits. */
struct rule {
	u32 vectors;
	u8 operations;
	u8 relations;
	u8 action; /* enum action; 0: there is no such rule */
	u8 asks;   /* enum rule_asks */
	u32 uids;  /* how many of uid are to be looked at; 0: any user fits */
	u32 uid[RULE_UIDS];
};

/* A container as its plan has it. User space writes it. */
struct container {
	u64 pod;	    /* equal for the containers of a pod, 0 outside of one */
	u32 init;	    /* the process whose next exec starts the container */
	u32 runtime_mnt_ns; /* the runtime's own mount namespace */
	u8 actions[8];	  /* enum action by enum relation; [RELATION_SELF]: writing one's own mem */
	u8 inbound;	  /* enum action */
	u8 enforce;	  /* 0: what a rule refuses is observed */
	u8 recon;	  /* enum action, of VECTOR_RECON at whomever; 0: no business of ours */
	u8 inbound_recon; /* the same, from other containers */
	u8 asks;	  /* enum rule_asks, of any of its rules */
	u8 rules;	  /* how many of rule there are */
	u8 pad[2];
	struct rule rule[RULES]; /* in their order; they come before the table */
};

/* A container as it goes. The programs write it. */
struct state {
	u64 ring;    /* the key of its ring buffer */
	u64 dropped; /* records that its ring had no room for */
	u64 counts[VECTOR_END][VERDICT_END][SENSOR_END];
	u32 started; /* init has execed: its tasks are guarded */
	u32 mnt_ns;  /* of init at that moment, as what follows is */
	u64 root;    /* the address of its root folder */
};

/* What an executable is known for. */
enum purpose {
	PURPOSE_PLAN,  /* the plan grants it what a rule refuses */
	PURPOSE_LEASE, /* the same for a time, beside what the plan grants */
	PURPOSE_RULES, /* rules name it */
};

/* An executable that a container's plan, or a lease, names. */
struct executable {
	u64 cgroup;
	u64 inode;
	u64 device;
	u64 purpose;
};

enum scope {
	SCOPE_CONTAINER = 1 << 0, /* at processes of its own container */
	SCOPE_POD = 1 << 1,	  /* at processes of the pod's other containers */
};

struct grant {
	s64 ctime_sec; /* the inode's change time when it was granted */
	u32 ctime_nsec;
	u32 scope;
	u64 until;   /* ns since boot; 0: as long as the container lives */
	u32 actors;  /* the rules that name it as the actor's, a bit each */
	u32 targets; /* the rules that name it as the target's */
};

/* A task's guard, in its local storage. */
struct guard {
	u64 cgroup;
	u64 last_peer; /* of the last record: the other side's name */
	u64 last_time;
	u64 origin_start;
	u64 exe_inode; /* of what it execed */
	u64 exe_device;
	u32 last_what;
	u32 origin;
	u16 enforce; /* outlives the container's entry in the map */
	u16 foreign; /* has another root than the container: see is_foreign */
	u32 args_len;
	char exe[EXE_LEN];
	char args[ARGS_LEN];
};

enum direction {
	DIRECTION_OUT = 1,
	DIRECTION_IN,
};

struct flow {
	u64 last; /* ns since boot */
	u64 count;
	u32 peer[4];	/* network order; an IPv4 address is in [0] */
	u16 peer_port;	/* host order */
	u16 local_port; /* host order; of DIRECTION_IN */
	u8 family;	/* 4 or 6; 0: a free slot */
	u8 protocol;
	u8 direction;
	u8 pad;
};

struct traffic {
	struct bpf_spin_lock lock;
	u32 next; /* where the next new flow goes, modulo FLOWS */
	u64 packets_in;
	u64 bytes_in;
	u64 packets_out;
	u64 bytes_out;
	struct flow flows[FLOWS];
};

/* A function's place in the kernel. */
struct range {
	u64 start;
	u64 end;
};

enum symbol {
	SYMBOL_MEM_READ,
	SYMBOL_MEM_WRITE,
	SYMBOL_MEM_RW,
	SYMBOL_ACCESS_REMOTE,
	SYMBOL_ACCESS_REMOTE_INNER,
	SYMBOL_IO_READ,
	SYMBOL_IO_WRITE,
	SYMBOL_STATX,
	SYMBOL_ACCESSIBLE,
};

/* What the loader learned of the node: see learn.h. */
struct settings {
	struct range symbols[SYMBOLS];
	u64 mem_fops; /* proc_mem_operations */
	u64 root_device;
	u32 level; /* of the runtime's pid namespace */
	u32 pid_ns;
	u32 cgroup_ns;
	u32 mnt_ns;
};

#endif
