/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Allocation of an entry, and the evictions that make room for one. */
#ifndef __CTWHY_ALLOC_H__
#define __CTWHY_ALLOC_H__

/*
 * How many allocations are past a call of early_drop, anywhere. As long as
 * there are none, entries that come and go otherwise pass at once.
 */
__u64 early_drops;

/*
 * The table is over its limit. What is unlinked from here to the end of the
 * allocation, in this context, is a victim.
 */
static __always_inline int on_early_drop(struct net *net, __u32 hash)
{
	struct scope *scope;

	if (!counting)
		return 0;
	scope = scope_find_or_make();
	if (!scope)
		return 0;
	if (!scope->early_drop)
		__sync_fetch_and_add(&early_drops, 1);
	scope->early_drop = true;
	scope->victims = 0;
	scope->net = net;
	scope->hash = hash;
	return 0;
}

static __always_inline bool end_early_drop(struct scope *scope, struct net *net, __u32 hash)
{
	if (!scope || !scope->early_drop)
		return false;
	scope->early_drop = false;
	__sync_fetch_and_add(&early_drops, -1);
	return scope->net == net && scope->hash == hash;
}

/* An allocation that succeeded: the early_drop in it, if any, is over. */
static SLOW_PATH int on_alloc_done(struct net *net, __u32 hash)
{
	end_early_drop(scope_find(), net, hash);
	return 0;
}

/*
 * The same error for a full table and for a slab without memory. early_drop
 * is called only when the table is over its limit, and when it finds nothing
 * to evict the allocation fails for that. Should it have been missed, a table
 * that is still full speaks for itself.
 */
static __always_inline enum reason why_alloc_failed(struct scope *scope, struct net *net,
						    __u32 hash)
{
	__u32 count, max;

	if (end_early_drop(scope, net, hash))
		return scope->victims ? REASON_NO_MEMORY : REASON_TABLE_FULL;
	if (table_count(net, &count) && table_max(&max) && max && count >= max)
		return REASON_TABLE_FULL;
	return REASON_NO_MEMORY;
}

static SLOW_PATH int on_alloc_failed(struct net *net, const struct nf_conntrack_zone *zone,
				     const struct nf_conntrack_tuple *orig,
				     const struct nf_conntrack_tuple *reply, __u32 hash)
{
	struct scope *scope = scope_find();
	struct loss loss = {
		.net = net,
		.orig = orig,
		.reason = why_alloc_failed(scope, net, hash),
		.netlink = !hash, /* only a packet's entry comes with its hash */
	};
	struct event *event = begin_event(&loss);

	if (!event)
		return 0;
	read_tuple(&event->reply, reply);
	event->has |= HAS_REPLY;
	event->zone = BPF_CORE_READ(zone, id);
	if (!loss.netlink && scope && scope->skb && scope->noted == budgets[REASON_TABLE_FULL].tick)
		read_packet(event, scope->skb, scope->state);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/*
 * An entry is on its way out of the table. If early_drop is what sends it,
 * and the entry had not expired (those are reaped in passing, and not
 * counted), it is a victim.
 */
static SLOW_PATH int on_entry_unlinked(struct nf_conn *ct)
{
	struct scope *scope;
	struct event *event;
	struct loss loss = {
		.net = BPF_CORE_READ(ct, ct_net.net),
		.orig = ct_tuple(ct, 0),
		.reason = REASON_EVICTED,
	};

	scope = scope_find();
	if (!scope || !scope->early_drop || scope->net != loss.net)
		return 0;
	if ((s32)(BPF_CORE_READ(ct, timeout) - (__u32)bpf_jiffies64()) <= 0)
		return 0;
	scope->victims++;
	loss.netlink = !scope->hash;
	event = begin_event(&loss);
	if (!event)
		return 0;
	read_entry(&event->entry, ct);
	event->reply = event->entry.reply;
	event->zone = event->entry.zone;
	event->has |= HAS_ENTRY | HAS_REPLY;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/*
 * A packet on its way into conntrack; attached only while detail is armed. In
 * a flood most refused packets are not shown, nor need be known. What was
 * noted before the budget was last found empty is an earlier packet's.
 */
static __always_inline int on_packet(struct sk_buff *skb, struct nf_hook_state *state)
{
	struct scope *scope;

	if (known_empty(REASON_TABLE_FULL))
		return 0;
	scope = scope_find_or_make();
	if (scope) {
		scope->skb = skb;
		scope->state = state;
		scope->noted = budgets[REASON_TABLE_FULL].tick;
	}
	return 0;
}

#endif /* __CTWHY_ALLOC_H__ */
