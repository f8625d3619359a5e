/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* What a packet says of itself: TCP flags, hook, interfaces, mark, sender. */
#ifndef __CTWHY_PACKET_H__
#define __CTWHY_PACKET_H__

#define IPPROTO_TCP	6
#define IPV6_HLEN	40
#define MAX_EXT_HEADERS 4

/* Reads n octets at an offset from the network header, if they are in the linear part. */
static __always_inline bool read_header(struct sk_buff *skb, __u32 offset, void *to, __u32 n)
{
	__u32 at = BPF_CORE_READ(skb, network_header) + offset;

	if (at + n > BPF_CORE_READ(skb, tail))
		return false;
	return !bpf_probe_read_kernel(to, n, BPF_CORE_READ(skb, head) + at);
}

/*
 * Where the transport header is, from the network header; 0 when it can't be
 * told. skb->transport_header is not set yet in the prerouting hook.
 */
static __always_inline __u32 transport_offset(struct sk_buff *skb, __u8 family, __u8 proto)
{
	__u32 offset = IPV6_HLEN;
	__u8 ihl, next, ext[2];
	int i;

	if (family == NFPROTO_IPV4) {
		if (!read_header(skb, 0, &ihl, 1))
			return 0;
		return (ihl & 0xf) * 4;
	}
	if (!read_header(skb, 6, &next, 1))
		return 0;
	/* hop-by-hop, routing and destination options, RFC 8200, 4.1 */
	for (i = 0; i < MAX_EXT_HEADERS && next != proto; i++) {
		if (next != 0 && next != 43 && next != 60)
			return 0;
		if (!read_header(skb, offset, ext, 2))
			return 0;
		next = ext[0];
		offset += (ext[1] + 1) * 8;
	}
	return next == proto ? offset : 0;
}

static __always_inline void read_tcp_flags(struct event *event, struct sk_buff *skb)
{
	__u32 offset;

	if (event->orig.proto != IPPROTO_TCP)
		return;
	offset = transport_offset(skb, event->orig.family, IPPROTO_TCP);
	if (offset && read_header(skb, offset + 13, &event->tcp_flags, 1))
		event->has |= HAS_TCP_FLAGS;
}

/*
 * Whether the skb is the packet that the tuple was made from. The skb was
 * noted on the way into conntrack by another program; should that program
 * have missed a run, what it noted is an earlier packet's.
 */
static __always_inline bool skb_has_tuple(struct sk_buff *skb, const struct tuple *t)
{
	__u32 offset, ports, want = t->sport | (__u32)t->dport << 16;
	__u8 src[16] = {}, dst[16] = {};
	int i;

	if (t->family == NFPROTO_IPV4) {
		if (!read_header(skb, 12, src, 4) || !read_header(skb, 16, dst, 4))
			return false;
	} else if (!read_header(skb, 8, src, 16) || !read_header(skb, 24, dst, 16)) {
		return false;
	}
	for (i = 0; i < 16; i++)
		if (src[i] != t->src[i] || dst[i] != t->dst[i])
			return false;
	offset = transport_offset(skb, t->family, t->proto);
	if (!offset)
		return false;
	if (t->proto != IPPROTO_TCP && t->proto != 17)
		return true;
	return read_header(skb, offset, &ports, 4) && ports == want;
}

static __always_inline void read_sender(struct event *event, struct sk_buff *skb)
{
	if (!current_sends(BPF_CORE_READ(skb, sk)))
		return;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->has |= HAS_OWNER;
}

/* A packet whose hook's state is at hand: on the way into conntrack. */
static __always_inline void read_packet(struct event *event, struct sk_buff *skb,
					struct nf_hook_state *state)
{
	struct net_device *in = BPF_CORE_READ(state, in);
	struct net_device *out = BPF_CORE_READ(state, out);

	if (!skb_has_tuple(skb, &event->orig))
		return;
	event->has |= HAS_PACKET;
	event->mark = BPF_CORE_READ(skb, mark);
	event->hook = BPF_CORE_READ(state, hook);
	if (in)
		BPF_CORE_READ_INTO(&event->in, in, name);
	if (out)
		BPF_CORE_READ_INTO(&event->out, out, name);
	read_tcp_flags(event, skb);
	if (event->hook == NF_INET_LOCAL_OUT)
		read_sender(event, skb);
}

/* Whether the packet was routed to this machine itself. */
static __always_inline bool routed_here(struct sk_buff *skb, __u8 family)
{
	void *dst = (void *)(BPF_CORE_READ(skb, _skb_refdst) & SKB_DST_PTRMASK);

	if (!dst)
		return false;
	if (family == NFPROTO_IPV6)
		return BPF_CORE_READ((struct rt6_info *)dst, rt6i_flags) & RTF_LOCAL;
	return BPF_CORE_READ((struct rtable *)dst, rt_flags) & RTCF_LOCAL;
}

/*
 * A packet that is being confirmed. The hook's state is not at hand, but the
 * hook follows from the route, as it does for the kernel: confirmation is the
 * last thing in the input hook for a packet that came in and was routed here,
 * and the last thing in postrouting for any other.
 */
static __always_inline void read_confirming(struct event *event, struct sk_buff *skb)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);

	event->has |= HAS_PACKET;
	event->mark = BPF_CORE_READ(skb, mark);
	event->iif = BPF_CORE_READ(skb, skb_iif);
	if (event->iif && routed_here(skb, event->orig.family)) {
		event->hook = NF_INET_LOCAL_IN;
		if (dev)
			BPF_CORE_READ_INTO(&event->in, dev, name);
	} else {
		event->hook = NF_INET_POST_ROUTING;
		if (dev)
			BPF_CORE_READ_INTO(&event->out, dev, name);
		if (!event->iif)
			read_sender(event, skb);
	}
	read_tcp_flags(event, skb);
}

#endif /* __CTWHY_PACKET_H__ */
