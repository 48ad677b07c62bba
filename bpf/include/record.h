/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The data that user space and the programs exchange. bpf2go generates Go types from it. */
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
	FLAG_INBOUND = 1 << 0, /* the actor is in no live guarded container, or its plan does not
				* watch this; the target is guarded */
	FLAG_WOULD_REFUSE = 1 << 1, /* a rule refuses it, but the mode is audit */
	FLAG_TRACEME = 1 << 2,	    /* the target requested it */
	FLAG_ALLOWED = 1 << 3,	    /* a rule refuses it, but the actor's executable is allowed */
	FLAG_COMPAT = 1 << 4,	    /* call is numbered by the 32-bit entry */
	FLAG_INBOUND_RULE = 1 << 5, /* the target's inbound rule refuses it */
	FLAG_HOST_ACTOR = 1 << 6,   /* the actor is in no container */
	FLAG_KILL_FAILED = 1 << 7,  /* a rule refuses it, but the signal could not be sent */
};

/* How the target is bound to the actor, on which the severity depends. */
enum bond {
	BOND_TRACED = 1 << 0,  /* the actor traces it */
	BOND_NEWBORN = 1 << 1, /* it is the actor's child and has not execed: still its copy */
};

struct ancestor {
	u32 pid;
	char comm[COMM_LEN];
};

/* One party of an access. Pids are those of the runtime's pid namespace, the uid that of the
 * initial user namespace. exe and args are only known for guarded tasks.
 */
struct process {
	u64 start; /* ns since boot */
	u64 origin_start;
	u64 cgroup; /* cgroup id of its guarded container, or 0 */
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
	u8 lease; /* FLAG_ALLOWED is due to a lease, not to the plan */
	u8 bond;  /* enum bond */
	u32 rule; /* number of the rule in the actor's plan, from 1; 0: none */
	u32 pad;
	struct process actor;
	struct process target;
};

/* Conditions of a rule besides its sets. */
enum rule_asks {
	RULE_ASKS_ACTOR = 1 << 0,  /* on the actor's executable */
	RULE_ASKS_TARGET = 1 << 1, /* on the target's executable */
};

/* A rule of a plan. In a set, the bits of the values that match are set. */
struct rule {
	u32 vectors;
	u8 operations;
	u8 relations;
	u8 action; /* enum action; 0: unused slot */
	u8 asks;   /* enum rule_asks */
	u32 uids;  /* number of entries used in uid; 0: any user matches */
	u32 uid[RULE_UIDS];
};

/* A container's plan. Written by user space. */
struct container {
	u64 pod;	    /* equal for the containers of a pod; 0 outside a pod */
	u32 init;	    /* the process whose next exec starts the container */
	u32 runtime_mnt_ns; /* the runtime's own mount namespace */
	u8 actions[8];	  /* enum action by enum relation; [RELATION_SELF]: writing one's own mem */
	u8 inbound;	  /* enum action */
	u8 enforce;	  /* 0: what a rule refuses is only observed */
	u8 recon;	  /* enum action for VECTOR_RECON on any target; 0: not watched */
	u8 inbound_recon; /* enum action for VECTOR_RECON by other containers; 0: not watched */
	u8 asks;	  /* enum rule_asks, combined over all rules */
	u8 rules;	  /* number of entries used in rule */
	u8 pad[2];
	struct rule rule[RULES]; /* in order; they take precedence over actions */
};

/* A container's state. Written by the programs. */
struct state {
	u64 ring;    /* the key of its ring buffer */
	u64 dropped; /* records that did not fit into the ring */
	u64 counts[VECTOR_END][VERDICT_END][SENSOR_END];
	u32 started; /* init has execed and is guarded */
	u32 mnt_ns;  /* of init at that moment, as is root */
	u64 root;    /* the address of its root dentry */
};

/* Why an executable is in the map. */
enum purpose {
	PURPOSE_PLAN,  /* the plan allows it what a rule refuses */
	PURPOSE_LEASE, /* a lease allows it that for a time, in addition to the plan */
	PURPOSE_RULES, /* rules name it */
};

/* An executable named by a container's plan or a lease. */
struct executable {
	u64 cgroup;
	u64 inode;
	u64 device;
	u64 purpose;
};

enum scope {
	SCOPE_CONTAINER = 1 << 0, /* access to processes of its own container */
	SCOPE_POD = 1 << 1,	  /* access to processes of the pod's other containers */
};

struct grant {
	s64 ctime_sec; /* the inode's change time at the grant */
	u32 ctime_nsec;
	u32 scope;
	u64 until;   /* ns since boot; 0: as long as the container lives */
	u32 actors;  /* bitmask of the rules that name it as the actor's */
	u32 targets; /* bitmask of the rules that name it as the target's */
};

/* A task's guard, in its local storage. */
struct guard {
	u64 cgroup;
	u64 last_peer; /* of the last record: name_of the other party */
	u64 last_time;
	u64 origin_start;
	u64 exe_inode; /* inode number of the file that it execed */
	u64 exe_device;
	u32 last_what;
	u32 origin;
	u16 enforce; /* kept here to outlive the container's map entry */
	u16 foreign; /* not of the container: see is_foreign */
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
	u32 peer[4];	/* network byte order; an IPv4 address is in [0] */
	u16 peer_port;	/* host byte order */
	u16 local_port; /* host byte order; for DIRECTION_IN only */
	u8 family;	/* 4 or 6; 0: a free slot */
	u8 protocol;
	u8 direction;
	u8 pad;
};

struct traffic {
	struct bpf_spin_lock lock;
	u32 next; /* index of the next new flow, modulo FLOWS */
	u64 packets_in;
	u64 bytes_in;
	u64 packets_out;
	u64 bytes_out;
	struct flow flows[FLOWS];
};

/* The address range of a kernel function. */
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

/* What the loader learned about the node; see learn.h. */
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
