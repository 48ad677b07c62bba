/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel's stack shows: the operation in progress, whatever system call it happens in. */
#ifndef SHIMWARD_STACK_H
#define SHIMWARD_STACK_H

#include "state.h"

#define STACK_DEPTH 24

/* The return addresses on the kernel's stack, innermost first. */
struct trace {
	u64 at[STACK_DEPTH];
	u32 depth;
	u32 kind; /* enum call */
};

static __always_inline bool within(u64 at, enum symbol symbol)
{
	return at >= node.symbols[symbol].start && at < node.symbols[symbol].end;
}

/* Returns false if no stack is available. */
static __always_inline bool take_stack(void *ctx, struct trace *trace)
{
	long size = bpf_get_stack(ctx, trace->at, sizeof(trace->at), 0);

	if (size < 0)
		return false;
	trace->depth = size / sizeof(trace->at[0]);
	return true;
}

#endif
