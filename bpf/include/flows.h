/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Network peers of a container. The programs are attached to the container's own cgroup; they count
 * and record, and never refuse.
 */
#ifndef SHIMWARD_FLOWS_H
#define SHIMWARD_FLOWS_H

#include <bpf/bpf_endian.h>
#include "record.h"

#define ETH_P_IP    0x0800
#define ETH_P_IPV6  0x86dd
#define IPPROTO_TCP 6
#define IPV4_LEN    20
#define IPV6_LEN    40
#define TCP_SYN	    0x02
#define TCP_ACK	    0x10
#define PASS	    1

/* Keyed by the cgroup that the program is attached to: one entry, shared by all six programs of a
 * container and by the cgroups below it. The kernel frees it with the cgroup.
 */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, u64);
	__type(value, struct traffic);
} traffics SEC(".maps");

/* A client's port differs with each connection, so it does not identify an incoming flow. */
static __always_inline bool same_flow(struct flow *a, struct flow *b)
{
	return a->family == b->family && a->protocol == b->protocol &&
	       a->direction == b->direction && a->local_port == b->local_port &&
	       (a->direction == DIRECTION_IN || a->peer_port == b->peer_port) &&
	       a->peer[0] == b->peer[0] && a->peer[1] == b->peer[1] && a->peer[2] == b->peer[2] &&
	       a->peer[3] == b->peer[3];
}

/* Records the flow. When the table is full, the flow that was added first is replaced. */
static __always_inline void remember(struct flow *flow)
{
	struct traffic *traffic = bpf_get_local_storage(&traffics, 0);
	u64 now = bpf_ktime_get_boot_ns();
	struct flow *slot;

	bpf_spin_lock(&traffic->lock);
	for (u32 i = 0; i < FLOWS; i++) {
		slot = &traffic->flows[i];
		if (same_flow(slot, flow)) {
			slot->count++;
			slot->last = now;
			slot->peer_port = flow->peer_port;
			goto out;
		}
	}
	slot = &traffic->flows[traffic->next++ % FLOWS];
	*slot = *flow;
	slot->count = 1;
	slot->last = now;
out:
	bpf_spin_unlock(&traffic->lock);
}

static __always_inline int sends4(struct bpf_sock_addr *ctx)
{
	struct flow flow = {
		.peer = {ctx->user_ip4},
		.peer_port = bpf_ntohs((u16)ctx->user_port),
		.family = 4,
		.protocol = ctx->protocol,
		.direction = DIRECTION_OUT,
	};

	remember(&flow);
	return PASS;
}

static __always_inline int sends6(struct bpf_sock_addr *ctx)
{
	struct flow flow = {
		.peer = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]},
		.peer_port = bpf_ntohs((u16)ctx->user_port),
		.family = 6,
		.protocol = ctx->protocol,
		.direction = DIRECTION_OUT,
	};

	remember(&flow);
	return PASS;
}

SEC("cgroup/connect4")
int flow_connect4(struct bpf_sock_addr *ctx)
{
	return sends4(ctx);
}

SEC("cgroup/connect6")
int flow_connect6(struct bpf_sock_addr *ctx)
{
	return sends6(ctx);
}

SEC("cgroup/sendmsg4")
int flow_sendmsg4(struct bpf_sock_addr *ctx)
{
	return sends4(ctx);
}

SEC("cgroup/sendmsg6")
int flow_sendmsg6(struct bpf_sock_addr *ctx)
{
	return sends6(ctx);
}

SEC("cgroup_skb/egress")
int flow_egress(struct __sk_buff *skb)
{
	struct traffic *traffic = bpf_get_local_storage(&traffics, 0);

	__sync_fetch_and_add(&traffic->packets_out, 1);
	__sync_fetch_and_add(&traffic->bytes_out, skb->len);
	return PASS;
}

/* The ports and the flags of a TCP header. */
struct tcp_start {
	u16 source;
	u16 dest;
	u32 seq;
	u32 ack;
	u8 offset;
	u8 flags;
};

/* Records the peer of an incoming TCP connection. The skb's data begins with the IP header. */
static __always_inline void opens(struct __sk_buff *skb)
{
	struct flow flow = {.protocol = IPPROTO_TCP, .direction = DIRECTION_IN};
	struct tcp_start tcp;
	u32 at;
	u8 byte;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 9, &byte, 1) || byte != IPPROTO_TCP)
			return;
		if (bpf_skb_load_bytes(skb, 0, &byte, 1))
			return;
		at = (byte & 0x0f) * 4;
		flow.family = 4;
		if (bpf_skb_load_bytes(skb, 12, flow.peer, 4))
			return;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, 6, &byte, 1) || byte != IPPROTO_TCP)
			return;
		at = IPV6_LEN;
		flow.family = 6;
		if (bpf_skb_load_bytes(skb, 8, flow.peer, 16))
			return;
	} else {
		return;
	}
	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) ||
	    (tcp.flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return;
	flow.peer_port = bpf_ntohs(tcp.source);
	flow.local_port = bpf_ntohs(tcp.dest);
	remember(&flow);
}

SEC("cgroup_skb/ingress")
int flow_ingress(struct __sk_buff *skb)
{
	struct traffic *traffic = bpf_get_local_storage(&traffics, 0);

	__sync_fetch_and_add(&traffic->packets_in, 1);
	__sync_fetch_and_add(&traffic->bytes_in, skb->len);
	opens(skb);
	return PASS;
}

#endif
