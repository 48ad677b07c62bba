//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * shimward's programs, as one object. The loader omits those that the node's kernel does not
 * support. Each part is in the header named after it.
 */
#include "include/guard.h"
#include "include/touch.h"
#include "include/gates.h"
#include "include/crash.h"
#include "include/sigio.h"
#include "include/windows.h"
#include "include/links.h"
#include "include/flows.h"
#include "include/learn.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* clang omits types from BTF that no function uses; bpf2go needs all of these to generate Go. */
#define EXPORT(kind, name) const kind name *name##_type __attribute__((unused))

EXPORT(struct, record);
EXPORT(struct, learned_node);
EXPORT(struct, learned_file);
EXPORT(struct, learned_table);
EXPORT(struct, tally);
EXPORT(struct, trial);
EXPORT(enum, direction);
EXPORT(enum, vector);
EXPORT(enum, operation);
EXPORT(enum, relation);
EXPORT(enum, verdict);
EXPORT(enum, sensor);
EXPORT(enum, action);
EXPORT(enum, scope);
EXPORT(enum, purpose);
EXPORT(enum, rule_asks);
EXPORT(enum, symbol);
EXPORT(enum, record_flag);
EXPORT(enum, bond);
